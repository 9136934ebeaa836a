//! JSON Schemas for some sociétés and files.

use std::path::Path;

use globset::{Glob, GlobMatcher};
use jsonschema::Validator;
use serde_json::Value;

use super::name::{FileName, SocieteName};
use crate::config::SchemaRule;
use crate::error::beginning_of;
use crate::text::composed;

/// Maximum number of deviations reported for one file.
const VIOLATIONS_MAX: usize = 20;

/// Where a content deviates from its schema.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The place in the content: a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

/// A schema that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenSchema {
    /// Its file.
    pub file: String,
    /// What is wrong with it.
    pub fault: String,
}

/// The schemas of the configuration, compiled.
pub struct Schemas(Vec<Rule>);

struct Rule {
    societe: GlobMatcher,
    files: GlobMatcher,
    schema: Validator,
}

impl Schemas {
    /// Reads and compiles them. One that cannot be used is left out: it is returned with its fault, and the files it
    /// applies to are not checked against it.
    #[must_use]
    pub fn load(rules: &[SchemaRule]) -> (Self, Vec<BrokenSchema>) {
        let (mut usable, mut broken) = (Vec::new(), Vec::new());
        for rule in rules {
            match Rule::load(rule) {
                Ok(rule) => usable.push(rule),
                Err(fault) => {
                    broken.push(BrokenSchema { file: rule.schema.display().to_string(), fault });
                }
            }
        }
        (Self(usable), broken)
    }

    /// Whether any schema applies to this file.
    #[must_use]
    pub fn concern(&self, societe: &SocieteName, filename: &FileName) -> bool {
        self.0.iter().any(|rule| rule.concerns(societe, filename))
    }

    /// Checks a content, known to be JSON, against every schema that applies to its file.
    ///
    /// # Errors
    /// The deviations, at most 20.
    pub fn check(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        content: &[u8],
    ) -> Result<(), Vec<Violation>> {
        if !self.concern(societe, filename) {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(content)
            .map_err(|e| vec![Violation { pointer: String::new(), message: e.to_string() }])?;
        let rules = self.0.iter().filter(|rule| rule.concerns(societe, filename));
        let found: Vec<Violation> = rules
            .flat_map(|rule| rule.schema.iter_errors(&value))
            .take(VIOLATIONS_MAX)
            .map(|e| Violation { pointer: e.instance_path().to_string(), message: beginning_of(&e) })
            .collect();
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}

impl Rule {
    fn load(rule: &SchemaRule) -> Result<Self, String> {
        Ok(Self { societe: glob(&rule.societe)?, files: glob(&rule.files)?, schema: compile(&rule.schema)? })
    }

    fn concerns(&self, societe: &SocieteName, filename: &FileName) -> bool {
        self.societe.is_match(societe.as_str()) && self.files.is_match(filename.as_str())
    }
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    // Names are composed; a pattern in the configuration may not be.
    Glob::new(&composed(text)).map(|glob| glob.compile_matcher()).map_err(|e| e.to_string())
}

fn compile(file: &Path) -> Result<Validator, String> {
    let text = std::fs::read(file).map_err(|e| e.to_string())?;
    let schema: Value = serde_json::from_slice(&text).map_err(|e| format!("not JSON: {e}"))?;
    jsonschema::validator_for(&schema).map_err(|e| format!("not a JSON Schema: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_holds_for_the_files_it_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"type":"object","required":["annee"]}"#).unwrap();
        let rule = SchemaRule {
            societe: "rsp-*".into(),
            files: "comptes_mensuel_*.json".into(),
            schema: file.path().into(),
        };
        let decomposed =
            SchemaRule { societe: "e\u{301}te\u{301}".into(), files: "anne\u{301}e*".into(), ..rule.clone() };
        let missing = SchemaRule { schema: "/nowhere/schema.json".into(), ..rule.clone() };
        let (schemas, broken) = Schemas::load(&[missing, rule, decomposed]);
        assert_eq!(broken.iter().map(|b| b.file.as_str()).collect::<Vec<_>>(), ["/nowhere/schema.json"]);
        let check = |societe: &str, filename: &str, content: &str| {
            let (societe, filename) = (SocieteName::new(societe).unwrap(), FileName::new(filename).unwrap());
            schemas.check(&societe, &filename, content.as_bytes())
        };
        assert_eq!(check("rsp-bgs", "comptes_mensuel_2023.json", r#"{"annee":2023}"#), Ok(()));
        assert_eq!(check("autre", "comptes_mensuel_2023.json", "{}"), Ok(()));
        assert!(check("été", "année.json", "{}").is_err(), "in whatever form the rule was typed");
        let violations = check("rsp-bgs", "comptes_mensuel_2023.json", "{}").unwrap_err();
        assert!(violations[0].message.contains("annee"), "{violations:?}");
    }
}
