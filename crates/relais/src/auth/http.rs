//! Credentials in HTTP requests.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};

use parking_lot::Mutex;

use super::rights::rights_changed;
use super::{Auth, Credential, Principal};
use crate::AppError;
use crate::config::Config;
use crate::said::said;
use crate::web::origins::{FETCH_SITE, is_from_own_page, is_known_origin};

/// The cookie that carries a session.
pub const SESSION_COOKIE: &str = "relais_session";

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The sender of a request whose body is still to come: checked again when the body is complete, however long that
/// took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asking(Arc<AskingState>);

#[derive(Debug, Default)]
struct AskingState {
    who: OnceLock<Principal>,
    refused: Mutex<Option<AppError>>,
}

impl Asking {
    fn is(&self, principal: &Principal) {
        let _ = self.0.who.set(principal.clone());
    }

    /// Whether the sender still has the initial rights.
    pub(crate) async fn ask_again(self, auth: Auth) -> bool {
        let Some(principal) = self.0.who.get() else { return true };
        match auth.renewed(principal).await {
            Ok(now) if now.has_rights_of(principal) => true,
            Ok(_) => {
                *self.0.refused.lock() = Some(rights_changed());
                false
            }
            Err(error) => {
                *self.0.refused.lock() = Some(error);
                false
            }
        }
    }

    /// The refusal, returned once.
    pub(crate) fn take_refusal(&self) -> Option<AppError> {
        self.0.refused.lock().take()
    }
}

/// The principal of this request. Refuses a credential that is not valid, and a cookie that another site made the
/// browser send.
///
/// Looked for in this order: `Authorization: Bearer`, `X-API-Key`, `?token=` (only on `GET` of a WebSocket or an event
/// stream, whose browser clients cannot set headers, and at `/socket.io/`), the session cookie.
#[derive(Clone, Debug)]
pub struct Caller(pub Principal);

impl<S> FromRequestParts<S> for Caller
where
    Auth: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let credential = credential(parts)?;
        if matches!(credential, Some(Credential::Session(_))) {
            check_same_origin(parts)?;
        }
        let principal = Auth::from_ref(state).authenticate(credential).await?;
        if let Some(asking) = parts.extensions.get::<Asking>() {
            asking.is(&principal);
        }
        Ok(Self(principal))
    }
}

/// The principal that opens a connection on which clients may also authenticate later. As [`Caller`], but a session
/// that has ended counts as none: its cookie is sent whether the page wants it or not.
#[derive(Clone, Debug)]
pub struct Visitor(pub Principal);

impl Visitor {
    /// The principal of this request. On pages of an allowed origin that is not this server's a cookie counts as none.
    ///
    /// # Errors
    /// 401 if a token or a key is not valid, 403 if a foreign page made the browser send the cookie.
    pub async fn of(parts: &Parts, auth: &Auth, config: &Config) -> Result<Self, AppError> {
        let from = check_same_origin(parts).and_then(|()| check_page(parts));
        Self::visit(parts, auth, config, from).await
    }

    /// The principal of a request that contains something unknown to other pages, such as the id of a connection: a
    /// cookie needs no further proof of origin, but counts as none on a page of another origin.
    ///
    /// # Errors
    /// As [`Visitor::of`].
    pub async fn returning(parts: &Parts, auth: &Auth, config: &Config) -> Result<Self, AppError> {
        Self::visit(parts, auth, config, check_page(parts)).await
    }

    async fn visit(
        parts: &Parts,
        auth: &Auth,
        config: &Config,
        from: Result<(), AppError>,
    ) -> Result<Self, AppError> {
        let credential = credential(parts)?;
        let by_cookie = matches!(credential, Some(Credential::Session(_)));
        if by_cookie && let Err(refused) = from {
            let named = parts.headers.contains_key(header::ORIGIN)
                && is_known_origin(&parts.headers, &parts.extensions, &config.server.allowed_origins);
            return if named { Ok(Self(Principal::Anonymous)) } else { Err(refused) };
        }
        match auth.authenticate(credential).await {
            Err(error) if by_cookie && error.status() == StatusCode::UNAUTHORIZED => {
                Ok(Self(Principal::Anonymous))
            }
            principal => principal.map(Self),
        }
    }
}

impl<S> FromRequestParts<S> for Visitor
where
    Auth: FromRef<S>,
    Arc<Config>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        Self::of(parts, &Auth::from_ref(state), &Arc::<Config>::from_ref(state)).await
    }
}

/// The address that a request came from, if the server knows it.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(address_of(parts)))
    }
}

/// The address that a request came from, if the server knows it.
#[must_use]
pub fn address_of(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

/// The credential of a request.
///
/// # Errors
/// 401 if `Authorization` is there but cannot be understood.
pub fn credential(parts: &Parts) -> Result<Option<Credential>, AppError> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        return match text.split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") && !rest.trim().is_empty() => {
                Ok(Some(Credential::Bearer(rest.trim().to_owned())))
            }
            _ => Err(super::unauthenticated(said!(
                "En-tête Authorization invalide : « Bearer <token> » attendu",
                "Invalid Authorization header: \"Bearer <token>\" expected"
            ))),
        };
    }
    if let Some(value) = parts.headers.get(API_KEY) {
        return Ok(Some(Credential::Bearer(value.to_str().unwrap_or_default().trim().to_owned())));
    }
    if let Some(token) = query_token(parts) {
        return Ok(Some(Credential::Bearer(token)));
    }
    Ok(session_secret(&parts.headers).map(|secret| Credential::Session(secret.to_owned())))
}

/// Whether a request has a credential in a header of its own. A browser sends these headers to a foreign origin only
/// after a preflight that allowed it, and with a WebSocket never; and they take precedence over any cookie.
pub(crate) fn shows_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key(API_KEY)
}

/// The value of the session cookie.
#[must_use]
pub fn session_secret(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == SESSION_COOKIE && !value.is_empty()).map(|(_, value)| value)
}

fn query_token(parts: &Parts) -> Option<String> {
    let query = parts.uri.query()?;
    let is_live = is_websocket(&parts.headers) || is_event_stream(&parts.headers);
    if !(parts.method == Method::GET && is_live || is_socketio(parts)) {
        return None;
    }
    let value = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    let text = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

/// Whether a header that is a list has this word in it.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut parts = values.flat_map(|value| value.split(',')).filter_map(|part| part.split(';').next());
    parts.any(|part| part.trim().eq_ignore_ascii_case(wanted))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, &header::UPGRADE, "websocket")
}

/// A client of Socket.IO sends one query with all its requests, polling ones too (`query: { token }`).
fn is_socketio(parts: &Parts) -> bool {
    parts.uri.path().starts_with("/socket.io")
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    has_token(headers, &header::ACCEPT, "text/event-stream")
}

/// Refuses what another site made the browser send: with a cookie, changes and WebSockets must come from our
/// own pages. A request of which no browser says where it comes from is refused.
///
/// # Errors
/// 403 if the request does not come from our own pages.
pub fn check_same_origin(parts: &Parts) -> Result<(), AppError> {
    let headers = &parts.headers;
    let reading = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if reading && !is_websocket(headers) {
        return Ok(());
    }
    if is_from_own_page(headers, &parts.extensions) { Ok(()) } else { Err(cross_site()) }
}

/// Refuses what a page of another origin made the browser send, reading included.
fn check_page(parts: &Parts) -> Result<(), AppError> {
    let headers = &parts.headers;
    let site = headers.get(FETCH_SITE).filter(|site| *site != "none");
    let from_page = site.is_some() || headers.contains_key(header::ORIGIN);
    if from_page && !is_from_own_page(headers, &parts.extensions) { Err(cross_site()) } else { Ok(()) }
}

fn cross_site() -> AppError {
    let text = said!(
        "Requête refusée : elle ne vient pas d'une page de ce serveur",
        "Request refused: it does not come from a page of this server"
    );
    AppError::forbidden("cross_site", text)
}

/// The `Set-Cookie` value that starts a session, or ends it when there is no secret. `X-Forwarded-Proto` is believed
/// whoever sends it: a client that lies about it only keeps its own cookie off plain connections.
#[must_use]
pub fn session_cookie(secret: Option<&str>, max_age_s: u64, headers: &HeaderMap) -> String {
    let proto = HeaderName::from_static("x-forwarded-proto");
    let secure = if has_token(headers, &proto, "https") { "; Secure" } else { "" };
    let (value, age) = secret.map_or(("", 0), |secret| (secret, max_age_s));
    format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(method: Method, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn bearer(text: &str) -> Option<Credential> {
        Some(Credential::Bearer(text.to_owned()))
    }

    fn found(uri: &str, headers: &[(&str, &str)]) -> Option<Credential> {
        credential(&parts(Method::GET, uri, headers)).unwrap()
    }

    #[test]
    fn credentials_are_found_where_clients_put_them() {
        assert!(found("/", &[]).is_none());
        assert!(found("/", &[("authorization", "bearer abc")]) == bearer("abc"));
        assert!(found("/", &[("x-api-key", "rk_a_b")]) == bearer("rk_a_b"));
        let cookies = [("cookie", "theme=dark; relais_session=s3")];
        assert!(found("/", &cookies) == Some(Credential::Session("s3".into())));
        assert!(found("/", &[cookies[0], ("authorization", "Bearer abc")]) == bearer("abc"));
    }

    #[test]
    fn an_authorization_that_cannot_be_understood_is_not_taken_for_none() {
        for value in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            let error = credential(&parts(Method::GET, "/", &[("authorization", value)])).err().unwrap();
            assert_eq!(error.status(), StatusCode::UNAUTHORIZED, "{value}");
        }
    }

    #[test]
    fn a_token_in_the_address_counts_only_where_headers_cannot_be_set() {
        let uri = "/api/files/ws?since=1&token=a%2Eb";
        assert!(found(uri, &[("upgrade", "websocket")]) == bearer("a.b"));
        assert!(found(uri, &[("accept", "text/event-stream")]) == bearer("a.b"));
        assert!(found(uri, &[]).is_none());
        assert!(credential(&parts(Method::POST, uri, &[("accept", "text/event-stream")])).unwrap().is_none());
        assert!(
            found("/socket.io/?EIO=4&transport=polling&token=a", &[]) == bearer("a"),
            "with every request"
        );
    }

    #[test]
    fn a_cookie_that_another_site_made_the_browser_send_is_refused() {
        let host = ("host", "relais.fr");
        let allowed = |method: Method, headers: &[(&str, &str)]| {
            let headers: Vec<_> = headers.iter().copied().chain([host]).collect();
            check_same_origin(&parts(method, "/", &headers)).is_ok()
        };
        assert!(allowed(Method::POST, &[("sec-fetch-site", "same-origin")]));
        assert!(allowed(Method::POST, &[("origin", "http://relais.fr")]));
        assert!(allowed(Method::GET, &[("sec-fetch-site", "cross-site")]), "reading changes nothing");
        for refused in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site"), ("origin", "https://relais.fr")],
            &[("origin", "http://evil.fr")],
            &[("origin", "https://relais.fr")],
            &[("origin", "file://relais.fr")],
            &[("origin", "http://relais.fr.evil.fr")],
            &[("origin", "null")],
            &[],
        ] {
            assert!(!allowed(Method::POST, refused), "{refused:?}");
            let socket: Vec<_> = refused.iter().copied().chain([("upgrade", "websocket")]).collect();
            assert!(!allowed(Method::GET, &socket), "{socket:?}");
        }
    }

    #[test]
    fn the_cookie_cannot_be_read_by_scripts_and_is_secure_behind_https() {
        let cookie = session_cookie(Some("s"), 60, &HeaderMap::new());
        assert_eq!(cookie, "relais_session=s; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
        let https = parts(Method::GET, "/", &[("x-forwarded-proto", "https")]).headers;
        assert!(session_cookie(None, 60, &https).ends_with("Max-Age=0; Secure"));
    }
}
