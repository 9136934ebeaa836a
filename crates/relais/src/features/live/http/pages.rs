//! The calls of existing pages, under `/modules` and `/dashboard`. Their forms are answered by sending the browser back to
//! the page with what happened as `flash`; whoever sends JSON, or asks for it, gets JSON.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::model::{AddedModule, Module, ModuleChanges, NewModule};
use super::super::modules::Visibility;
use super::{Claim, ClaimForm, Claimant, Viewer};
use crate::aliases::{Aliased, names_of, unite};
use crate::auth::http::Caller;
use crate::config::nearest;
use crate::error::{beginning_of, unreadable_body};
use crate::features::accounts::Administrator;
use crate::features::live::Live;
use crate::said::{Said, said};
use crate::{App, AppError};

/// Modules that `GET /modules/api` gives at most: it says so if there are more, and the paged list has them all.
const PAGE_OF_ALL: usize = 10_000;
/// Fields of a form that are there for the form itself.
const OF_THE_FORM: &[&str] = &["csrf", "csrf_token", "csrfToken", "authenticity_token", "submit", "page"];
/// What a form of HTML is sent as.
const FORM: &str = "application/x-www-form-urlencoded";

/// The routes of existing pages.
pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_for_page))
        .routes(routes!(add_for_page))
        .routes(routes!(claim_for_page))
        .routes(routes!(update_for_page))
        .routes(routes!(delete_for_page))
        .routes(routes!(show_dashboard))
}

/// What a page sends, and how it wants its answer.
pub(super) struct Sent {
    fields: Result<Map<String, Value>, AppError>,
    by_form: bool,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let headers = request.headers();
        let is_form = has(headers, header::CONTENT_TYPE, FORM);
        let by_form = is_form
            && (!has(headers, header::ACCEPT, "application/json")
                || has(headers, header::ACCEPT, "text/html"));
        let has_body = headers.contains_key(header::CONTENT_TYPE);
        let fields = if is_form {
            Bytes::from_request(request, state)
                .await
                .map(|body| read_form(&body))
                .map_err(|rejection| unread(&rejection))
        } else if has_body {
            let read = Json::<Map<String, Value>>::from_request(request, state).await;
            read.map(|Json(fields)| fields).map_err(AppError::from)
        } else {
            Ok(Map::new())
        };
        Ok(Self { fields, by_form })
    }
}

fn has(headers: &HeaderMap, name: header::HeaderName, what: &str) -> bool {
    headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(what))
}

fn unread(rejection: &BytesRejection) -> AppError {
    unreadable_body(rejection.status(), &rejection.body_text())
}

/// Fields that are left blank are not there.
fn read_form(body: &[u8]) -> Map<String, Value> {
    let filled = form_urlencoded::parse(body).filter(|(_, value)| !value.trim().is_empty());
    filled.map(|(name, value)| (name.into_owned(), value.into())).collect()
}

impl Sent {
    /// What was sent of a `T`, which has these fields, under the names that `T` has for them. A field that is none of them
    /// is refused: what changes nothing is not said to be done.
    fn read<T: Aliased>(&mut self, known: &[&'static str]) -> Result<Fields, AppError> {
        let fields = std::mem::replace(&mut self.fields, Ok(Map::new()))?;
        let fields = unite::<T>(fields).map_err(unprocessable)?;
        match fields.keys().find(|name| !known.contains(&name.as_str()) && !is_of_the_form(name)) {
            Some(unknown) => Err(unknown_field::<T>(unknown, known)),
            None => Ok(Fields(fields)),
        }
    }

    /// The answer: to the page that sent a form, the way back with what happened.
    fn answer(self, outcome: Result<Value, AppError>) -> Response {
        match (self.by_form, outcome) {
            (false, Ok(fields)) => Json(fields).into_response(),
            // The pages read `success` first.
            (false, Err(error)) => error.with("success", false).into_response(),
            (true, Ok(fields)) => back(fields["message"].as_str().unwrap_or_default(), None),
            (true, Err(error)) => back(error.french(), Some(error.code())),
        }
    }
}

/// What a page sent, each field under one name.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&self, name: &str) -> Result<Option<String>, AppError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => {
                let message = said!("« {name} » : un texte est attendu", "\"{name}\": a text is expected");
                Err(unprocessable(message))
            }
        }
    }

    /// A text that has to be there.
    fn required(&self, name: &str) -> Result<String, AppError> {
        self.text(name)?.ok_or_else(|| unprocessable(said!("« {name} » manque", "\"{name}\" is missing")))
    }
}

/// Whether a field is one that the tools of a page's author put into every form: it says nothing of a module.
fn is_of_the_form(name: &str) -> bool {
    name.starts_with('_') || OF_THE_FORM.contains(&name)
}

fn unknown_field<T: Aliased>(unknown: &str, known: &[&'static str]) -> AppError {
    let all = known.iter().flat_map(|own| std::iter::once(own).chain(names_of::<T>(own)));
    let hint = match nearest(unknown, all.copied()) {
        Some(meant) => said!("vouliez-vous dire « {meant} » ?", "did you mean \"{meant}\"?"),
        None => said!("les champs sont {}", "the fields are {}", known.join(", ")),
    };
    let unknown = beginning_of(&unknown);
    unprocessable(said!(
        "« {unknown} » n'est pas un champ de cette demande : {}",
        "\"{unknown}\" is not a field of this request: {}";
        hint
    ))
}

fn unprocessable(message: Said) -> AppError {
    AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", message)
}

/// Sends a browser back to the page of modules. `error` is there if nothing was done.
fn back(flash: &str, error: Option<&str>) -> Response {
    let flash = utf8_percent_encode(flash, NON_ALPHANUMERIC);
    let error = error.map(|error| format!("&error={error}")).unwrap_or_default();
    let location = format!("/modules?flash={flash}{error}");
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// List one's modules, for existing pages
#[utoipa::path(get, path = "/modules/api", tag = "modules", responses(
    (status = 200, description = "`{success, modules, total, truncated}`: one's own, or everybody's for administrators; 10,000 at most, \
        of `total`: `truncated` says whether there are more, which `GET /api/v1/modules` lists"),
    (status = 401, description = "`unauthenticated`")))]
pub(super) async fn list_for_page(
    State(live): State<Live>,
    Caller(principal): Caller,
) -> Result<Json<Value>, AppError> {
    let failed = |error: AppError| error.with("success", false);
    let visibility = Visibility::of(&principal).map_err(failed)?;
    let mut modules = live.modules().list(&visibility, "", PAGE_OF_ALL + 1).await.map_err(failed)?;
    let truncated = modules.len() > PAGE_OF_ALL;
    if truncated {
        modules.truncate(PAGE_OF_ALL);
        metrics::counter!("relais_live_lists_truncated_total").increment(1);
    }
    // More than are listed, also if some are removed in this moment.
    let total = if truncated { live.count(&visibility).0.max(PAGE_OF_ALL + 1) } else { modules.len() };
    Ok(Json(json!({ "success": true, "modules": modules, "total": total, "truncated": truncated })))
}

/// Add a module, for existing pages
///
/// A form is answered with 303 and `/modules?flash=…`; secrets that are shown once are not in that address.
#[utoipa::path(post, path = "/modules/add", tag = "modules",
    request_body(content((NewModule = "application/json"), (NewModule = "application/x-www-form-urlencoded"))), responses(
    (status = 200, description = "`{success, message, module, credential, claim_code}`"),
    (status = 303, description = "To a form: back to `/modules?flash=…`"),
    (status = 403, description = "Not an administrator: others claim a module"),
    (status = 409, description = "`module_exists`")))]
pub(super) async fn add_for_page(
    State(live): State<Live>,
    administrator: Result<Administrator, AppError>,
    mut sent: Sent,
) -> Response {
    let added = async {
        let Administrator(actor) = administrator?;
        let fields = sent.read::<NewModule>(&["id", "name", "type", "owner", "password"])?;
        let new = NewModule {
            id: fields.required("id")?,
            name: fields.text("name")?,
            kind: fields.text("type")?,
            owner: fields.text("owner")?,
            password: fields.text("password")?,
        };
        let AddedModule { module, credential, claim_code } = live.modules().add(&actor, new).await?;
        Ok(json!({
            "success": true, "message": "Module ajouté", "module": module, "credential": credential,
            "claim_code": claim_code,
        }))
    };
    let added = added.await;
    sent.answer(added)
}

/// Claim a module, for existing pages
///
/// A form is answered with 303 and `/modules?flash=…`.
#[utoipa::path(post, path = "/modules/claim", tag = "modules",
    request_body(content((Claim = "application/json"), (ClaimForm = "application/x-www-form-urlencoded"))), responses(
    (status = 200, description = "`{success, message, module}`: it is the caller's now"),
    (status = 303, description = "To a form: back to `/modules?flash=…`, with `error` if it was refused"),
    (status = 404, description = "`claim_code_unknown`")))]
pub(super) async fn claim_for_page(
    State(live): State<Live>,
    claimant: Result<Claimant, AppError>,
    mut sent: Sent,
) -> Response {
    let claimed = async {
        let claimant = claimant?;
        let fields = sent.read::<Claim>(&["code", "moduleId", "name"])?;
        let said = Claim {
            code: fields.required("code")?,
            module_id: fields.text("moduleId")?,
            name: fields.text("name")?.filter(|name| !name.trim().is_empty()),
        };
        let module = claimant.claim(&live, said).await?;
        Ok(json!({ "success": true, "message": "Module ajouté à votre compte", "module": module }))
    };
    let claimed = claimed.await;
    sent.answer(claimed)
}

/// Change a module, for existing pages
///
/// A form is answered with 303 and `/modules?flash=…`.
#[utoipa::path(post, path = "/modules/update/{id}", tag = "modules", params(("id" = String, Path)),
    request_body(content((ModuleChanges = "application/json"), (ModuleChanges = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "`{success, message, module}`"),
    (status = 303, description = "To a form: back to `/modules?flash=…`"),
    (status = 404, description = "`module_not_found`")))]
pub(super) async fn update_for_page(
    State(live): State<Live>,
    viewer: Result<Viewer, AppError>,
    Path(id): Path<String>,
    mut sent: Sent,
) -> Response {
    let changed = async {
        let Viewer { visibility, actor } = viewer?;
        let fields = sent.read::<ModuleChanges>(&["name", "type", "moduleId", "module_id"])?;
        for name in ["moduleId", "module_id"] {
            if fields.text(name)?.is_some_and(|said| said != id) {
                return Err(unprocessable(said!(
                    "« {name} » nomme un autre module que l'adresse",
                    "\"{name}\" names another module than the address"
                )));
            }
        }
        let changes = ModuleChanges { name: fields.text("name")?, kind: fields.text("type")? };
        let module: Module = live.modules().change(&visibility, &actor, &id, changes).await?;
        Ok(json!({ "success": true, "message": "Module modifié", "module": module }))
    };
    let changed = changed.await;
    sent.answer(changed)
}

/// Give a module back, for existing pages
///
/// It leaves its owner's list, and the code with which it was claimed claims it again; its device goes on. What is
/// nobody's already, an administrator removes for good with this call.
#[utoipa::path(post, path = "/modules/delete/{id}", tag = "modules", params(("id" = String, Path)), responses(
    (status = 200, description = "`{success, message}`"),
    (status = 303, description = "To a form: back to `/modules?flash=…`"),
    (status = 404, description = "`module_not_found`")))]
pub(super) async fn delete_for_page(
    State(live): State<Live>,
    viewer: Result<Viewer, AppError>,
    Path(id): Path<String>,
    sent: Sent,
) -> Response {
    let removed = async {
        let Viewer { visibility, actor } = viewer?;
        let modules = live.modules();
        let message = if modules.give_back(&visibility, &actor, &id).await? {
            "Module retiré de votre compte"
        } else {
            modules.remove(&visibility, &actor, &id).await?;
            "Module supprimé"
        };
        Ok(json!({ "success": true, "message": message }))
    };
    let removed = removed.await;
    sent.answer(removed)
}

/// Show the numbers of a dashboard, for existing pages
///
/// Of the modules that one sees; for administrators with those of `/api/v1/statistics`, also as `stats`.
#[utoipa::path(get, path = "/dashboard/stats", tag = "modules", responses(
    (status = 200, description = "`{success, users: {online}, modules: {online, offline, total}, totalModules, onlineModules, activeUsers, timestamp, …}`"),
    (status = 401, description = "`unauthenticated`")))]
pub(super) async fn show_dashboard(
    State(live): State<Live>,
    Caller(principal): Caller,
) -> Result<Json<Value>, AppError> {
    live.dashboard(&Visibility::of(&principal)?).await.map(Json)
}
