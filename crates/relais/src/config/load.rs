//! Loading the configuration from its four sources and reporting all mistakes at once.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Config;
use super::masked::{HIDDEN, masked, masked_text};
use super::near::nearest;
use super::variables::{FILE, FIXED_NAMES, has_other_use, meant_variable, resolve, settings};

/// Settings from the command line; they override every other source.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config FILE`: the file to read instead of `relais.toml`.
    pub config: Option<PathBuf>,
    /// `--data DIR`.
    pub data: Option<PathBuf>,
    /// `--listen ADDR:PORT`.
    pub listen: Option<String>,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} error(s):\n{}", .0.len(), .0.iter().map(|e| format!("  - {e}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// The maximum number of mistakes reported for one file.
const FILE_ERRORS_MAX: usize = 20;

/// Loads the configuration: defaults, then the file, then `env`, then `flags`.
///
/// # Errors
/// [`ConfigError`] with every mistake found, each with its source and a remedy.
pub fn load(
    flags: &Overrides,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let config = read(flags, env)?;
    let mistakes = config.mistakes();
    if mistakes.is_empty() { Ok(config) } else { Err(ConfigError(mistakes)) }
}

/// Like [`load`], but without checking whether a server could run with it: for client commands.
///
/// # Errors
/// [`ConfigError`] if a source cannot be read or a value has the wrong type.
pub fn read(
    flags: &Overrides,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let env: Vec<(String, String)> = env.into_iter().collect();
    let mut errors = Vec::new();
    let defaults = serde_json::to_value(Config::default()).map_err(|e| ConfigError(vec![e.to_string()]))?;
    let mut tree = defaults.clone();
    if let Some(file) = config_file(flags, &env) {
        match read_file(&file) {
            Ok(found) => merge(&mut tree, found),
            Err(found) => errors.extend(found),
        }
    }
    for (name, value) in &env {
        // An invalid one is left out, so that mistakes in the others are found too.
        let checked = check_alone(&defaults, name, value);
        if let Err(error) = checked.and_then(|()| apply_variable(&mut tree, &defaults, name, value)) {
            errors.push(error);
        }
    }
    apply_flags(&mut tree, flags);
    match serde_json::from_value::<Config>(tree) {
        Ok(mut config) if errors.is_empty() => {
            // Extensions are compared in lower case.
            config.relay.extensions.iter_mut().for_each(|ending| *ending = ending.to_lowercase());
            Ok(config)
        }
        Ok(config) => {
            errors.extend(config.mistakes());
            Err(ConfigError(errors))
        }
        Err(error) => {
            if errors.is_empty() {
                errors.push(masked_text(&error.to_string()).into_owned());
            }
            Err(ConfigError(errors))
        }
    }
}

fn config_file(flags: &Overrides, env: &[(String, String)]) -> Option<PathBuf> {
    let named = || env.iter().find(|(name, _)| name == FILE).map(|(_, file)| PathBuf::from(file));
    flags.config.clone().or_else(named).or_else(|| {
        let usual = PathBuf::from("relais.toml");
        usual.exists().then_some(usual)
    })
}

/// Reads one file. An invalid line is reported and blanked and the rest is parsed again, so that all mistakes are
/// found.
fn read_file(file: &Path) -> Result<Value, Vec<String>> {
    let mut text = std::fs::read_to_string(file)
        .map_err(|e| vec![format!("{}: {e}; check the path and the permissions", file.display())])?;
    let whole: Value = match toml::from_str(&text) {
        Ok(tree) => tree,
        Err(error) => return Err(vec![describe(file, &text, &error)]),
    };
    let mut errors = Vec::new();
    while let Err(error) = toml::from_str::<Config>(&text) {
        errors.push(describe(file, &text, &error));
        let Some(span) = error.span() else { break };
        let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[span.start..].find('\n').map_or(text.len(), |at| span.start + at);
        if errors.len() >= FILE_ERRORS_MAX || text[start..end].trim_start().starts_with('[') {
            break;
        }
        text.replace_range(start..end, "");
    }
    if errors.is_empty() { Ok(whole) } else { Err(errors) }
}

fn describe(file: &Path, text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
    let message = unknown_key(error.message()).unwrap_or_else(|| error.message().to_owned());
    format!("{}:{line}: {message}", file.display())
}

/// The message for an unknown key: with the key that was probably meant, or the section that contains it.
fn unknown_key(message: &str) -> Option<String> {
    let quoted =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let (key, expected) = message.strip_prefix("unknown field ")?.split_once(", ")?;
    let (key, expected) = (quoted(key).pop()?, quoted(expected));
    if let Some(meant) = nearest(&key, expected.iter().map(String::as_str)) {
        return Some(format!("there is no setting `{key}` here; `{meant}` was probably meant"));
    }
    let all = settings();
    let elsewhere = all.iter().find(|path| path.rsplit('.').next() == Some(&*key));
    Some(match elsewhere {
        Some(path) => format!("there is no setting `{key}` here; there is `{path}`"),
        None => format!("there is no setting `{key}`; here are {}", expected.join(", ")),
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn apply_variable(tree: &mut Value, defaults: &Value, name: &str, text: &str) -> Result<(), String> {
    if has_other_use(name) {
        return Ok(());
    }
    if name == "RELAY_PORT" {
        return apply_port(tree, text);
    }
    let fixed = FIXED_NAMES.iter().find(|(fixed, _)| *fixed == name);
    let path: Vec<String> = match (fixed, name.strip_prefix("RELAIS_")) {
        (Some((_, path)), _) => path.split('.').map(str::to_owned).collect(),
        (None, Some(rest)) => match (resolve(defaults, &rest.to_ascii_lowercase()), meant_variable(name)) {
            (Some(path), _) => path,
            (None, Some(meant)) => {
                return Err(format!("{name}: there is no such setting; {meant} was probably meant"));
            }
            // Not one of ours: see `unknown_variables`.
            (None, None) => return Ok(()),
        },
        (None, None) => return Ok(()),
    };
    let like = path.iter().fold(defaults, |node, key| &node[key.as_str()]);
    let value = parse_like(like, text).map_err(|expected| format!("{name}: {text:?} is not {expected}"))?;
    let slot = path.iter().fold(tree, |node, key| &mut node[key.as_str()]);
    *slot = value;
    Ok(())
}

/// Checks in isolation that a variable's value has the type of its setting, so that the error can name the variable.
fn check_alone(defaults: &Value, name: &str, text: &str) -> Result<(), String> {
    let mut alone = defaults.clone();
    apply_variable(&mut alone, defaults, name, text)?;
    if alone == *defaults {
        return Ok(());
    }
    match serde_json::from_value::<Config>(alone) {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("expected struct") => {
            Err(format!("{name}: this setting is a list of tables; write it into relais.toml"))
        }
        Err(error) => Err(format!("{name}: {}", masked_text(&error.to_string()))),
    }
}

/// The port as the earlier system sets it; the address is unchanged.
fn apply_port(tree: &mut Value, text: &str) -> Result<(), String> {
    let port: u16 = text.parse().map_err(|_| format!("RELAY_PORT: {text:?} is not a port (1 to 65535)"))?;
    let slot = &mut tree["server"]["listen"];
    if let Some(Ok(mut address)) = slot.as_str().map(super::server::parse_listen) {
        address.set_port(port);
        *slot = address.to_string().into();
    }
    Ok(())
}

/// Parses a text as the type of the default value.
fn parse_like(like: &Value, text: &str) -> Result<Value, &'static str> {
    match like {
        Value::Bool(_) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true.into()),
            "0" | "false" | "no" | "off" | "" => Ok(false.into()),
            _ => Err("true or false"),
        },
        Value::Number(_) => text.parse::<i64>().map(Value::from).map_err(|_| "a whole number"),
        Value::Array(_) => Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
        Value::Object(_) => Err("a single value: set its fields one by one"),
        Value::Null | Value::String(_) => Ok(text.into()),
    }
}

fn apply_flags(tree: &mut Value, flags: &Overrides) {
    if let Some(data) = &flags.data {
        tree["server"]["data"] = data.display().to_string().into();
    }
    if let Some(listen) = &flags.listen {
        tree["server"]["listen"] = listen.clone().into();
    }
}

impl Config {
    /// Inconsistencies, each with a remedy.
    fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !(1..=127).contains(&self.relay.depth_max) {
            found.push(format!("relay.depth_max: {} is not between 1 and 127", self.relay.depth_max));
        }
        if self.relay.file_bytes_max == 0 {
            found.push("relay.file_bytes_max: 0 would refuse every file".into());
        }
        if self.relay.extensions.iter().any(|e| !e.starts_with('.') || e.len() < 2) {
            found.push("relay.extensions: each ending starts with a dot, for instance \".json\"".into());
        }
        if self.hub.idle_timeout_s <= self.hub.ping_interval_s {
            found.push(format!(
                "hub.idle_timeout_s ({}) has to be longer than hub.ping_interval_s ({})",
                self.hub.idle_timeout_s, self.hub.ping_interval_s
            ));
        }
        if let Some(endpoint) = &self.telemetry.otlp_endpoint
            && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
        {
            found.push(format!(
                "telemetry.otlp_endpoint: {:?} is not an address such as http://127.0.0.1:4318",
                masked(endpoint)
            ));
        }
        found.extend(self.live.mistakes());
        found.extend(self.jobs.mistakes());
        found.extend(self.socketio.mistakes());
        found.extend(self.auth.mistakes(self.server.listen.ip()));
        found
    }

    /// The same configuration for display, with every secret masked.
    #[must_use]
    pub fn without_secrets(&self) -> Value {
        let mut tree = serde_json::to_value(self).unwrap_or_default();
        hide(&mut tree);
        tree
    }
}

fn hide(node: &mut Value) {
    let Value::Object(fields) = node else { return };
    for (key, value) in fields {
        let secret = ["secret", "password", "key"].iter().any(|word| key.ends_with(word));
        match value {
            Value::String(_) if secret => *value = HIDDEN.into(),
            Value::String(text) => *text = masked(text).into_owned(),
            Value::Array(items) => items.iter_mut().for_each(hide_text),
            other => hide(other),
        }
    }
}

fn hide_text(item: &mut Value) {
    match item {
        Value::String(text) => *text = masked(text).into_owned(),
        other => hide(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::unknown_variables;
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn with_file(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(&Overrides { config: Some(file.path().into()), ..Overrides::default() }, env(pairs))
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks() {
        let config = with_file("", &[("RELAIS_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8, ::1")]).unwrap();
        let networks: Vec<_> = config.server.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]);
        let error = with_file("", &[("RELAIS_TRUSTED_PROXIES", "proxy.local")]).unwrap_err().to_string();
        assert!(error.contains("server.trusted_proxies: \"proxy.local\" is neither"), "{error}");
    }

    #[test]
    fn endings_of_names_are_read_in_small_letters() {
        let config = with_file("", &[("RELAIS_RELAY_EXTENSIONS", ".JSON, .Csv")]).unwrap();
        assert_eq!(config.relay.extensions, [".json", ".csv"]);
    }

    #[test]
    fn later_sources_win() {
        let config = with_file(
            "[server]\nlisten = \"127.0.0.1:1\"\ndata = \"from-file\"\n[relay]\nversions_kept = 3",
            &[("RELAIS_LISTEN", "127.0.0.1:2"), ("RELAIS_RELAY_VERSIONS_KEPT", "4")],
        )
        .unwrap();
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.server.data, PathBuf::from("from-file"));
        assert_eq!(config.relay.versions_kept, 4);
    }

    #[test]
    fn the_originals_variables_work() {
        let names = [
            ("RELAY_PORT", "8123"),
            ("BASE_FILES_DIR", "exports"),
            ("ALLOWED_ORIGINS", "http://localhost:3000, https://app.example"),
            ("REALTIME_MAX_RECONNECT_ATTEMPTS", "5"),
            ("REALTIME_RECONNECT_DELAY", "200"),
            ("REALTIME_ENABLE_STATS", "false"),
        ];
        let config = with_file("", &names).unwrap();
        assert_eq!(config.server.listen.port(), 8123);
        assert_eq!(config.relay_files_dir(), PathBuf::from("exports"));
        let origins: Vec<&str> =
            config.server.allowed_origins.iter().map(super::super::Origin::as_str).collect();
        assert_eq!(origins, ["http://localhost:3000", "https://app.example"]);
        assert_eq!((config.live.reconnect.max_attempts, config.live.reconnect.delay_ms), (5, 200));
        assert!(!config.live.stats);
    }

    #[test]
    fn an_application_beside_the_server_may_share_its_environment() {
        assert!(with_file("", &[("RELAIS_URL", "http://127.0.0.1:8000")]).is_ok());
    }

    #[test]
    fn pages_are_not_told_to_come_back_in_a_way_that_cannot_work() {
        for wrong in ["max_attempts = 0", "delay_ms = 0", "delay_ms = 20000", "max_delay_ms = 86400001"] {
            let error = with_file(&format!("[live.reconnect]\n{wrong}"), &[]).unwrap_err().to_string();
            assert!(error.contains("live.reconnect"), "{wrong}: {error}");
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let error = with_file(
            "[server]\nlisten = 5\n[relay]\nversions_kept = \"many\"\nquota = 1\n",
            &[("RELAIS_HUB_QUEUE_BYTES", "lots"), ("RELAIS_RELAY_VERSIONS_KEEP", "1")],
        )
        .unwrap_err();
        let text = error.to_string();
        for part in
            [":2:", ":4:", ":5:", "RELAIS_HUB_QUEUE_BYTES", "RELAIS_RELAY_VERSIONS_KEPT was probably meant"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_variable_that_cannot_be_read_hides_no_other_mistake() {
        let wrong = [
            ("RELAIS_AUTH_MODE", "closed"),
            ("RELAIS_TRUSTED_PROXIES", "proxy.local"),
            ("RELAIS_LIVE_RECONNECT_DELAY_MS", "0"),
        ];
        let error = with_file("", &wrong).unwrap_err().to_string();
        for part in ["RELAIS_AUTH_MODE", "proxy.local", "live.reconnect"] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }

    #[test]
    fn a_variable_of_somebody_else_is_a_warning_and_one_that_is_nearly_a_setting_an_error() {
        let strange = [
            "RELAIS_BIN",
            "RELAIS_SERVICE_HOST",
            "RELAIS_PORT",
            "RELAIS_SERVER_PORT_80_TCP",
            "RELAIS_CONFIG_FILE",
            "RELAIS_URL_X",
            "RELAIS_EVENT_BUS",
        ];
        let set: Vec<_> = strange.iter().map(|name| (*name, "tcp://10.0.0.1:80")).collect();
        assert!(with_file("", &set).is_ok());
        let warned = unknown_variables(env(&set));
        assert!(strange.iter().all(|name| warned.iter().any(|text| text.starts_with(name))), "{warned:?}");
        let quiet = [
            ("RELAIS_EVENT", "x"),
            ("RELAIS_TEST_POSTGRES", "x"),
            ("RELAIS_RELAY_DEPTH_MAX", "9"),
            ("PATH", "/"),
        ];
        assert_eq!(unknown_variables(env(&quiet)), Vec::<String>::new());
        for (name, meant) in [
            ("RELAIS_LISTN", "RELAIS_LISTEN"),
            ("RELAIS_DATABASE_URI", "RELAIS_DATABASE_URL"),
            ("RELAIS_KEYS", "RELAIS_KEY"),
            ("RELAIS_CONFI", "RELAIS_CONFIG"),
            ("RELAIS_CONFIGS", "RELAIS_CONFIG"),
            ("RELAIS_FILE_BYTES_MAX", "RELAIS_RELAY_FILE_BYTES_MAX"),
        ] {
            let error = with_file("", &[(name, "1")]).unwrap_err().to_string();
            assert!(error.contains(&format!("{name}: there is no such setting; {meant} was")), "{error}");
            assert_eq!(unknown_variables(env(&[(name, "1")])), Vec::<String>::new(), "said once");
        }
    }

    #[test]
    fn the_name_of_a_section_is_no_setting_and_the_warning_names_those_in_it() {
        for (name, settings) in [
            ("RELAIS_LOG", "RELAIS_LOG_FILTER, RELAIS_LOG_FORMAT"),
            ("RELAIS_DATABASE", "RELAIS_DATABASE_URL"),
        ] {
            assert!(with_file("", &[(name, "debug")]).is_ok(), "{name}");
            let warned = unknown_variables(env(&[(name, "debug")])).join("\n");
            assert!(warned.contains(name) && warned.contains(settings), "{warned}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_reported_with_the_name_of_its_variable() {
        for (name, value, part) in [
            ("RELAIS_RELAY_SCHEMAS", "x", "a list of tables; write it into relais.toml"),
            ("RELAIS_LOG_FORMAT", "yaml", "yaml"),
            ("RELAIS_AUTH_MODE", "closed", "closed"),
            ("RELAIS_LISTEN", "nowhere", "nowhere"),
        ] {
            let error = with_file("", &[(name, value), ("RELAIS_HUB_QUEUE_BYTES", "lots")]).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!("{name}: ")) && text.contains(part), "{text}");
            assert!(text.contains("RELAIS_HUB_QUEUE_BYTES: "), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error_with_the_nearest_name() {
        for (text, part) in [
            ("[relay]\nquota_byte = 1", "`quota_bytes` was probably meant"),
            ("[rely]\nquota_bytes = 1", "`relay` was probably meant"),
            ("[server]\nquota_bytes = 1", "there is `relay.quota_bytes`"),
            ("[server]\nwindow = 1", "there is no setting `window`; here are listen, data"),
        ] {
            let error = with_file(text, &[]).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_port_from_the_environment_goes_with_a_name_in_the_file() {
        let config = with_file("[server]\nlisten = \"localhost:1\"", &[("RELAY_PORT", "8123")]).unwrap();
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:8123");
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = with_file(
            "[database]\nurl = \"postgres://me:hunter2@db/relais\"\n[client]\nkey = \"rk_1_hunter2\"",
            &[("RELAIS_JWT_SECRET", "hunter2hunter2hunter2hunter2hunter2")],
        )
        .unwrap();
        let shown = config.without_secrets().to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("postgres://me:"), "{shown}");
    }

    #[test]
    fn no_address_shows_its_secrets() {
        let config = with_file(
            "[auth.jwks]\nurl = \"https://me:hunter2@id.fr/certs\"\nissuer = \"x\"\n\
             [telemetry]\notlp_endpoint = \"https://otlp.fr/?api_key=hunter2\"\n\
             [client]\nserver = \"https://me:hunter2@relais.fr\"\n\
             [live.mqtt]\nurl = \"mqtt://me:hunter2@broker\"",
            &[("RELAIS_DATABASE_URL", "postgres://me@db/relais?password=hunter2")],
        )
        .unwrap();
        let shown = config.without_secrets().to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        for place in ["id.fr/certs", "otlp.fr", "relais.fr", "broker", "db/relais"] {
            assert!(shown.contains(place), "{place} is missing in {shown}");
        }
        let endpoint = [("RELAIS_TELEMETRY_OTLP_ENDPOINT", "u:hunter2@x")];
        let error = with_file("", &endpoint).unwrap_err().to_string();
        assert!(error.contains("telemetry.otlp_endpoint") && !error.contains("hunter2"), "{error}");
        let keywords = with_file("", &[("RELAIS_DATABASE_URL", "host=x password=hunter2")]).unwrap();
        assert!(!keywords.without_secrets().to_string().contains("hunter2"));
        let error = with_file("[auth.jwks]\nurl = \"ftp://me:hunter2@id.fr\"", &[]).unwrap_err().to_string();
        assert!(error.contains("id.fr") && !error.contains("hunter2"), "{error}");
    }
}
