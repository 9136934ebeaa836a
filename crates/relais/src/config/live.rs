//! Settings of modules: the machines in the field.

use serde::{Deserialize, Serialize};

/// Modules, and what may be one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveConfig {
    /// What the whole id of a module looks like, as a regular expression.
    pub id_pattern: String,
    /// The types that there are; empty is any.
    pub types: Vec<ModuleType>,
}

/// A type of module.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleType {
    /// Its name, as people see it.
    pub name: String,
    /// What ids of this type end with after a hyphen; empty if that says nothing.
    #[serde(default)]
    pub code: String,
}

impl Default for LiveConfig {
    fn default() -> Self {
        let usual = [
            ("Station", "STN"),
            ("Light FX", "LFX"),
            ("Audio Player", "AP"),
            ("Smoke Machine", "SM"),
            ("Switch Track", "ST"),
            ("Launch Track", "LT"),
        ];
        let types = usual.map(|(name, code)| ModuleType { name: name.into(), code: code.into() });
        Self { id_pattern: "[A-Za-z0-9][A-Za-z0-9._-]{0,62}[A-Za-z0-9]".into(), types: types.into() }
    }
}

impl LiveConfig {
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Err(error) = regex::Regex::new(&self.id_pattern) {
            found.push(format!("live.id_pattern: not a regular expression: {error}"));
        }
        if self.types.iter().any(|known| known.name.trim().is_empty()) {
            found.push("live.types: a type has a name".into());
        }
        found
    }
}
