//! The text of an API key: `rk_<id>_<secret>`.

use super::AuthError;
use super::secret::random_hex;

/// The prefix of every key, which distinguishes it from a token and is found by secret scanners.
pub(crate) const PREFIX: &str = "rk_";

/// The longest key that is accepted, in bytes.
const BYTES_MAX: usize = 128;

/// A new key, shown once; only its digest is stored.
pub(crate) struct NewKey {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl NewKey {
    /// 64 random bits to find it by and 256 to prove it.
    pub(crate) fn generate() -> Result<Self, AuthError> {
        Ok(Self { id: random_hex::<8>()?, secret: random_hex::<32>()? })
    }

    /// The text given to the owner.
    pub(crate) fn text(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

/// The id and the secret in a key.
pub(crate) fn parse(text: &str) -> Option<(&str, &str)> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain(id) && plain(secret)).then_some((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_written_and_others_are_not_keys() {
        let key = NewKey::generate().unwrap();
        assert_eq!(parse(&key.text()), Some((&*key.id, &*key.secret)));
        for text in
            ["", "rk_", "rk_a", "rk_a_", "rk__b", "rk_a_b c", "xx_a_b", &format!("rk_a_{}", "b".repeat(200))]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
