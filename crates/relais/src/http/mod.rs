//! The HTTP edge: routes that belong to no feature, the middle layers, and the server itself.

mod asking;
pub mod asyncapi;
mod connections;
mod descriptors;
mod edge;
pub(crate) mod form;
mod health;
mod landing;
mod layers;
mod meters;
pub(crate) mod multipart;
pub mod openapi;
mod origins;
pub(crate) mod paging;
mod proxies;
mod refusal;
mod scripts;
mod server;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::features::{accounts, chat, live, publish, relay};
use crate::{App, AppError, gateways};

pub(crate) use connections::{Activity, ClientPlace, ClientStream, Guest, Place, Unnamed};
pub(crate) use edge::origin_refused;
pub(crate) use origins::{is_known_origin, own_origin};
pub use server::{Server, listen};

/// Every route of the server.
pub fn router(app: &App) -> Router {
    let routes = Router::new()
        .route("/", get(landing::show_root))
        .route("/modules", get(landing::show_modules))
        .route("/assets/{file}", get(landing::send_asset))
        .route("/healthz", get(health::get_health))
        .route("/readyz", get(health::get_readiness))
        .route("/metrics", get(health::get_metrics))
        .route("/openapi.json", get(openapi::send))
        .route("/asyncapi.json", get(asyncapi::send))
        .route("/docs", get(openapi::show))
        .route("/docs/{*file}", get(openapi::send_asset))
        .merge(scripts::router(&app.config().live))
        .merge(relay::http::router())
        .merge(accounts::http::router())
        .merge(chat::http::router())
        .merge(publish::http::router())
        .merge(live::http::router())
        .merge(gateways::router(app))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed);
    layers::around(routes, app).with_state(app.clone())
}

async fn not_found() -> AppError {
    AppError::not_found("not_found", "Adresse inconnue : la liste des appels est sous /docs")
}

async fn method_not_allowed() -> AppError {
    AppError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Méthode non permise à cette adresse : voir /docs",
    )
}
