//! What is refused about modules, and how it is said.

use super::command::Command;
use crate::AppError;
use crate::said::{Said, said};
use crate::text::{direction_control, direction_refused, is_visible};
use crate::token_bucket::PER_MINUTE;

/// The longest name of a module, in bytes.
const NAME_BYTES_MAX: usize = 200;

pub(super) fn invalid(field: &str, message: Said) -> AppError {
    AppError::bad_request("invalid_value", message).with("field", field)
}

/// Also for modules of others: whoever does not own one does not learn that it exists.
pub(super) fn no_module() -> AppError {
    AppError::not_found("module_not_found", said!("Module non trouvé", "Module not found"))
}

pub(super) fn module_exists(id: &str) -> AppError {
    AppError::conflict("module_exists", said!("Le module {id} existe déjà", "The module {id} already exists"))
}

pub(super) fn claim_refused() -> AppError {
    let message = said!(
        "Code inconnu ou déjà utilisé : demandez-en un nouveau à un administrateur",
        "Code unknown or already used: ask an administrator for a new one"
    );
    AppError::not_found("claim_code_unknown", message)
}

/// What somebody calls a module.
pub(super) fn checked_name(text: &str) -> Result<String, AppError> {
    let name = text.trim();
    if let Some(c) = direction_control(name) {
        return Err(invalid("name", direction_refused("name", c)));
    }
    if !is_visible(name) || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let message = said!(
            "« name » : de 1 à {NAME_BYTES_MAX} octets, sans caractère de contrôle",
            "\"name\": 1 to {NAME_BYTES_MAX} bytes, without control characters"
        );
        return Err(invalid("name", message));
    }
    Ok(name.to_owned())
}

pub(super) fn module_away() -> AppError {
    let message = said!(
        "Ce module est hors ligne : rien ne lui a été envoyé. Avec « ttl_s », la commande attend son retour",
        "This module is offline: nothing was sent to it. With \"ttl_s\", the command waits for its return"
    );
    AppError::conflict("module_offline", message)
}

pub(super) fn no_command() -> AppError {
    AppError::not_found("command_not_found", said!("Commande non trouvée", "Command not found"))
}

pub(super) fn too_many_open(max: u64) -> AppError {
    let message = said!(
        "Déjà {max} commandes en attente pour ce module : attendez qu'elles aboutissent, ou annulez-en",
        "Already {max} commands are waiting for this module: wait until they are done, or cancel some"
    );
    AppError::conflict("too_many_commands", message)
}

pub(super) fn too_many_open_anywhere(max: usize) -> AppError {
    let message = said!(
        "Déjà {max} commandes en attente sur ce serveur : réessayez plus tard",
        "Already {max} commands are waiting on this server: try again later"
    );
    AppError::too_many_requests("too_many_commands", message).retry_after(60)
}

pub(super) fn commands_too_fast(wait_s: u64) -> AppError {
    let message = said!(
        "Trop de commandes : {PER_MINUTE} par minute au plus. Réessayez dans {wait_s} s.",
        "Too many commands: at most {PER_MINUTE} per minute. Try again in {wait_s} s."
    );
    AppError::too_many_requests("too_many_commands", message).retry_after(wait_s)
}

pub(super) fn command_key_in_use() -> AppError {
    let message = said!(
        "Ce client_id a déjà servi pour une autre commande : une nouvelle commande en prend un nouveau",
        "This client_id was already used for another command: a new command needs a new one"
    );
    AppError::conflict("idempotency_key_in_use", message)
}

pub(super) fn command_finished(command: &Command) -> AppError {
    let message = if command.is_finished() {
        said!("Cette commande est terminée", "This command is finished")
    } else {
        said!(
            "Cette commande est déjà partie : elle ne peut plus être annulée",
            "This command was already sent: it cannot be cancelled any more"
        )
    };
    AppError::conflict("command_not_cancellable", message).with("state", command.state.name())
}

/// What a caller calls something, or a device is to do.
pub(super) fn checked_word(field: &str, text: &str, max: usize) -> Result<(), AppError> {
    if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
        let message = said!(
            "« {field} » : de 1 à {max} octets, sans caractère de contrôle",
            "\"{field}\": 1 to {max} bytes, without control characters"
        );
        return Err(invalid(field, message));
    }
    Ok(())
}

pub(super) fn claims_too_fast(seconds: u64) -> AppError {
    let message = said!(
        "Au plus {PER_MINUTE} codes par minute. Réessayez dans {seconds} s.",
        "At most {PER_MINUTE} codes per minute. Try again in {seconds} s."
    );
    AppError::too_many_requests("too_many_attempts", message).retry_after(seconds)
}
