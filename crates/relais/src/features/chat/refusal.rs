//! What the chat refuses, and how it says so.

use crate::AppError;
use crate::features::pace::PER_MINUTE;

pub(super) fn invalid(field: &str, message: impl Into<String>) -> AppError {
    AppError::bad_request("invalid_value", message).with("field", field)
}

/// Also for conversations of others: whoever is not in one does not learn that it exists.
pub(super) fn no_conversation() -> AppError {
    AppError::not_found("conversation_not_found", "Conversation non trouvée")
}

pub(super) fn no_message() -> AppError {
    AppError::not_found("message_not_found", "Message non trouvé")
}

pub(super) fn no_invitation() -> AppError {
    AppError::not_found("invitation_not_found", "Invitation non trouvée")
}

pub(super) fn no_person() -> AppError {
    AppError::not_found("user_not_found", "Utilisateur non trouvé")
}

pub(super) fn not_allowed(message: &str) -> AppError {
    AppError::forbidden("forbidden", message)
}

pub(super) fn conflict(code: &'static str, message: &str) -> AppError {
    AppError::conflict(code, message)
}

pub(super) fn too_many_notices(wait_s: u64) -> AppError {
    let message =
        format!("Trop de notifications : {PER_MINUTE} par minute au plus. Réessayez dans {wait_s} s.");
    AppError::too_many_requests("too_many_notifications", message).retry_after(wait_s)
}

/// Text that people wrote: trimmed, not empty unless it may be, not longer than `max` bytes, and without control
/// characters other than line breaks and tabs.
pub(super) fn checked_text(
    field: &str,
    text: &str,
    max: usize,
    may_be_empty: bool,
) -> Result<String, AppError> {
    let text = text.trim();
    if text.is_empty() && !may_be_empty {
        return Err(invalid(field, format!("« {field} » est vide")));
    }
    if text.len() > max {
        let message = format!("« {field} » est trop long : {} octets, au plus {max}", text.len());
        return Err(invalid(field, message));
    }
    match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        Some(c) => Err(invalid(
            field,
            format!("« {field} » contient le caractère de contrôle U+{:04X}", u32::from(c)),
        )),
        None => Ok(text.to_owned()),
    }
}
