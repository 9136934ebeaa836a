//! What is refused about modules, and how it is said.

use crate::AppError;

/// The longest name of a module, in bytes.
const NAME_BYTES_MAX: usize = 200;

pub(super) fn invalid(field: &str, message: impl Into<String>) -> AppError {
    AppError::bad_request("invalid_value", message).with("field", field)
}

/// Also for modules of others: whoever does not own one does not learn that it exists.
pub(super) fn no_module() -> AppError {
    AppError::not_found("module_not_found", "Module non trouvé")
}

pub(super) fn module_exists(id: &str) -> AppError {
    AppError::conflict("module_exists", format!("Le module {id} existe déjà"))
}

pub(super) fn claim_refused() -> AppError {
    let message = "Code inconnu ou déjà utilisé : demandez-en un nouveau à un administrateur";
    AppError::not_found("claim_code_unknown", message)
}

/// What somebody calls a module.
pub(super) fn checked_name(text: &str) -> Result<String, AppError> {
    let name = text.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let message = format!("« name » : de 1 à {NAME_BYTES_MAX} octets, sans caractère de contrôle");
        return Err(invalid("name", message));
    }
    Ok(name.to_owned())
}
