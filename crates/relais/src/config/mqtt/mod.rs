//! Settings of MQTT.

mod address;
mod layout;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use address::Address;
pub(crate) use address::{TlsError, tls};
pub use layout::Layout;
pub(crate) use layout::Purpose;

/// The broker that modules connect to, and its topics. Relais is one of the broker's clients.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// `mqtt://HOST[:PORT]`, or `mqtts://` for TLS; empty for no broker.
    pub url: String,
    /// The protocol version: 5, or 3 for 3.1.1.
    pub version: u8,
    /// The client id, under which the broker keeps messages while this server is away; if empty, derived from the
    /// database.
    pub client_id: String,
    /// The user name for the broker; empty for none.
    pub user: String,
    /// The password of that user.
    pub password: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// A PEM file with the CA of the broker's certificate; if unset, the system's trusted CAs are used.
    pub ca_file: Option<PathBuf>,
    /// Whether every message must carry the module's credential as `password`. If not, the broker's rules have to
    /// ensure that no client publishes for another module.
    pub require_password: bool,
    /// Idle time, in seconds, after which the connection to the broker is probed.
    pub keep_alive_s: u16,
    /// Seconds for which the broker keeps messages while this server is away (MQTT 5; with 3.1.1 the broker decides).
    pub session_expiry_s: u32,
    /// Seconds of a broker outage for which the silence of modules does not count.
    pub outage_grace_s: u32,
    /// QoS of commands: 2 exactly once, 1 at least once, 0 at most once.
    pub command_qos: u8,
    /// The topics.
    pub topics: MqttTopics,
}

/// Topics, each with `{module}` in place of the id. Empty: not used.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttTopics {
    /// Values.
    pub report: String,
    /// Heartbeats, which may carry values too.
    pub heartbeat: String,
    /// `online` and `offline`; the last will of devices.
    pub status: String,
    /// Responses of devices.
    pub response: String,
    /// Commands to devices.
    pub command: String,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            version: 5,
            client_id: String::new(),
            user: String::new(),
            password: None,
            password_file: None,
            ca_file: None,
            require_password: true,
            keep_alive_s: 30,
            session_expiry_s: 86_400,
            outage_grace_s: 600,
            command_qos: 2,
            topics: MqttTopics::default(),
        }
    }
}

impl Default for MqttTopics {
    fn default() -> Self {
        let below = |what: &str| format!("relais/{{module}}/{what}");
        Self {
            report: below("telemetry"),
            heartbeat: below("heartbeat"),
            status: below("status"),
            response: below("response"),
            command: below("command"),
        }
    }
}

impl MqttConfig {
    /// Whether a broker is configured.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// The broker password, if one is set.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn password(&self) -> std::io::Result<Option<String>> {
        let Some(file) = &self.password_file else { return Ok(self.password.clone()) };
        let text = std::fs::read_to_string(file)?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.is_on() {
            return found;
        }
        found.extend(Address::of(&self.url).err().map(|error| format!("live.mqtt.url: {error}")));
        found.extend(Layout::of(&self.topics).err().map(|error| format!("live.mqtt.topics.{error}")));
        if !matches!(self.version, 3 | 5) {
            found.push(format!("live.mqtt.version: {} is neither 5 nor 3 (for 3.1.1)", self.version));
        }
        if !(5..=3_600).contains(&self.keep_alive_s) {
            found.push(format!("live.mqtt.keep_alive_s: {} is not from 5 to 3600", self.keep_alive_s));
        }
        if self.command_qos > 2 {
            found.push(format!("live.mqtt.command_qos: {} is not 0, 1 or 2", self.command_qos));
        }
        if self.outage_grace_s > 86_400 {
            found.push(format!("live.mqtt.outage_grace_s: {} is more than 86400", self.outage_grace_s));
        }
        if self.password.is_some() && self.password_file.is_some() {
            found.push("live.mqtt: set password or password_file, not both".into());
        }
        if let Err(error) = self.password() {
            let file = self.password_file.as_deref().unwrap_or("".as_ref()).display();
            found.push(format!(
                "live.mqtt.password_file: {file}: {error}; check the path and the permissions"
            ));
        }
        if let Some(file) = self.ca_file.as_deref().filter(|file| !file.is_file()) {
            found.push(format!("live.mqtt.ca_file: {} is not a file", file.display()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_and_none_counts_without_a_broker() {
        let wrong = MqttConfig {
            url: "http://broker".into(),
            version: 4,
            keep_alive_s: 0,
            command_qos: 3,
            password: Some("a".into()),
            password_file: Some("/nowhere".into()),
            ca_file: Some("/nowhere".into()),
            topics: MqttTopics { report: "a/+".into(), ..MqttTopics::default() },
            ..MqttConfig::default()
        };
        let found = wrong.mistakes().join("\n");
        for name in [
            "url",
            "version",
            "keep_alive_s",
            "command_qos",
            "not both",
            "password_file",
            "ca_file",
            "topics.report",
        ] {
            assert!(found.contains(name), "{name} is missing in {found}");
        }
        assert_eq!(MqttConfig { url: String::new(), ..wrong }.mistakes(), Vec::<String>::new());
        assert_eq!(MqttConfig { url: "mqtt://broker".into(), ..MqttConfig::default() }.mistakes(), [""; 0]);
    }
}
