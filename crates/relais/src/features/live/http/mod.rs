//! The HTTP edge of modules: under `/modules` as existing pages know it, and under `/api/v1/modules`.

mod commands;
mod devices;
mod pages;
mod states;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRef, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::model::{AddedModule, Claim, Module, ModuleChanges, NewModule};
use super::modules::{NewClaim, Visibility};
use crate::auth::http::{Caller, address_of};
use crate::auth::{Auth, Principal, User, credentials_required};
use crate::features::accounts::{Actor, Administrator};
use crate::features::live::Live;
use crate::said::said;
use crate::web::paging::{Page, listed};
use crate::{App, AppError};

impl FromRef<App> for Live {
    fn from_ref(app: &App) -> Self {
        app.service::<Self>().clone()
    }
}

/// The routes of modules.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(pages::router())
        .routes(routes!(list_modules, add_module))
        .routes(routes!(claim_module))
        .routes(routes!(show_module, update_module, delete_module))
        .routes(routes!(rotate_credential))
        .routes(routes!(make_claim_code))
        .merge(states::router())
        .merge(super::history::http::router())
        .merge(commands::router())
        .merge(devices::router())
}

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
/// As [`Visibility::of`].
pub(in crate::features::live) fn readable(
    auth: &Auth,
    principal: &Principal,
) -> Result<Visibility, AppError> {
    match principal {
        Principal::Anonymous if auth.open_mode() => Ok(Visibility::All),
        principal => Visibility::of(principal),
    }
}

/// A caller, with the modules that they see.
struct Viewer {
    visibility: Visibility,
    actor: Actor,
}

impl<S> FromRequestParts<S> for Viewer
where
    Auth: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        let actor = Actor::caller(&Auth::from_ref(state), &caller, address_of(parts));
        Ok(Self { visibility: Visibility::of(&caller)?, actor })
    }
}

/// Who may take a module on.
struct Claimant {
    user: Arc<User>,
    actor: Actor,
}

impl<S> FromRequestParts<S> for Claimant
where
    Auth: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        let actor = Actor::caller(&Auth::from_ref(state), &caller, address_of(parts));
        match caller {
            Principal::User(user) => Ok(Self { user, actor }),
            Principal::Anonymous => Err(credentials_required()),
            Principal::Service(_) => {
                let message = said!("Un module appartient à une personne", "A module belongs to a person");
                Err(AppError::forbidden("forbidden", message))
            }
        }
    }
}

impl Claimant {
    async fn claim(&self, live: &Live, claim: Claim) -> Result<Module, AppError> {
        let Claim { code, module_id, name } = claim;
        live.modules().claim(&self.user, &self.actor, NewClaim { code, module_id, name }).await
    }
}

/// List modules
#[utoipa::path(get, path = "/api/v1/modules", tag = "modules", params(Page), responses(
    (status = 200, description = "`modules` that the caller sees, and `cursor` if there are more", body = Vec<Module>)))]
async fn list_modules(
    State(auth): State<Auth>,
    State(live): State<Live>,
    Caller(principal): Caller,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let (after, limit) = Page::read(page)?;
    let modules = live.modules().list(&readable(&auth, &principal)?, &after, limit + 1).await?;
    Ok(listed("modules", modules, limit, |module| &module.id))
}

/// Add a module
///
/// Its credential, and its claim code if it has no owner, are told in this answer and never again.
#[utoipa::path(post, path = "/api/v1/modules", tag = "modules", request_body = NewModule, responses(
    (status = 201, body = AddedModule), (status = 400, description = "`invalid_value`"),
    (status = 404, description = "No such owner"), (status = 409, description = "`module_exists`")))]
async fn add_module(
    State(live): State<Live>,
    Administrator(actor): Administrator,
    given: Body<crate::aliases::United<NewModule>>,
) -> Result<(StatusCode, Json<AddedModule>), AppError> {
    Ok((StatusCode::CREATED, Json(live.modules().add(&actor, given?.0.0).await?)))
}

/// Claim a module
#[utoipa::path(post, path = "/api/v1/modules/claim", tag = "modules", request_body = Claim, responses(
    (status = 200, body = Module), (status = 404, description = "`claim_code_unknown`")))]
async fn claim_module(
    State(live): State<Live>,
    claimant: Claimant,
    given: Body<crate::aliases::United<Claim>>,
) -> Result<Json<Module>, AppError> {
    claimant.claim(&live, given?.0.0).await.map(Json)
}

/// Show a module
#[utoipa::path(get, path = "/api/v1/modules/{id}", tag = "modules", params(("id" = String, Path)), responses(
    (status = 200, body = Module), (status = 404, description = "`module_not_found`")))]
async fn show_module(
    State(auth): State<Auth>,
    State(live): State<Live>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<Module>, AppError> {
    live.modules().find(&readable(&auth, &principal)?, &id).await.map(Json)
}

/// Change a module
#[utoipa::path(patch, path = "/api/v1/modules/{id}", tag = "modules", params(("id" = String, Path)),
    request_body = ModuleChanges, responses(
    (status = 200, body = Module), (status = 400, description = "`invalid_value`"),
    (status = 404, description = "`module_not_found`")))]
async fn update_module(
    State(live): State<Live>,
    Viewer { visibility, actor }: Viewer,
    Path(id): Path<String>,
    given: Body<crate::aliases::United<ModuleChanges>>,
) -> Result<Json<Module>, AppError> {
    live.modules().change(&visibility, &actor, &id, given?.0.0).await.map(Json)
}

/// Remove a module
///
/// An administrator removes it for good: its device is refused. An owner gives it back: it is nobody's then, and the code
/// with which it was claimed claims it again.
#[utoipa::path(delete, path = "/api/v1/modules/{id}", tag = "modules", params(("id" = String, Path)), responses(
    (status = 204, description = "Removed, or given back"), (status = 404, description = "`module_not_found`")))]
async fn delete_module(
    State(live): State<Live>,
    Viewer { visibility, actor }: Viewer,
    Path(id): Path<String>,
) -> Result<StatusCode, AppError> {
    let modules = live.modules();
    match visibility {
        Visibility::All => drop(modules.remove(&visibility, &actor, &id).await?),
        Visibility::Own(_) => drop(modules.give_back(&visibility, &actor, &id).await?),
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
    State(live): State<Live>,
    Viewer { visibility, actor }: Viewer,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Credential>, AppError> {
    let given = if body.is_empty() {
        GivenCredential::default()
    } else {
        Json::<GivenCredential>::from_bytes(&body)?.0
    };
    let credential = live.modules().rotate(&visibility, &actor, &id, given.password).await?;
    Ok(Json(Credential { credential }))
}

/// Make a claim code
///
/// Entering it makes a user the owner. An earlier code is no longer valid.
#[utoipa::path(post, path = "/api/v1/modules/{id}/claim-code", tag = "modules", params(("id" = String, Path)), responses(
    (status = 200, body = ClaimCode), (status = 404, description = "`module_not_found`")))]
async fn make_claim_code(
    State(live): State<Live>,
    Viewer { visibility, actor }: Viewer,
    Path(id): Path<String>,
) -> Result<Json<ClaimCode>, AppError> {
    let claim_code = live.modules().offer(&visibility, &actor, &id).await?;
    Ok(Json(ClaimCode { claim_code }))
}
