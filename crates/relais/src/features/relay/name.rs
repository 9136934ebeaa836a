//! Names of sociétés and files: what may become a path, and nothing else.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::said::{Said, said};

/// The longest name of a société, in bytes of UTF-8.
pub const SOCIETE_BYTES_MAX: usize = 100;
/// The longest name of a file, in bytes of UTF-8; every file system takes 255.
pub const FILE_BYTES_MAX: usize = 200;

/// Names that Windows keeps for devices, whatever ending follows.
const DEVICES: &[&str] = &["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"];

/// Bytes of a device's name at most, with room for the superscript digits of ports.
const DEVICE_BYTES_MAX: usize = 8;

/// The name of a société: also the name of its folder. In Unicode NFC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocieteName(String);

/// The name of a file within its société. In Unicode NFC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(String);

/// Why a text cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// Empty.
    Empty,
    /// Longer than any file system takes.
    TooLong(usize),
    /// A character that separates paths, hides, or turns the reading direction.
    Character(char),
    /// Hidden, or not representable everywhere.
    Edge,
    /// A device on Windows.
    Reserved(String),
}

impl NameFault {
    /// The message for clients.
    #[must_use]
    pub fn said(&self) -> Said {
        match self {
            Self::Empty => said!("il est vide", "it is empty"),
            Self::TooLong(max) => said!("il dépasse {max} octets", "it has more than {max} bytes"),
            Self::Character(character) if character.is_ascii_graphic() => said!(
                "le caractère « {character} » n'est pas permis",
                "the character \"{character}\" is not allowed"
            ),
            // Escaped, so that it is readable even if it is invisible.
            Self::Character(character) => said!(
                "le caractère U+{:04X} n'est pas permis",
                "the character U+{:04X} is not allowed",
                u32::from(*character)
            ),
            Self::Edge => said!(
                "il ne peut ni commencer par un point ou une espace, ni finir ainsi",
                "it can neither begin nor end with a dot or a space"
            ),
            Self::Reserved(name) => {
                said!("{name} est un nom réservé par Windows", "{name} is a name reserved by Windows")
            }
        }
    }
}

/// For the log.
impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.said().english())
    }
}

impl std::error::Error for NameFault {}

impl SocieteName {
    /// Checks a name and brings it to NFC.
    ///
    /// # Errors
    /// [`NameFault`] if the name cannot be a folder.
    pub fn new(text: &str) -> Result<Self, NameFault> {
        let name = checked(text, SOCIETE_BYTES_MAX)?;
        // The name is part of a topic's, where a space is the only white space.
        match name.chars().find(|c| c.is_whitespace() && *c != ' ') {
            Some(character) => Err(NameFault::Character(character)),
            None => Ok(Self(name)),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FileName {
    /// Checks a name and brings it to NFC.
    ///
    /// # Errors
    /// [`NameFault`] if the name cannot be a file.
    pub fn new(text: &str) -> Result<Self, NameFault> {
        checked(text, FILE_BYTES_MAX).map(Self)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name ends with one of `extensions`, in either case, and has something before it.
    #[must_use]
    pub fn has_extension(&self, extensions: &[String]) -> bool {
        let lower = self.0.to_lowercase();
        extensions.iter().any(|ending| lower.len() > ending.len() && lower.ends_with(ending.as_str()))
    }

    /// What the file holds: the text before the first `_` of the stem, `unknown` without one.
    #[must_use]
    pub fn type_data(&self) -> &str {
        self.stem().split_once('_').map_or("unknown", |(first, _)| first)
    }

    /// The text after the last `_` of the stem, `unknown` without one. Clients call it the year, although
    /// it is the month in `comptes_mensuel_2023_01.json`.
    #[must_use]
    pub fn annee(&self) -> &str {
        self.stem().rsplit_once('_').map_or("unknown", |(_, last)| last)
    }

    fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(stem, _)| stem)
    }
}

impl fmt::Display for SocieteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn checked(text: &str, bytes_max: usize) -> Result<String, NameFault> {
    let name: String = if text.is_ascii() { text.to_owned() } else { text.nfc().collect() };
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    if name.len() > bytes_max {
        return Err(NameFault::TooLong(bytes_max));
    }
    if let Some(character) = name.chars().find(|c| is_forbidden(*c)) {
        return Err(NameFault::Character(character));
    }
    let edge = |c: char| c == '.' || c.is_whitespace();
    if name.starts_with(edge) || name.ends_with(edge) {
        return Err(NameFault::Edge);
    }
    let base = name.split('.').next().unwrap_or_default().trim_end();
    if base.len() <= DEVICE_BYTES_MAX {
        let base = base.to_uppercase();
        if DEVICES.contains(&base.as_str()) || is_port(&base) {
            return Err(NameFault::Reserved(base));
        }
    }
    Ok(name)
}

/// `COM1`, `LPT9` and the like, with the superscript digits that Windows also takes.
fn is_port(base: &str) -> bool {
    let number = base.strip_prefix("COM").or_else(|| base.strip_prefix("LPT"));
    number.is_some_and(|rest| {
        let mut digits = rest.chars();
        digits.next().is_some_and(|c| c.is_ascii_digit() || matches!(c, '¹' | '²' | '³'))
            && digits.next().is_none()
    })
}

fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*')
        || is_invisible(character)
}

/// Characters that show nothing or change the reading direction (Unicode `Cf`, line separators, variation
/// selectors, tags), so that two names that look alike are alike.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFF}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_are_kept() {
        for name in ["comptes_global_annee_2023.json", "rsp-bgs", "Société Générale (2)", "été.json"] {
            assert_eq!(FileName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_decomposed_name_is_the_composed_one() {
        assert_eq!(FileName::new("e\u{301}te\u{301}.json").unwrap().as_str(), "été.json");
    }

    #[test]
    fn names_that_leave_the_folder_or_deceive_are_refused() {
        let refused = [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "a/b.json",
            "a\\b.json",
            "C:x.json",
            "a\u{0}.json",
            "a\u{202E}gpj.json",
            "a\u{200B}.json",
            ".hidden.json",
            "x.json.",
            "x.json ",
            " x.json",
            "CON.json",
            "con",
            "Aux.tar.json",
            "COM1.json",
            "lpt9",
            "com².json",
            "NUL .json",
            "a\nb.json",
        ];
        for name in refused {
            assert!(FileName::new(name).is_err(), "{name:?}");
        }
        assert!(FileName::new(&"x".repeat(FILE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn the_only_white_space_in_the_name_of_a_societe_is_a_space() {
        assert!(SocieteName::new("Dupont SA").is_ok());
        for space in ['\u{a0}', '\u{202f}', '\u{3000}'] {
            let fault = SocieteName::new(&format!("Dupont{space}SA")).unwrap_err();
            assert_eq!(fault, NameFault::Character(space));
            assert!(
                FileName::new(&format!("comptes{space}2023.json")).is_ok(),
                "no topic is named after a file"
            );
        }
    }

    proptest! {
        #[test]
        fn every_societe_has_a_topic(text in "\\PC{0,40}") {
            if let Ok(name) = SocieteName::new(&text) {
                let topic = relais_protocol::event::Topic::new(&format!("societe:{name}"));
                prop_assert!(topic.is_ok());
            }
        }
    }

    #[test]
    fn the_ending_is_compared_in_either_case() {
        let json = [".json".to_owned()];
        assert!(FileName::new("A.JSON").unwrap().has_extension(&json));
        assert!(!FileName::new("A.json.txt").unwrap().has_extension(&json));
    }

    #[test]
    fn type_and_year_come_from_the_name() {
        let parts = |name: &str| {
            let name = FileName::new(name).unwrap();
            (name.type_data().to_owned(), name.annee().to_owned())
        };
        assert_eq!(parts("comptes_mensuel_2023_01.json"), ("comptes".into(), "01".into()));
        assert_eq!(parts("comptes_2023.json"), ("comptes".into(), "2023".into()));
        assert_eq!(parts("comptes.json"), ("unknown".into(), "unknown".into()));
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_plain_path_component(text in "\\PC{0,40}") {
            if let Ok(name) = FileName::new(&text) {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                let whole = path.file_name().and_then(|n| n.to_str());
                prop_assert_eq!(whole, Some(name.as_str()));
                prop_assert_eq!(FileName::new(name.as_str()).unwrap(), name);
            }
        }
    }
}
