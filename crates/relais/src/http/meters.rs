//! Request durations, by route, method and class of status.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::Histogram;
use parking_lot::RwLock;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

type RouteMeters = [[OnceLock<Histogram>; CLASSES.len()]; METHODS.len()];

/// Caches the histogram of each series, so that recording costs no look-up of labels. Grows with the routes, not with
/// the requests: names of files make no new series.
#[derive(Default)]
pub(super) struct Meters(RwLock<HashMap<Box<str>, Arc<RouteMeters>>>);

impl Meters {
    pub(super) fn record(&self, route: &str, method: &Method, status: StatusCode, elapsed: Duration) {
        let known = self.0.read().get(route).cloned();
        let meters = known.unwrap_or_else(|| Arc::clone(self.0.write().entry(route.into()).or_default()));
        let method = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let open = || {
            let route = route.to_owned();
            metrics::histogram!("relais_http_request_seconds", "route" => route, "method" => METHODS[method], "status" => CLASSES[class])
        };
        meters[method][class].get_or_init(open).record(elapsed);
    }
}
