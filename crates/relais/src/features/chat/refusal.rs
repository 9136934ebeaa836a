//! The errors of the chat.

use crate::AppError;
use crate::said::{Said, said};
use crate::text::{direction_control, direction_refused, is_visible};
use crate::token_bucket::PER_MINUTE;

pub(super) fn invalid(field: &str, message: Said) -> AppError {
    AppError::bad_request("invalid_value", message).with("field", field)
}

pub(super) fn required(field: &str) -> AppError {
    invalid(field, said!("« {field} » est requis", "\"{field}\" is required"))
}

/// Also for conversations of others: users who are not members do not learn that one exists.
pub(super) fn no_conversation() -> AppError {
    AppError::not_found("conversation_not_found", said!("Conversation non trouvée", "Conversation not found"))
}

pub(super) fn no_message() -> AppError {
    AppError::not_found("message_not_found", said!("Message non trouvé", "Message not found"))
}

pub(super) fn no_invitation() -> AppError {
    AppError::not_found("invitation_not_found", said!("Invitation non trouvée", "Invitation not found"))
}

pub(super) fn no_person() -> AppError {
    AppError::not_found("user_not_found", said!("Utilisateur non trouvé", "User not found"))
}

pub(super) fn not_allowed(message: Said) -> AppError {
    AppError::forbidden("forbidden", message)
}

pub(super) fn too_many_notices(wait_s: u64) -> AppError {
    let message = said!(
        "Trop de notifications : {PER_MINUTE} par minute au plus. Réessayez dans {wait_s} s.",
        "Too many notifications: at most {PER_MINUTE} per minute. Try again in {wait_s} s."
    );
    AppError::too_many_requests("too_many_notifications", message).retry_after(wait_s)
}

/// Also for blocked users, who do not learn that they are blocked.
pub(super) fn refuses() -> AppError {
    let message =
        said!("Cette personne n'accepte pas vos messages", "This person does not accept your messages");
    AppError::forbidden("recipient_refuses", message)
}

pub(super) fn paused(wait_s: u64) -> AppError {
    let message = said!(
        "Cette personne a refusé : attendez {} avant de la solliciter à nouveau",
        "This person has declined: wait {} before you ask them again";
        waiting(wait_s)
    );
    AppError::too_many_requests("paused_after_refusal", message).retry_after(wait_s)
}

/// A waiting time, in words.
fn waiting(wait_s: u64) -> Said {
    match wait_s {
        0..=119 => said!("{wait_s} s", "{wait_s} s"),
        120..=7_199 => said!("{} min", "{} min", wait_s.div_ceil(60)),
        7_200..=172_799 => said!("{} h", "{} h", wait_s.div_ceil(3_600)),
        _ => said!("{} jours", "{} days", wait_s.div_ceil(86_400)),
    }
}

/// A text written by a user, unchanged: with a visible character unless it may be empty, at most `max` bytes long, and
/// without control characters other than line breaks and tabs. Blank lines around it, white space at its end and a
/// single space before a single line are trimmed; indentation is kept.
pub(super) fn checked_words(
    field: &str,
    text: &str,
    max: usize,
    may_be_empty: bool,
) -> Result<String, AppError> {
    let text = trimmed(text);
    if text.len() > max {
        let bytes = text.len();
        let message = said!(
            "« {field} » est trop long : {bytes} octets, au plus {max}",
            "\"{field}\" is too long: {bytes} bytes, at most {max}"
        );
        return Err(invalid(field, message));
    }
    if let Some(c) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let message = said!(
            "« {field} » contient le caractère de contrôle U+{:04X}",
            "\"{field}\" contains the control character U+{:04X}",
            u32::from(c)
        );
        return Err(invalid(field, message));
    }
    match is_visible(text) {
        true => Ok(text.to_owned()),
        false if may_be_empty => Ok(String::new()),
        false => {
            let message = said!(
                "« {field} » est vide, ou n'a que des caractères invisibles",
                "\"{field}\" is empty, or has invisible characters only"
            );
            Err(invalid(field, message))
        }
    }
}

fn trimmed(text: &str) -> &str {
    let text = text.trim_end();
    let blank = text.len() - text.trim_start().len();
    let first_line = text[..blank].rfind(['\n', '\r']).map_or(0, |end| end + 1);
    let text = &text[first_line..];
    match text.strip_prefix(' ') {
        Some(rest) if !rest.starts_with([' ', '\t']) && !rest.contains('\n') => rest,
        _ => text,
    }
}

/// A short text: like [`checked_words`], trimmed.
pub(super) fn checked_text(
    field: &str,
    text: &str,
    max: usize,
    may_be_empty: bool,
) -> Result<String, AppError> {
    checked_words(field, text.trim(), max, may_be_empty)
}

/// A name, displayed within other texts: like [`checked_text`], and without direction controls.
pub(super) fn checked_name(field: &str, text: &str, max: usize) -> Result<String, AppError> {
    match direction_control(text) {
        Some(c) => Err(invalid(field, direction_refused(field, c))),
        None => checked_text(field, text, max, false),
    }
}

#[cfg(test)]
mod tests {
    use super::trimmed;

    #[test]
    fn what_is_around_a_text_is_taken_away_and_its_indentation_is_not() {
        for (text, kept) in [
            (" Salut Paul ", "Salut Paul"),
            ("    let x = 1;", "    let x = 1;"),
            ("\treturn", "\treturn"),
            ("\n\n  - un\n    - deux\n\n", "  - un\n    - deux"),
            (" un\n deux", " un\n deux"),
            ("\r\n a", "a"),
            (" \n ", ""),
            ("", ""),
        ] {
            assert_eq!(trimmed(text), kept, "{text:?}");
        }
    }
}
