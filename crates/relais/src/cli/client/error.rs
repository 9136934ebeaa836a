//! Errors between a command and its server, with messages that give the remedy.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::cli::CliError;
use crate::outbound::Obstacle;

fn via(proxy: Option<&str>) -> String {
    proxy.map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
}

fn remedy(obstacle: Obstacle, proxy: Option<&str>) -> String {
    if proxy.is_some() {
        let text =
            "does this proxy run, and does it reach that server? NO_PROXY names servers to reach without it";
        return text.to_owned();
    }
    match obstacle {
        Obstacle::Connection => "is the server running? Start it with `relais serve`, or name another with \
             --server or RELAIS_SERVER"
            .to_owned(),
        other => other.remedy().to_owned(),
    }
}

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No connection, or one that broke before the answer was complete.
    #[error("cannot reach {server}{} ({reason}): {}", via(proxy.as_deref()), remedy(*obstacle, proxy.as_deref()))]
    Unreachable {
        /// The address tried.
        server: String,
        /// The proxy that was to reach it, if there is one.
        proxy: Option<String>,
        /// What stood in the way.
        obstacle: Obstacle,
        /// The innermost cause.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{}", .0.sentence())]
    Refused(Box<Refusal>),
    /// The answer is not one that this version knows.
    #[error("unexpected answer from {place}: {reason}; is that address a Relais server?")]
    Unexpected {
        /// The request.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something on this computer.
    #[error("{}: {reason}", .path.display())]
    Local {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong and what to do.
        reason: String,
    },
    /// A setting or an argument.
    #[error("{0}")]
    Usage(String),
}

/// The server's own error.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The server's answer.
    pub body: RefusalBody,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// The part of the server's error JSON that commands use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RefusalBody {
    /// The message for people.
    pub detail: String,
    /// The stable code.
    pub code: String,
    /// Where invalid JSON begins, from 1.
    pub line: Option<u64>,
    /// Where invalid JSON begins, from 1.
    pub column: Option<u64>,
    /// Where the log stands, with 410.
    pub cursor: Option<String>,
}

impl Refusal {
    fn sentence(&self) -> String {
        let status = self.status;
        let detail = match self.body.detail.trim() {
            "" => status.canonical_reason().unwrap_or("no reason given"),
            detail => detail,
        };
        let mut text = format!("{detail} ({}", status.as_u16());
        // The server's own message usually gives the position; a proxy may have replaced it.
        if let (Some(line), Some(column), false) =
            (self.body.line, self.body.column, detail.contains("ligne"))
        {
            text.push_str(&format!(", line {line}, column {column}"));
        }
        text.push(')');
        match status {
            StatusCode::UNAUTHORIZED => {
                text.push_str(": give a key with --key, RELAIS_KEY or [client] key in relais.toml");
            }
            StatusCode::FORBIDDEN => {
                text.push_str(": this key may not do that; an administrator can make one that may");
            }
            _ => {}
        }
        text
    }
}

impl ClientError {
    /// Whether the same request may succeed later without anybody doing anything.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { obstacle, .. } => obstacle.may_pass(),
            Self::Refused(refusal) => matches!(refusal.status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504),
            Self::Unexpected { .. } | Self::Local { .. } | Self::Usage(_) => false,
        }
    }

    /// Whether a client that has been served before should keep retrying: a failing server recovers, a refusal does not
    /// change by itself.
    pub(crate) fn may_pass_for_a_follower(&self) -> bool {
        self.is_passing() || self.status().is_some_and(|status| status.is_server_error())
    }

    /// Whether the server refuses what was asked, and would not refuse the same for another société: the others go on.
    pub(crate) fn is_about_what_was_asked(&self) -> bool {
        let passing = self.is_passing();
        self.status()
            .is_some_and(|status| status.is_client_error() && status != StatusCode::UNAUTHORIZED && !passing)
    }

    /// The pause that the server asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// The status, if the server answered with an error.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// The server's error JSON, if it answered with one.
    pub(crate) fn body(&self) -> Option<&RefusalBody> {
        match self {
            Self::Refused(refusal) => Some(&refusal.body),
            _ => None,
        }
    }

    /// An error of a file or folder on this computer.
    pub(crate) fn local(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        let mut reason = reason.to_string();
        // ENOSPC and EDQUOT: the system's message gives no remedy.
        if reason.contains("(os error 28)") || reason.contains("(os error 122)") {
            reason.push_str("; free some space on this disk, then run it again");
        }
        Self::Local { path: path.into(), reason }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> ClientError {
        ClientError::Refused(Box::new(Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            body: serde_json::from_str(body).unwrap(),
            retry_after: None,
        }))
    }

    #[test]
    fn a_refusal_says_where_the_json_is_wrong() {
        let error = refused(400, r#"{"detail":"JSON invalide","line":3,"column":7,"errors":[]}"#);
        assert_eq!(error.to_string(), "JSON invalide (400, line 3, column 7)");
        let error = refused(400, r#"{"detail":"JSON invalide, ligne 3, colonne 7","line":3,"column":7}"#);
        assert_eq!(error.to_string(), "JSON invalide, ligne 3, colonne 7 (400)");
    }

    #[test]
    fn a_refusal_without_words_still_says_something() {
        assert_eq!(refused(507, "{}").to_string(), "Insufficient Storage (507)");
        assert!(refused(401, "{}").to_string().contains("RELAIS_KEY"));
    }

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        for (status, passes) in
            [(408, true), (429, true), (503, true), (400, false), (401, false), (507, false)]
        {
            assert_eq!(refused(status, "{}").is_passing(), passes, "{status}");
        }
    }
}
