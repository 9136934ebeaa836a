//! What may be a module: the look of its id, and its type.

use regex::Regex;

use super::refusal::invalid;
use super::topics::{MODULE, module_topic};
use crate::AppError;
use crate::config::{LiveConfig, ModuleType};
use crate::said::said;

/// The longest id, in bytes.
const ID_BYTES_MAX: usize = 64;

/// What the settings say about ids and types.
pub(super) struct Catalogue {
    pattern: Regex,
    types: Vec<ModuleType>,
}

impl Catalogue {
    /// The settings were checked at the start; a pattern that is none matches nothing.
    pub(super) fn new(config: &LiveConfig) -> Self {
        let whole = format!("^(?:{})$", config.id_pattern);
        let nothing = || Regex::new("[^\\s\\S]").expect("this pattern is one");
        Self { pattern: Regex::new(&whole).unwrap_or_else(|_| nothing()), types: config.types.clone() }
    }

    /// An id as it is stored.
    pub(super) fn checked_id(&self, text: &str) -> Result<String, AppError> {
        let id = text.trim();
        // Each module has topics of its own, and others are named after users, with a colon.
        let is_topic = !id.contains(':') && module_topic(MODULE, id).is_some();
        if id.len() <= ID_BYTES_MAX && self.pattern.is_match(id) && is_topic {
            return Ok(id.to_owned());
        }
        let pattern = &self.pattern;
        let message = said!(
            "{id:?} n'est pas un identifiant de module (attendu : {pattern})",
            "{id:?} is not the id of a module (expected: {pattern})"
        );
        Err(invalid("moduleId", message))
    }

    /// The type of the module with this id: what is said, which has to be known, else what the end of the id says.
    pub(super) fn type_of(&self, id: &str, said: Option<&str>) -> Result<String, AppError> {
        let said = said.map(str::trim).filter(|said| !said.is_empty());
        let code = id.rsplit_once('-').map_or("", |(_, code)| code);
        let found = self.types.iter().find(|known| match said {
            Some(said) => known.name.eq_ignore_ascii_case(said) || known.code.eq_ignore_ascii_case(said),
            None => !known.code.is_empty() && known.code == code,
        });
        match (found, said) {
            (Some(known), _) => Ok(known.name.clone()),
            (None, Some(said)) if self.types.is_empty() => Ok(said.to_owned()),
            (None, said) => {
                let known: Vec<&str> = self.types.iter().map(|known| known.name.as_str()).collect();
                let (said, known) = (said.unwrap_or_default(), known.join(", "));
                let message = said!(
                    "Type {said:?} inconnu ; connus : {known}",
                    "Unknown type {said:?}; known: {known}"
                );
                Err(invalid("type", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_catalogue_reads_the_type_from_the_id() {
        let catalogue = Catalogue::new(&LiveConfig::default());
        assert_eq!(catalogue.checked_id(" MC-1001-STN ").unwrap(), "MC-1001-STN");
        assert_eq!(catalogue.type_of("MC-1001-STN", None).unwrap(), "Station");
        assert_eq!(catalogue.type_of("MC-1001-STN", Some("light fx")).unwrap(), "Light FX");
        assert_eq!(catalogue.type_of("porte", Some("LT")).unwrap(), "Launch Track");
        assert!(catalogue.type_of("porte", None).is_err());
        assert!(catalogue.type_of("porte", Some("Camera")).is_err());
        for wrong in ["", "a b", "../a", "-a", "é", &"x".repeat(65)] {
            assert!(catalogue.checked_id(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_catalogue_of_ones_own_replaces_it() {
        let config = LiveConfig { id_pattern: r"P\d{3}".into(), types: Vec::new(), ..LiveConfig::default() };
        let catalogue = Catalogue::new(&config);
        assert!(catalogue.checked_id("P123").is_ok() && catalogue.checked_id("xP1234").is_err());
        assert_eq!(catalogue.type_of("P123", Some("Pompe")).unwrap(), "Pompe");
    }
}
