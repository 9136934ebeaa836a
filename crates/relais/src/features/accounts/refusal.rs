//! Errors shared by several parts.

use crate::AppError;
use crate::said::{Said, said};
use crate::text::{direction_control, direction_refused};

/// The maximum length of a name, address or telephone number, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 254;

pub(super) fn check_text(text: &str) -> Result<(), AppError> {
    if let Some(c) = direction_control(text) {
        return Err(bad_request("text", direction_refused("text", c)));
    }
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let message = said!(
            "Texte trop long (plus de {TEXT_BYTES_MAX} octets) ou avec un caractère de contrôle",
            "Text too long (more than {TEXT_BYTES_MAX} bytes) or with a control character"
        );
        return Err(bad_request("text", message));
    }
    Ok(())
}

pub(super) fn bad_request(field: &str, message: Said) -> AppError {
    AppError::bad_request("invalid_value", message).with("field", field)
}

pub(super) fn not_found(message: Said) -> AppError {
    AppError::not_found("not_found", message)
}

pub(super) fn user_unknown() -> AppError {
    not_found(said!("Utilisateur inconnu", "Unknown user"))
}
