//! The HTTP edge of modules: under `/modules` as existing pages know it, and under `/api/v1/modules`.

mod commands;
mod devices;
mod pages;
mod states;

pub use commands::CommandsApi;
pub use states::StatesApi;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::model::{AddedModule, Claim, Module, ModuleChanges, NewModule};
use super::modules::{NewClaim, Sight};
use crate::auth::http::{Caller, ClientAddress};
use crate::auth::{Action, Principal, unauthenticated};
use crate::features::accounts::Actor;
use crate::web::paging::{Page, listed};
use crate::{App, AppError};
use crate::features::live::Live;

/// The routes of modules.
pub fn router() -> Router<App> {
    Router::new()
        .merge(pages::router())
        .route("/api/v1/modules", get(list_modules).post(add_module))
        .route("/api/v1/modules/claim", post(claim_module))
        .route("/api/v1/modules/{id}", get(show_module).patch(update_module).delete(delete_module))
        .route("/api/v1/modules/{id}/credential", post(rotate_credential))
        .route("/api/v1/modules/{id}/claim-code", post(make_claim_code))
        .merge(states::router())
        .merge(super::history::http::router())
        .merge(commands::router())
        .merge(devices::router())
}

/// The API description of modules.
#[derive(OpenApi)]
#[openapi(paths(
    pages::list_for_page,
    pages::add_for_page,
    pages::claim_for_page,
    pages::update_for_page,
    pages::delete_for_page,
    pages::show_dashboard,
    list_modules,
    add_module,
    claim_module,
    show_module,
    update_module,
    delete_module,
    rotate_credential,
    make_claim_code,
    devices::report_values
))]
pub struct LiveApi;

type Body<T> = Result<Json<T>, JsonRejection>;

/// What the form of a claim has.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for the API document: forms are read field by field")]
pub struct ClaimForm {
    module_id: Option<String>,
    /// `XXXX-XXXX`, in any spelling.
    module_code: String,
    name: Option<String>,
}

/// The credential that a device is to have.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenCredential {
    /// The one that is in its firmware already; without it, one is made.
    #[serde(default)]
    #[schema(format = Password)]
    password: Option<String>,
}

/// A device's new credential.
#[derive(Serialize, ToSchema)]
pub struct Credential {
    /// Told this once; absent if it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// A new claim code.
#[derive(Serialize, ToSchema)]
pub struct ClaimCode {
    /// Told this once.
    claim_code: String,
}

/// Which modules a caller may look at: in open mode, where nobody is asked who they are, all.
///
/// # Errors
/// As [`Sight::of`].
pub(in crate::features::live) fn readable(app: &App, principal: &Principal) -> Result<Sight, AppError> {
    match principal {
        Principal::Anonymous if app.auth().open_mode() => Ok(Sight::All),
        principal => Sight::of(principal),
    }
}

/// A caller who sees some modules.
struct Keeper {
    sight: Sight,
    actor: Actor,
}

impl Keeper {
    fn of(app: &App, caller: &Caller, address: ClientAddress) -> Result<Self, AppError> {
        let actor = Actor::caller(app.auth(), &caller.0, address.0);
        Ok(Self { sight: Sight::of(&caller.0)?, actor })
    }
}

/// Refuses whoever does not administer.
fn administer(app: &App, caller: &Caller, address: ClientAddress) -> Result<Actor, AppError> {
    app.auth().require(&caller.0, Action::Administer)?;
    Ok(Actor::caller(app.auth(), &caller.0, address.0))
}

async fn claim(app: &App, caller: &Caller, address: ClientAddress, claim: Claim) -> Result<Module, AppError> {
    match &caller.0 {
        Principal::User(user) => {
            let actor = Actor::caller(app.auth(), &caller.0, address.0);
            let Claim { code, module_id, name } = claim;
            app.service::<Live>().modules().claim(user, &actor, NewClaim { code, module_id, name }).await
        }
        Principal::Anonymous => Err(unauthenticated("Authentification requise")),
        Principal::Service(_) => Err(AppError::forbidden("forbidden", "Un module appartient à une personne")),
    }
}

/// List modules
#[utoipa::path(get, path = "/api/v1/modules", tag = "modules", params(Page), responses(
    (status = 200, description = "`modules` that the caller sees, and `cursor` if there are more", body = Vec<Module>)))]
async fn list_modules(
    State(app): State<App>,
    Caller(principal): Caller,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let (after, limit) = Page::read(page)?;
    let modules = app.service::<Live>().modules().list(&readable(&app, &principal)?, &after, limit + 1).await?;
    Ok(listed("modules", modules, limit, |module| &module.id))
}

/// Add a module
///
/// Its credential, and its claim code if it has no owner, are told in this answer and never again.
#[utoipa::path(post, path = "/api/v1/modules", tag = "modules", request_body = NewModule, responses(
    (status = 201, body = AddedModule), (status = 400, description = "`invalid_value`"),
    (status = 404, description = "No such owner"), (status = 409, description = "`module_exists`")))]
async fn add_module(
    State(app): State<App>,
    caller: Caller,
    address: ClientAddress,
    given: Body<crate::aliases::United<NewModule>>,
) -> Result<(StatusCode, Json<AddedModule>), AppError> {
    let actor = administer(&app, &caller, address)?;
    Ok((StatusCode::CREATED, Json(app.service::<Live>().modules().add(&actor, given?.0.0).await?)))
}

/// Claim a module
#[utoipa::path(post, path = "/api/v1/modules/claim", tag = "modules", request_body = Claim, responses(
    (status = 200, body = Module), (status = 404, description = "`claim_code_unknown`")))]
async fn claim_module(
    State(app): State<App>,
    caller: Caller,
    address: ClientAddress,
    given: Body<crate::aliases::United<Claim>>,
) -> Result<Json<Module>, AppError> {
    claim(&app, &caller, address, given?.0.0).await.map(Json)
}

/// Show a module
#[utoipa::path(get, path = "/api/v1/modules/{id}", tag = "modules", params(("id" = String, Path)), responses(
    (status = 200, body = Module), (status = 404, description = "`module_not_found`")))]
async fn show_module(
    State(app): State<App>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<Module>, AppError> {
    app.service::<Live>().modules().find(&readable(&app, &principal)?, &id).await.map(Json)
}

/// Change a module
#[utoipa::path(patch, path = "/api/v1/modules/{id}", tag = "modules", params(("id" = String, Path)),
    request_body = ModuleChanges, responses(
    (status = 200, body = Module), (status = 400, description = "`invalid_value`"),
    (status = 404, description = "`module_not_found`")))]
async fn update_module(
    State(app): State<App>,
    caller: Caller,
    address: ClientAddress,
    Path(id): Path<String>,
    given: Body<crate::aliases::United<ModuleChanges>>,
) -> Result<Json<Module>, AppError> {
    let Keeper { sight, actor } = Keeper::of(&app, &caller, address)?;
    app.service::<Live>().modules().change(&sight, &actor, &id, given?.0.0).await.map(Json)
}

/// Remove a module
///
/// An administrator removes it for good: its device is refused. An owner gives it back: it is nobody's then, and the code
/// with which it was claimed claims it again.
#[utoipa::path(delete, path = "/api/v1/modules/{id}", tag = "modules", params(("id" = String, Path)), responses(
    (status = 204, description = "Removed, or given back"), (status = 404, description = "`module_not_found`")))]
async fn delete_module(
    State(app): State<App>,
    caller: Caller,
    address: ClientAddress,
    Path(id): Path<String>,
) -> Result<StatusCode, AppError> {
    let Keeper { sight, actor } = Keeper::of(&app, &caller, address)?;
    let modules = app.service::<Live>().modules();
    match sight {
        Sight::All => drop(modules.remove(&sight, &actor, &id).await?),
        Sight::Own(_) => drop(modules.give_back(&sight, &actor, &id).await?),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Give a module another credential
///
/// The one before counts no more. Without a body, one is made.
#[utoipa::path(post, path = "/api/v1/modules/{id}/credential", tag = "modules", params(("id" = String, Path)),
    request_body = Option<GivenCredential>, responses(
    (status = 200, body = Credential), (status = 400, description = "`invalid_value`, `invalid_body`"), (status = 404, description = "`module_not_found`")))]
async fn rotate_credential(
    State(app): State<App>,
    caller: Caller,
    address: ClientAddress,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Credential>, AppError> {
    let Keeper { sight, actor } = Keeper::of(&app, &caller, address)?;
    let given = if body.is_empty() {
        GivenCredential::default()
    } else {
        Json::<GivenCredential>::from_bytes(&body)?.0
    };
    let credential = app.service::<Live>().modules().rotate(&sight, &actor, &id, given.password).await?;
    Ok(Json(Credential { credential }))
}

/// Make a claim code
///
/// Whoever enters it becomes the owner. One before it counts no more.
#[utoipa::path(post, path = "/api/v1/modules/{id}/claim-code", tag = "modules", params(("id" = String, Path)), responses(
    (status = 200, body = ClaimCode), (status = 404, description = "`module_not_found`")))]
async fn make_claim_code(
    State(app): State<App>,
    caller: Caller,
    address: ClientAddress,
    Path(id): Path<String>,
) -> Result<Json<ClaimCode>, AppError> {
    let Keeper { sight, actor } = Keeper::of(&app, &caller, address)?;
    let claim_code = app.service::<Live>().modules().offer(&sight, &actor, &id).await?;
    Ok(Json(ClaimCode { claim_code }))
}
