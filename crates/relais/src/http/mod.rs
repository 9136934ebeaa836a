//! The HTTP edge as a whole: the routes of all features, those that belong to none, and the layers around them.

mod asking;
pub mod asyncapi;
mod edge;
mod health;
mod landing;
mod layers;
mod meters;
pub mod openapi;
mod scripts;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::declared::declared;
use crate::said::said;
use crate::{App, AppError};

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
        .merge(openapi::calls());
    let routes = declared().fold(routes, |routes, feature| routes.merge((feature.sockets)(app)));
    // Of the routes that are there by now.
    let routes = routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    layers::around(routes, app).with_state(app.clone())
}

async fn not_found() -> AppError {
    let text = said!(
        "Adresse inconnue : la liste des appels est sous /docs",
        "Unknown address: the list of calls is at /docs"
    );
    AppError::not_found("not_found", text)
}

async fn method_not_allowed() -> AppError {
    let text = said!(
        "Méthode non permise à cette adresse : voir /docs",
        "Method not allowed at this address: see /docs"
    );
    AppError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
}
