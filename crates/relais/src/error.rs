//! The one error that leaves the server, and its JSON.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relais_store::StoreError;
use serde_json::{Map, Value};

use crate::said::{Language, Said, said};

/// Bytes of a text in an answer that refuses: what was sent is not sent back as a whole.
const TEXT_BYTES_MAX: usize = 1024;

/// An answer that is not the one asked for: a status, a stable code and a message for people, in both languages.
///
/// Its JSON serves the clients of every system Relais stands in for: `detail`, `message` and `error` say the
/// same thing under the names that each expects, `code` is stable and meant for programs. Further fields
/// (`line`, `column`, `cursor`, …) are documented in `docs/api/errors.md`.
#[derive(Clone, Debug)]
pub struct AppError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    message: Said,
    fields: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl AppError {
    /// An error with the status, the stable code and the message that the client sees.
    pub fn new(status: StatusCode, code: &'static str, message: Said) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            message: message.map(|text| match text.len() {
                0..=TEXT_BYTES_MAX => text,
                _ => cut(text.into_owned()).into(),
            }),
            fields: Map::new(),
            headers: Vec::new(),
        }))
    }

    /// What was asked cannot be understood, or is not possible at all.
    pub fn bad_request(code: &'static str, message: Said) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The caller has to authenticate.
    pub fn unauthorized(code: &'static str, message: Said) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    /// The caller may not do this.
    pub fn forbidden(code: &'static str, message: Said) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// It does not exist, or not for this caller.
    pub fn not_found(code: &'static str, message: Said) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// What is there already stands against it.
    pub fn conflict(code: &'static str, message: Said) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// The caller asked too often.
    pub fn too_many_requests(code: &'static str, message: Said) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
    }

    /// An internal fault: logged here with its cause, sent to the client without it.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            said!(
                "Erreur interne du serveur. L'incident est dans son journal.",
                "Internal server error. The server's log has the incident."
            ),
        )
    }

    /// Adds a field to the JSON.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        let mut value = value.into();
        cut_texts(&mut value);
        self.0.fields.insert(field.to_owned(), value);
        self
    }

    /// Adds a header to the response. A value that no header can carry is left out.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// Sets when to retry, in seconds, in the header and in the JSON.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, &seconds.to_string()).with("retry_after", seconds)
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Whether it means that something does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.0.status == StatusCode::NOT_FOUND
    }

    /// Whether it means that the caller has to authenticate.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.0.status == StatusCode::UNAUTHORIZED
    }

    /// The stable code, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The message, for people.
    #[must_use]
    pub fn message(&self) -> &Said {
        &self.0.message
    }

    /// The message for people who called an address of an earlier system.
    #[must_use]
    pub fn french(&self) -> &str {
        self.0.message.french()
    }

    /// The message for all others.
    #[must_use]
    pub fn english(&self) -> &str {
        self.0.message.english()
    }

    /// The JSON body of the answer.
    #[must_use]
    pub fn to_json(&self, language: Language) -> Value {
        let mut body = self.0.fields.clone();
        let reason = self.0.status.canonical_reason().unwrap_or("Error");
        let message = self.0.message.text(language);
        body.insert("detail".into(), message.into());
        body.insert("message".into(), message.into());
        body.insert("error".into(), reason.into());
        body.insert("code".into(), self.0.code.into());
        Value::Object(body)
    }
}

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.english(), self.0.code)
    }
}

impl std::error::Error for AppError {}

/// A text of at most [`TEXT_BYTES_MAX`] bytes: its beginning, and `…` if there is more.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(boundary(&text, TEXT_BYTES_MAX - '…'.len_utf8()));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// The last place up to `max` at which a text can be cut.
pub(crate) fn boundary(text: &str, max: usize) -> usize {
    (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A client's value, as quoted in the answer: a word or a number, with its texts truncated. Anything else is quoted as
/// nothing.
pub(crate) fn said_back(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => beginning_of(text).into(),
        Value::String(_) | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::Null | Value::Array(_) | Value::Object(_) => Value::Null,
    }
}

fn cut_texts(value: &mut Value) {
    match value {
        Value::String(text) => *text = cut(std::mem::take(text)),
        Value::Array(values) => values.iter_mut().for_each(cut_texts),
        Value::Object(fields) => fields.values_mut().for_each(cut_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The beginning of a displayed text, without formatting the rest.
pub(crate) fn beginning_of(said: &impl std::fmt::Display) -> String {
    struct Bounded(String);
    impl std::fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let room = TEXT_BYTES_MAX - self.0.len();
            self.0.push_str(&text[..boundary(text, room)]);
            if text.len() > room { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut beginning = Bounded(String::new());
    match std::fmt::Write::write_fmt(&mut beginning, format_args!("{said}")) {
        Ok(()) => beginning.0,
        Err(_) => {
            let Bounded(mut text) = beginning;
            text.truncate(boundary(&text, TEXT_BYTES_MAX - '…'.len_utf8()));
            text.push('…');
            text
        }
    }
}

impl From<JsonRejection> for AppError {
    fn from(rejection: JsonRejection) -> Self {
        unreadable_body(rejection.status(), &rejection.body_text())
    }
}

/// A body that could not be read, in the words of whatever read it.
pub(crate) fn unreadable_body(status: StatusCode, why: &str) -> AppError {
    let message = said!("Corps de requête invalide : {}", "Invalid request body: {}"; Said::carried_in(why));
    AppError::new(status, "invalid_body", message)
}

/// A query string that could not be read, in the words of whatever read it.
pub(crate) fn unreadable_query(rejection: &QueryRejection) -> AppError {
    AppError::bad_request("invalid_query", Said::in_english(rejection.body_text()))
}

/// The answer is French until [`in_language`] knows the address.
impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, Json(self.to_json(Language::French))).into_response();
        if self.0.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        for (name, value) in &self.0.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response.extensions_mut().insert(Carried(Arc::new(self)));
        response
    }
}

/// The error in a response.
#[derive(Clone)]
struct Carried(Arc<AppError>);

/// A response in this language, if it is an error.
pub(crate) fn in_language(mut response: Response, language: Language) -> Response {
    let told = response.extensions_mut().remove::<Carried>();
    let (Some(Carried(error)), Language::English) = (told, language) else { return response };
    let text = error.to_json(language).to_string();
    if response.headers().contains_key(header::CONTENT_LENGTH) {
        response.headers_mut().insert(header::CONTENT_LENGTH, text.len().into());
    }
    // To a HEAD there is none.
    if response.body().size_hint().exact() != Some(0) {
        *response.body_mut() = Body::from(text);
    }
    response
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Locked(_) | StoreError::Tls(_) | StoreError::Closed => {
                tracing::warn!(%error, "database unavailable");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "database_unavailable",
                    said!(
                        "La base de données ne répond pas : rien n'a été modifié. Réessayez dans un instant.",
                        "The database does not answer: nothing was changed. Try again in a moment."
                    ),
                )
                .retry_after(2)
            }
            StoreError::CommitUnknown(_) => {
                tracing::warn!(%error, "outcome of a commit unknown");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "outcome_unknown",
                    said!(
                        "La connexion à la base de données a été perdue pendant l'enregistrement : renvoyez la même \
                         demande, elle ne sera pas faite deux fois.",
                        "The connection to the database was lost during the commit: send the same request again, it \
                         will not be carried out twice."
                    ),
                )
                .retry_after(2)
            }
            StoreError::Full => {
                tracing::error!(%error, "disk full");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", disk_full())
            }
            StoreError::Unstorable(what) => {
                Self::bad_request("invalid_value", said!("Valeur refusée : {what}", "Value refused: {what}"))
            }
            other => Self::internal(other),
        }
    }
}

/// What a full disk means for the caller.
#[must_use]
pub fn disk_full() -> Said {
    said!(
        "Le disque du serveur est plein : rien n'a été modifié. Libérez de l'espace puis réessayez.",
        "The disk of the server is full: nothing was changed. Free some space, then try again."
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_does_not_send_back_what_was_sent() {
        let long = "é".repeat(1_000_000);
        let message = said!("Valeur invalide : {long}", "Invalid value: {long}");
        let error = AppError::bad_request("invalid_value", message)
            .with("errors", json!([{ "message": long, "count": 3 }]));
        for language in [Language::French, Language::English] {
            let body = error.to_json(language);
            assert!(body.to_string().len() < 4_500, "{}", body.to_string().len());
            assert!(body["message"].as_str().unwrap().ends_with("é…"));
            assert_eq!(body["errors"][0]["count"], 3);
        }
        assert_eq!(AppError::bad_request("a", said!("court", "short")).french(), "court");
    }

    #[test]
    fn of_something_long_only_the_beginning_is_written() {
        let said = beginning_of(&json!({ "value": "x".repeat(30_000_000) }));
        assert!(said.len() <= TEXT_BYTES_MAX && said.starts_with("{\"value\":\"xxx") && said.ends_with('…'));
        assert_eq!(beginning_of(&"court"), "court");
    }

    #[test]
    fn what_no_database_stores_is_a_fault_of_the_request() {
        let error = AppError::from(StoreError::Unstorable("a text contains the character U+0000"));
        assert_eq!((error.status(), error.code()), (StatusCode::BAD_REQUEST, "invalid_value"));
    }
}
