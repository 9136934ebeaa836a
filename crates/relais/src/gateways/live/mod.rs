//! Live modules: their devices on a WebSocket, and the pages that show them, on Socket.IO.

mod asyncapi;
pub(super) mod device;
mod page;
mod pages;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::DialectFeature;
use crate::feature::Feature;
use pages::Pages;

/// The WebSocket of devices, and what pages say in the namespace `/`.
pub(super) const DIALECT: DialectFeature = DialectFeature {
    feature: Feature {
        french: &["/esp32"],
        sockets: |_| Router::new().route("/esp32", get(device::open_socket)),
        asyncapi: asyncapi::part,
        ..Feature::named("live")
    },
    namespaces: |app, namespaces| namespaces.join("/", Arc::new(Pages::new(app.clone()))),
};
