//! The client's errors, sorted by what the caller can do about them.

use std::error::Error;
use std::io;

use rustls::CertificateError;
use tokio_postgres::error::{DbError, SqlState};

use crate::error::StoreError;

/// Sorts an error by what the caller can do about it.
pub(super) fn store_error(error: &tokio_postgres::Error) -> StoreError {
    if is_tls(error) {
        return StoreError::Tls(tls_text(error));
    }
    let Some(reported) = error.as_db_error() else {
        return match error.is_closed() || error.source().is_some() {
            true => StoreError::Unavailable(text(error)),
            false => StoreError::Internal(text(error)),
        };
    };
    match reported.code() {
        code if *code == SqlState::UNIQUE_VIOLATION => {
            StoreError::Conflict { constraint: unique_constraint(reported) }
        }
        code if *code == SqlState::DISK_FULL => StoreError::Full,
        code if *code == SqlState::T_R_DEADLOCK_DETECTED => {
            metrics::counter!("relais_store_deadlocks_total").increment(1);
            StoreError::Locked(text(error))
        }
        code if *code == SqlState::LOCK_NOT_AVAILABLE => StoreError::Locked(text(error)),
        code if is_temporary(code) => StoreError::Unavailable(text(error)),
        _ => StoreError::Internal(text(error)),
    }
}

/// Whether TLS failed, before any query was sent. The client reports it by its text only.
pub(super) fn is_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string() == "error performing TLS handshake"
}

/// Whether the server takes this user's connection only the other way, encrypted or not.
pub(super) fn is_refused(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

/// Connection failures, refused and ended sessions, timeouts and exhausted resources.
fn is_temporary(code: &SqlState) -> bool {
    let class = &code.code()[..2];
    matches!(class, "08" | "40" | "53" | "57" | "58")
}

/// `jobs(kind, dedup_key)` from the table and the detail `Key (kind, dedup_key)=(…) already exists.`
fn unique_constraint(error: &DbError) -> String {
    let columns = error
        .detail()
        .and_then(|detail| detail.split_once('('))
        .and_then(|(_, rest)| rest.split_once(")=("))
        .map(|(columns, _)| columns);
    match (error.table(), columns) {
        (Some(table), Some(columns)) => format!("{table}({columns})"),
        _ => error.constraint().unwrap_or("unknown").to_owned(),
    }
}

/// The error with its cause; the client's own text leaves the cause out.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn tls_text(error: &tokio_postgres::Error) -> String {
    let cause = error.source();
    let inner = cause.and_then(|cause| cause.downcast_ref::<io::Error>()).and_then(io::Error::get_ref);
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(refused)) => certificate_text(refused),
        Some(other) => format!("the handshake with the server failed: {other}"),
        None => match cause.map(ToString::to_string).as_deref() {
            Some("server does not support TLS") => {
                "the server does not offer it: set ssl = on in its postgresql.conf; only where nobody can listen \
                 on the way use sslmode=disable"
                    .to_owned()
            }
            _ => text(error),
        },
    }
}

/// What is wrong with the server's certificate and what to do about it.
fn certificate_text(refused: &CertificateError) -> String {
    match refused {
        CertificateError::UnknownIssuer => {
            "no trusted authority has signed the server's certificate: give the \
             authority's certificate with sslrootcert=FILE"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "the server's certificate has no names (subjectAltName), so it is not one for {}: reissue it with \
             them, or use sslmode=verify-ca",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is for {}, not for {}: connect to a name it has, reissue it, or use \
             sslmode=verify-ca",
            presented.join(", "),
            expected.to_str()
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("renew the server's certificate: {refused}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("check the clocks of this computer and of the server: {refused}")
        }
        other => format!("the server's certificate cannot be accepted: {other}"),
    }
}
