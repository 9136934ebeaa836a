//! `relais config`: the configuration that results from all sources.

use super::{CliError, Globals, out};

/// Arguments of `relais config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {}

/// Prints the configuration, as TOML or with `--json` as JSON, with secrets hidden.
pub async fn run(_args: ConfigArgs, globals: &Globals) -> Result<(), CliError> {
    let shown = without_nulls(globals.load_config()?.without_secrets());
    if globals.json {
        return out::json(&shown);
    }
    out::line(&toml::to_string_pretty(&shown).map_err(|e| CliError::new(e.to_string()))?)
}

/// TOML has no null: a setting without a value is left out.
fn without_nulls(node: serde_json::Value) -> serde_json::Value {
    match node {
        serde_json::Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        other => other,
    }
}
