//! The environment: which variables are settings, and what to make of those that only look like it.

use serde_json::Value;

use super::Config;
use super::near::nearest;

/// Names that other systems and the documentation use, beside `RELAIS_<SECTION>_<FIELD>`.
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

/// Variables of that shape that mean something else; RELAIS_URL is for applications that publish.
/// What `listen --exec` tells its command is there too, for the commands that it runs.
pub(super) const OTHER_USES: &[&str] = &[
    "RELAIS_CONFIG",
    "RELAIS_URL",
    "RELAIS_TEST_",
    "RELAIS_BENCH_",
    "RELAIS_EVENT",
    "RELAIS_SOCIETE",
    "RELAIS_FILENAME",
];

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

/// The variables that look like settings and are none, each with a word about it. One that is nearly a setting's name is
/// an error instead: see [`super::read`].
pub fn unknown_variables(env: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let names = env.into_iter().map(|(name, _)| name).filter(|name| is_unknown(&defaults, name));
    let strange = names.filter(|name| meant_variable(name).is_none());
    strange
        .map(|name| format!("{name} is no setting and is ignored; `relais config` lists the settings"))
        .collect()
}

fn is_unknown(defaults: &Value, name: &str) -> bool {
    let other = OTHER_USES.iter().any(|other| name.starts_with(other));
    let fixed = FIXED_NAMES.iter().any(|(fixed, _)| *fixed == name);
    let rest = name.strip_prefix("RELAIS_");
    !other && !fixed && rest.is_some_and(|rest| resolve(defaults, &rest.to_ascii_lowercase()).is_none())
}

/// The variable that this one was probably meant to be: a slip of the finger, or a field without its section.
pub(super) fn meant_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("RELAIS_")?;
    let paths: Vec<String> =
        settings().iter().map(|path| path.replace('.', "_").to_ascii_uppercase()).collect();
    let fixed = FIXED_NAMES.iter().filter_map(|(fixed, _)| fixed.strip_prefix("RELAIS_"));
    let known = || paths.iter().map(String::as_str).chain(fixed.clone());
    let without_section = || {
        let long_enough = rest.contains('_');
        known().find(|path| long_enough && path.split_once('_').is_some_and(|(_, field)| field == rest))
    };
    nearest(rest, known()).or_else(without_section).map(|meant| format!("RELAIS_{meant}"))
}

/// Finds the setting that `SECTION_FIELD` names; fields have underscores too, so the known names decide.
pub(super) fn resolve(node: &Value, rest: &str) -> Option<Vec<String>> {
    let fields = node.as_object()?;
    if fields.contains_key(rest) {
        return Some(vec![rest.to_owned()]);
    }
    fields.iter().find_map(|(key, child)| {
        let inner = rest.strip_prefix(key.as_str())?.strip_prefix('_')?;
        let mut path = resolve(child, inner)?;
        path.insert(0, key.clone());
        Some(path)
    })
}
