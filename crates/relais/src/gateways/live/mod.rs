//! Live modules: their devices on a WebSocket, and the pages that show them, on Socket.IO.

mod asyncapi;
pub(super) mod device;
mod page;
mod pages;

pub(super) use pages::Pages;

use axum::Router;
use axum::routing::get;

use crate::feature::Feature;

/// The WebSocket of devices. What pages say is in [`super::namespaces`].
pub(super) const DIALECT: Feature = Feature {
    routes: |_| Router::new().route("/esp32", get(device::open_socket)),
    asyncapi: asyncapi::part,
    ..Feature::named("live")
};
