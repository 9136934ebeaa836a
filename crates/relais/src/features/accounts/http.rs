//! The HTTP edge of accounts.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRef, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relais_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::audit::Actor;
use super::model::{AuditEntry, Grant, KeyInfo, NewUser, UserChanges, UserInfo};
use super::service::Accounts;
use crate::AppError;
use crate::auth::credentials_required;
use crate::auth::http::{
    Caller, ClientAddress, address_of, check_same_origin, session_cookie, session_secret,
};
use crate::auth::{Action, Auth, Principal, user_principal};
use crate::web::paging::{Page, listed};

/// The routes of accounts, for any state that has an [`Auth`].
pub fn router<S>() -> OpenApiRouter<S>
where
    Auth: FromRef<S>,
    S: Clone + Send + Sync + 'static,
{
    OpenApiRouter::new()
        .routes(routes!(sign_in_legacy))
        .routes(routes!(sign_in))
        .routes(routes!(sign_out))
        .routes(routes!(show_me))
        .routes(routes!(list_users, create_user))
        .routes(routes!(show_user, update_user))
        .routes(routes!(disable_user))
        .routes(routes!(list_grants, set_grant))
        .routes(routes!(remove_grant))
        .routes(routes!(list_keys, create_key))
        .routes(routes!(revoke_key))
        .routes(routes!(list_audit))
}

type Body<T> = Result<Json<T>, JsonRejection>;

fn body<T>(body: Body<T>) -> Result<T, AppError> {
    Ok(body.map(|Json(value)| value)?)
}

/// The administrator, for the audit log. Refuses everyone else.
pub struct Administrator(pub Actor);

impl<S> FromRequestParts<S> for Administrator
where
    Auth: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        let auth = Auth::from_ref(state);
        auth.require(&caller, Action::Administer)?;
        Ok(Self(Actor::caller(&auth, &caller, address_of(parts))))
    }
}

/// Who signs in.
#[derive(Deserialize, ToSchema)]
pub struct SignIn {
    /// The address of the user.
    pub email: String,
    /// The password.
    pub password: String,
}

/// A person who has signed in.
#[derive(Serialize, ToSchema)]
pub struct SignInReply {
    /// For `Authorization: Bearer`; valid 24 hours unless configured otherwise.
    pub token: String,
    /// Who.
    pub user: UserInfo,
}

/// Sign in
#[utoipa::path(post, path = "/api/auth/login", tag = "access", request_body = SignIn, responses(
    (status = 200, description = "Signed in; also sets the cookie `relais_session`", body = SignInReply),
    (status = 401, description = "Wrong address or password"),
    (status = 429, description = "Too many attempts; see Retry-After")))]
async fn sign_in(
    State(auth): State<Auth>,
    address: ClientAddress,
    headers: HeaderMap,
    given: Body<SignIn>,
) -> Result<Response, AppError> {
    signed_in(auth, address, &headers, given, |token, user| SignInReply { token, user }).await
}

/// Signs a user in and answers with `reply`, made from the token and the user.
async fn signed_in<T: Serialize>(
    auth: Auth,
    address: ClientAddress,
    headers: &HeaderMap,
    given: Body<SignIn>,
    reply: impl FnOnce(String, UserInfo) -> T,
) -> Result<Response, AppError> {
    let SignIn { email, password } = body(given)?;
    let max_age_s = auth.config().session_max_s;
    let replaced = session_secret(headers);
    let signed_in = Accounts::new(auth).sign_in(&email, password, address.0, replaced).await?;
    let cookie = session_cookie(Some(&signed_in.session), max_age_s, headers);
    let reply = reply(signed_in.token, signed_in.user);
    Ok(([(header::SET_COOKIE, cookie), no_store()], Json(reply)).into_response())
}

/// A person who has signed in, as existing clients know it.
#[derive(Serialize, ToSchema)]
pub struct FormerSignInReply {
    /// As of `/api/auth/login`.
    token: String,
    /// Who.
    user: FormerUser,
}

/// A user whose `admin` is 1 or 0: existing clients compare it with these.
#[derive(Serialize, ToSchema)]
pub struct FormerUser {
    id: String,
    firstname: String,
    lastname: String,
    email: String,
    phone: String,
    /// 1 for an administrator, else 0.
    #[schema(maximum = 1)]
    admin: u8,
    staff: bool,
    disabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<UserInfo> for FormerUser {
    fn from(user: UserInfo) -> Self {
        let UserInfo { id, firstname, lastname, email, phone, admin, staff, disabled, created_at } = user;
        Self { id, firstname, lastname, email, phone, admin: u8::from(admin), staff, disabled, created_at }
    }
}

/// Sign in (the name that existing clients use)
#[utoipa::path(post, path = "/api/connexion", tag = "access", request_body = SignIn, responses(
    (status = 200, description = "As /api/auth/login, but `user.admin` is 1 or 0", body = FormerSignInReply)))]
async fn sign_in_legacy(
    State(auth): State<Auth>,
    address: ClientAddress,
    headers: HeaderMap,
    given: Body<SignIn>,
) -> Result<Response, AppError> {
    signed_in(auth, address, &headers, given, |token, user| FormerSignInReply { token, user: user.into() })
        .await
}

/// Sign out
///
/// Ends the session of the cookie and its live connections, not the person's other ones. A token stays valid until it
/// expires.
#[utoipa::path(post, path = "/api/auth/logout", tag = "access", responses(
    (status = 200, description = "Signed out, or was not signed in")))]
async fn sign_out(
    State(auth): State<Auth>,
    address: ClientAddress,
    request: axum::extract::Request,
) -> Result<Response, AppError> {
    let (parts, _) = request.into_parts();
    if let Some(secret) = session_secret(&parts.headers) {
        check_same_origin(&parts)?;
        Accounts::new(auth).sign_out(secret, address.0).await?;
    }
    let cookie = session_cookie(None, 0, &parts.headers);
    let reply = json!({"success": true, "message": "Déconnexion réussie"});
    Ok(([(header::SET_COOKIE, cookie), no_store()], Json(reply)).into_response())
}

/// Who am I
#[utoipa::path(get, path = "/api/auth/me", tag = "access", responses(
    (status = 200, description = "The caller: `principal`, and `user` for a person"),
    (status = 401, description = "Not signed in")))]
async fn show_me(State(auth): State<Auth>, Caller(principal): Caller) -> Result<Response, AppError> {
    let user = match &principal {
        Principal::Anonymous => {
            return Err(credentials_required());
        }
        Principal::Service(_) => Value::Null,
        Principal::User(user) => match Accounts::new(auth).find_user(&user.id).await {
            Ok(info) if *user.principal_id == *user_principal(&info.id) => json!(info),
            Err(error) if error.status() != StatusCode::NOT_FOUND => return Err(error),
            _ => json!({"id": user.id, "email": user.email, "firstname": user.display_name, "lastname": "",
                        "phone": "", "admin": user.admin, "staff": user.staff}),
        },
    };
    let reply = json!({"principal": &*principal.id(), "name": principal.display_name(), "user": user});
    Ok(([no_store()], Json(reply)).into_response())
}

fn no_store() -> (header::HeaderName, String) {
    (header::CACHE_CONTROL, "no-store".to_owned())
}

/// List users
#[utoipa::path(get, path = "/api/v1/users", tag = "accounts", params(Page), responses(
    (status = 200, description = "`users`, and `cursor` if there are more", body = Vec<UserInfo>)))]
async fn list_users(
    State(auth): State<Auth>,
    _: Administrator,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let accounts = Accounts::new(auth);
    let (after, limit) = Page::read(page)?;
    Ok(listed("users", accounts.list_users(after, limit + 1).await?, limit, |user| &user.id))
}

/// Make a user
#[utoipa::path(post, path = "/api/v1/users", tag = "accounts", request_body = NewUser, responses(
    (status = 201, body = UserInfo), (status = 400, description = "A value that cannot be taken"),
    (status = 409, description = "The address is in use")))]
async fn create_user(
    State(auth): State<Auth>,
    Administrator(actor): Administrator,
    given: Body<NewUser>,
) -> Result<(StatusCode, Json<UserInfo>), AppError> {
    let accounts = Accounts::new(auth);
    Ok((StatusCode::CREATED, Json(accounts.create_user(&actor, body(given)?).await?)))
}

/// Show a user
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "accounts", params(("id" = String, Path)), responses(
    (status = 200, body = UserInfo), (status = 404, description = "No such user")))]
async fn show_user(
    State(auth): State<Auth>,
    _: Administrator,
    Path(id): Path<String>,
) -> Result<Json<UserInfo>, AppError> {
    let accounts = Accounts::new(auth);
    accounts.find_user(&id).await.map(Json)
}

/// Change a user
///
/// A new password, and disabling, end the user's sessions and tokens.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "accounts", params(("id" = String, Path)),
    request_body = UserChanges, responses((status = 200, body = UserInfo),
    (status = 404, description = "No such user"),
    (status = 409, description = "The address is in use, or this is the last administrator")))]
async fn update_user(
    State(auth): State<Auth>,
    Administrator(actor): Administrator,
    Path(id): Path<String>,
    given: Body<UserChanges>,
) -> Result<Json<UserInfo>, AppError> {
    let accounts = Accounts::new(auth);
    accounts.update_user(&actor, &id, body(given)?).await.map(Json)
}

/// Disable a user
#[utoipa::path(post, path = "/api/v1/users/{id}/disable", tag = "accounts", params(("id" = String, Path)),
    responses((status = 200, body = UserInfo), (status = 404, description = "No such user")))]
async fn disable_user(
    State(auth): State<Auth>,
    Administrator(actor): Administrator,
    Path(id): Path<String>,
) -> Result<Json<UserInfo>, AppError> {
    let accounts = Accounts::new(auth);
    let changes = UserChanges { disabled: Some(true), ..UserChanges::default() };
    accounts.update_user(&actor, &id, changes).await.map(Json)
}

/// List a user's grants
#[utoipa::path(get, path = "/api/v1/users/{id}/grants", tag = "accounts", params(("id" = String, Path)),
    responses((status = 200, description = "`grants`", body = Vec<Grant>)))]
async fn list_grants(
    State(auth): State<Auth>,
    _: Administrator,
    Path(id): Path<String>,
) -> Result<Json<Value>, AppError> {
    let accounts = Accounts::new(auth);
    Ok(Json(json!({"grants": accounts.list_grants(&id).await?})))
}

/// Give a user access to a société
#[utoipa::path(put, path = "/api/v1/users/{id}/grants", tag = "accounts", params(("id" = String, Path)),
    request_body = Grant, responses((status = 200, body = Grant), (status = 404, description = "No such user")))]
async fn set_grant(
    State(auth): State<Auth>,
    Administrator(actor): Administrator,
    Path(id): Path<String>,
    given: Body<Grant>,
) -> Result<Json<Grant>, AppError> {
    let accounts = Accounts::new(auth);
    let grant = body(given)?;
    accounts.set_grant(&actor, &id, grant.clone()).await?;
    Ok(Json(grant))
}

/// Take a user's access to a société away
#[utoipa::path(delete, path = "/api/v1/users/{id}/grants/{societe}", tag = "accounts",
    params(("id" = String, Path), ("societe" = String, Path)),
    responses((status = 204), (status = 404, description = "There was none")))]
async fn remove_grant(
    State(auth): State<Auth>,
    Administrator(actor): Administrator,
    Path((id, societe)): Path<(String, String)>,
) -> Result<StatusCode, AppError> {
    let accounts = Accounts::new(auth);
    accounts.remove_grant(&actor, &id, &societe).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyRequest {
    /// What the key is called.
    pub name: String,
    /// What it may do: `relay:write:rsp-bgs`, `relay:read:*`, ….
    pub scopes: Vec<String>,
    /// When it ends; none: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub struct NewKeyReply {
    /// The key itself, shown this once.
    pub key: String,
    /// What it is called and what it may do.
    #[serde(flatten)]
    pub info: KeyInfo,
}

/// Make an API key
#[utoipa::path(post, path = "/api/v1/keys", tag = "accounts", request_body = NewKeyRequest, responses(
    (status = 201, description = "The only reply that shows the key", body = NewKeyReply),
    (status = 400, description = "A scope or another value that cannot be taken")))]
async fn create_key(
    State(auth): State<Auth>,
    Administrator(actor): Administrator,
    given: Body<NewKeyRequest>,
) -> Result<Response, AppError> {
    let accounts = Accounts::new(auth);
    let new = body(given)?;
    let (info, key) = accounts.create_key(&actor, &new.name, &new.scopes, new.expires_at).await?;
    Ok((StatusCode::CREATED, [no_store()], Json(NewKeyReply { key, info })).into_response())
}

/// List API keys
#[utoipa::path(get, path = "/api/v1/keys", tag = "accounts", params(Page), responses(
    (status = 200, description = "`keys`, and `cursor` if there are more", body = Vec<KeyInfo>)))]
async fn list_keys(
    State(auth): State<Auth>,
    _: Administrator,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let accounts = Accounts::new(auth);
    let (after, limit) = Page::read(page)?;
    Ok(listed("keys", accounts.list_keys(after, limit + 1).await?, limit, |key| &key.id))
}

/// Revoke an API key
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "accounts", params(("id" = String, Path)), responses(
    (status = 204, description = "Revoked, at once"), (status = 404, description = "No such key")))]
async fn revoke_key(
    State(auth): State<Auth>,
    Administrator(actor): Administrator,
    Path(id): Path<String>,
) -> Result<StatusCode, AppError> {
    let accounts = Accounts::new(auth);
    accounts.revoke_key(&actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who did what, newest first
#[utoipa::path(get, path = "/api/v1/audit", tag = "accounts", params(Page), responses(
    (status = 200, description = "`entries`, and `cursor` if there are more", body = Vec<AuditEntry>)))]
async fn list_audit(
    State(auth): State<Auth>,
    _: Administrator,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let accounts = Accounts::new(auth);
    let (before, limit) = Page::read(page)?;
    Ok(listed("entries", accounts.list_audit(before, limit + 1).await?, limit, |entry| &entry.id))
}
