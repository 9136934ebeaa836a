//! Environment variables: which are settings, and how to treat those that only look like one.

use serde_json::Value;

use super::Config;
use super::near::nearest;

/// Names used by other systems and the documentation, in addition to `RELAIS_<SECTION>_<FIELD>`.
pub(super) const FIXED_NAMES: &[(&str, &str)] = &[
    ("RELAIS_LISTEN", "server.listen"),
    ("RELAIS_DATA", "server.data"),
    ("RELAIS_DATABASE_URL", "database.url"),
    ("RELAIS_JWT_SECRET", "auth.jwt.secret"),
    ("RELAIS_ADMIN_EMAIL", "auth.admin_email"),
    ("RELAIS_ADMIN_PASSWORD", "auth.admin_password"),
    ("RELAIS_SERVER", "client.server"),
    ("RELAIS_KEY", "client.key"),
    ("BASE_FILES_DIR", "relay.files_dir"),
    ("RELAIS_TRUSTED_PROXIES", "server.trusted_proxies"),
    ("ALLOWED_ORIGINS", "server.allowed_origins"),
    ("REALTIME_MAX_RECONNECT_ATTEMPTS", "live.reconnect.max_attempts"),
    ("REALTIME_RECONNECT_DELAY", "live.reconnect.delay_ms"),
    ("REALTIME_ENABLE_STATS", "live.stats"),
];

/// The variable with the path of the settings file.
pub(super) const FILE: &str = "RELAIS_CONFIG";

/// Variables of that form with another meaning. RELAIS_URL is for applications that publish; those that `listen --exec`
/// sets for its command are inherited by the commands that it runs.
const OTHER_USES: &[&str] = &[FILE, "RELAIS_URL", "RELAIS_EVENT", "RELAIS_SOCIETE", "RELAIS_FILENAME"];

/// Prefixes of variables for tests and measurements.
const OTHER_FAMILIES: &[&str] = &["RELAIS_TEST_", "RELAIS_BENCH_"];

/// Whether a variable of that form has another meaning than a setting.
pub(super) fn has_other_use(name: &str) -> bool {
    OTHER_USES.contains(&name) || OTHER_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Every setting, as `section.field`.
pub(super) fn settings() -> Vec<String> {
    fn walk(node: &Value, path: &str, found: &mut Vec<String>) {
        match node {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, child) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(child, &path, found);
                }
            }
            _ => found.push(path.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::to_value(Config::default()).unwrap_or_default(), "", &mut found);
    found
}

/// The variables that look like settings but are not, each with an explanation. One that nearly matches a setting's
/// name is an error instead: see [`super::read`].
pub fn unknown_variables(env: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let names = env.into_iter().map(|(name, _)| name).filter(|name| is_unknown(&defaults, name));
    let strange = names.filter(|name| meant_variable(name).is_none());
    strange.map(|name| format!("{name} is no setting and is ignored; {}", known_beside(&name))).collect()
}

/// Where to find the settings that may have been meant: a name may be that of a whole section.
fn known_beside(name: &str) -> String {
    let section = name.strip_prefix("RELAIS_").unwrap_or_default().to_ascii_lowercase();
    let all = settings();
    let within = all.iter().filter(|path| path.split_once('.').is_some_and(|(own, _)| own == section));
    let within: Vec<String> = within.map(|path| variable_of(path)).collect();
    if within.is_empty() {
        return "`relais config` lists the settings".to_owned();
    }
    format!("[{section}] is a section of settings: {}", within.join(", "))
}

/// The variable for a setting.
fn variable_of(path: &str) -> String {
    format!("RELAIS_{}", path.replace('.', "_").to_ascii_uppercase())
}

fn is_unknown(defaults: &Value, name: &str) -> bool {
    let other = has_other_use(name);
    let fixed = FIXED_NAMES.iter().any(|(fixed, _)| *fixed == name);
    let rest = name.strip_prefix("RELAIS_");
    !other && !fixed && rest.is_some_and(|rest| resolve(defaults, &rest.to_ascii_lowercase()).is_none())
}

/// The variable that was probably meant: a typing error, or a field without its section.
pub(super) fn meant_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("RELAIS_")?;
    let paths: Vec<String> =
        settings().iter().map(|path| path.replace('.', "_").to_ascii_uppercase()).collect();
    let fixed = FIXED_NAMES.iter().map(|(fixed, _)| *fixed).chain([FILE]);
    let fixed = fixed.filter_map(|fixed| fixed.strip_prefix("RELAIS_"));
    let known = || paths.iter().map(String::as_str).chain(fixed.clone());
    let without_section = || {
        let long_enough = rest.contains('_');
        known().find(|path| long_enough && path.split_once('_').is_some_and(|(_, field)| field == rest))
    };
    nearest(rest, known()).or_else(without_section).map(|meant| format!("RELAIS_{meant}"))
}

/// Finds the setting that `SECTION_FIELD` names; fields contain underscores too, so it is matched against the known
/// names. A section alone is not a setting.
pub(super) fn resolve(node: &Value, rest: &str) -> Option<Vec<String>> {
    let fields = node.as_object()?;
    if let Some(found) = fields.get(rest) {
        let is_section = found.as_object().is_some_and(|fields| !fields.is_empty());
        return (!is_section).then(|| vec![rest.to_owned()]);
    }
    fields.iter().find_map(|(key, child)| {
        let inner = rest.strip_prefix(key.as_str())?.strip_prefix('_')?;
        let mut path = resolve(child, inner)?;
        path.insert(0, key.clone());
        Some(path)
    })
}
