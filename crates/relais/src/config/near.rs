//! Suggests the known name that a misspelt one was probably meant to be.

/// The nearest of `known`, if at most one letter in four differs, and at most three.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (wrong.chars().count() / 4).clamp(1, 3);
    let measured = known.map(|name| (strsim::damerau_levenshtein(wrong, name), name));
    measured.filter(|(distance, _)| *distance <= most).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = || ["quota_bytes", "versions_kept", "key", "listen"].into_iter();
        assert_eq!(nearest("qouta_bytes", known()), Some("quota_bytes"));
        assert_eq!(nearest("versions_keep", known()), Some("versions_kept"));
        assert_eq!(nearest("keys", known()), Some("key"));
        assert_eq!(nearest("bin", known()), None);
        assert_eq!(nearest("nothing", known()), None);
    }
}
