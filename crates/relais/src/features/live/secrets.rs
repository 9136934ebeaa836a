//! What devices and owners show: credentials and claim codes.

use super::refusal::invalid;
use crate::AppError;
use crate::auth::secret;
use crate::said::said;

/// Letters and digits that nobody takes for another.
const CLAIM_LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Characters in each half of a claim code.
const CLAIM_HALF: usize = 4;

/// The shortest password of a device, in characters: what is in the field counts, and an empty line is a slip.
const PASSWORD_CHARS_MIN: usize = 4;
/// The longest password of a device, in bytes.
const PASSWORD_BYTES_MAX: usize = 256;

/// A secret that is told once, and what is stored in its place.
pub(super) struct Secret {
    pub(super) text: String,
    pub(super) hash: String,
}

impl Secret {
    /// The credential of a device: the one that is in its firmware, or a new one.
    pub(super) fn credential_or(given: Option<String>) -> Result<Self, AppError> {
        let Some(text) = given else { return Self::credential() };
        let is_long_enough = text.chars().count() >= PASSWORD_CHARS_MIN;
        if !is_long_enough || text.len() > PASSWORD_BYTES_MAX || text.chars().any(char::is_control) {
            let message = said!(
                "« password » : au moins {PASSWORD_CHARS_MIN} caractères et au plus {PASSWORD_BYTES_MAX} octets, sans \
                 caractère de contrôle ; sans « password », un mot de passe sûr est généré",
                "\"password\": at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes, without \
                 control characters; without \"password\", a safe password is generated"
            );
            return Err(invalid("password", message));
        }
        Ok(Self { hash: secret::digest(&text), text })
    }

    /// A credential for a device: 256 random bits.
    fn credential() -> Result<Self, AppError> {
        let text = secret::random_hex::<32>().map_err(AppError::internal)?;
        Ok(Self { hash: secret::digest(&text), text })
    }

    /// A claim code, `XXXX-XXXX`: 40 random bits, which somebody types once.
    pub(super) fn claim_code() -> Result<Self, AppError> {
        let mut bytes = [0; 2 * CLAIM_HALF];
        getrandom::fill(&mut bytes).map_err(AppError::internal)?;
        let letters = bytes.map(|byte| char::from(CLAIM_LETTERS[usize::from(byte) % CLAIM_LETTERS.len()]));
        let (front, back) = letters.split_at(CLAIM_HALF);
        let text = format!("{}-{}", String::from_iter(front), String::from_iter(back));
        Ok(Self { hash: claim_hash(&text), text })
    }
}

/// What is stored of a claim code, however it was typed.
pub(super) fn claim_hash(typed: &str) -> String {
    let letters: String = typed.chars().filter(char::is_ascii_alphanumeric).collect();
    secret::digest(&letters.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_code_counts_however_it_is_typed() {
        let code = Secret::claim_code().unwrap();
        assert_eq!((code.text.len(), &code.text[4..5]), (9, "-"));
        let typed = format!(" {} ", code.text.to_lowercase().replace('-', " "));
        assert_eq!(claim_hash(&typed), code.hash);
        assert_ne!(code.text, Secret::claim_code().unwrap().text);
    }
}
