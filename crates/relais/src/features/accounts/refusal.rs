//! What several parts refuse, and how they say so.

use crate::AppError;
use crate::text::{direction_control, direction_refused};

/// The longest name, address or telephone number, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 254;

pub(super) fn check_text(text: &str) -> Result<(), AppError> {
    if let Some(c) = direction_control(text) {
        return Err(bad_request("text", direction_refused("text", c)));
    }
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let message =
            format!("Texte trop long (plus de {TEXT_BYTES_MAX} octets) ou avec un caractère de contrôle");
        return Err(bad_request("text", message));
    }
    Ok(())
}

pub(super) fn bad_request(field: &str, message: String) -> AppError {
    AppError::bad_request("invalid_value", message).with("field", field)
}

pub(super) fn not_found(message: &str) -> AppError {
    AppError::not_found("not_found", message)
}

pub(super) fn user_unknown() -> AppError {
    not_found("Utilisateur inconnu")
}
