//! What a device says of itself.

use serde_json::{Map, Value};

/// Fields of a module's telemetry at most, over all its reports.
const FIELDS_MAX: usize = 128;
/// The longest name of a field, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The telemetry of one module at most, in bytes of JSON.
const TELEMETRY_BYTES_MAX: usize = 32 * 1024;
/// What names and proves the device, and the message; never part of its telemetry.
const ENVELOPE: &[&str] =
    &["type", "moduleid", "module_id", "moduletype", "module_type", "password", "credential", "token"];

/// Values by name. What is absent stays as it was; `null` takes a value away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report(Map<String, Value>);

/// Why a report is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A name.
    #[error("the name of a field has 1 to {NAME_BYTES_MAX} bytes and no control characters")]
    Name,
    /// Too many.
    #[error("a module has at most {FIELDS_MAX} fields")]
    Fields,
    /// Too large.
    #[error("the telemetry of a module has at most {TELEMETRY_BYTES_MAX} bytes of JSON")]
    Size,
}

impl Report {
    /// The values of a message: all its fields but those that say from whom it is.
    ///
    /// # Errors
    /// [`ReportError::Name`].
    pub fn of(message: Map<String, Value>) -> Result<Self, ReportError> {
        let values: Map<String, Value> = message.into_iter().filter(|(name, _)| !is_envelope(name)).collect();
        let is_name =
            |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if values.keys().all(is_name) { Ok(Self(values)) } else { Err(ReportError::Name) }
    }

    /// The numbers in it, by name; those one level deep as `outer.inner`.
    pub(super) fn numbers(&self) -> Vec<(String, f64)> {
        let mut all = Vec::new();
        for (name, value) in &self.0 {
            match value {
                Value::Object(inner) => {
                    let inner = inner.iter().filter_map(|(key, value)| Some((key, number(value)?)));
                    all.extend(inner.map(|(key, value)| (format!("{name}.{key}"), value)));
                }
                value => all.extend(number(value).map(|value| (name.clone(), value))),
            }
        }
        all
    }

    /// Changes `telemetry`; says whether a value is another now. A report that is refused changes nothing.
    ///
    /// # Errors
    /// [`ReportError::Fields`], [`ReportError::Size`].
    pub(super) fn merge_into(self, telemetry: &mut Map<String, Value>) -> Result<bool, ReportError> {
        // What is not there is already as a null would have it.
        let differs = |(name, value): (&String, &Value)| match telemetry.get(name) {
            Some(known) => known != value,
            None => !value.is_null(),
        };
        if !self.0.iter().any(differs) {
            return Ok(false);
        }
        let mut merged = telemetry.clone();
        for (name, value) in self.0 {
            if value.is_null() {
                merged.shift_remove(&name);
            } else {
                merged.insert(name, value);
            }
        }
        if merged.len() > FIELDS_MAX {
            return Err(ReportError::Fields);
        }
        if bytes(&merged) > TELEMETRY_BYTES_MAX {
            return Err(ReportError::Size);
        }
        *telemetry = merged;
        Ok(true)
    }
}

/// Whether a field names and proves the device, or is of the message.
pub(super) fn is_envelope(name: &str) -> bool {
    ENVELOPE.contains(&name.to_ascii_lowercase().as_str())
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64().filter(|number| number.is_finite()),
        Value::Bool(set) => Some(f64::from(u8::from(*set))),
        _ => None,
    }
}

/// About as long as the JSON, without writing it.
fn bytes(fields: &Map<String, Value>) -> usize {
    fields.iter().map(|(name, value)| name.len() + 4 + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 12,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| value_bytes(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => bytes(fields) + 2,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(message: Value) -> Report {
        Report::of(serde_json::from_value(message).unwrap()).unwrap()
    }

    fn fields(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_field_is_kept_but_those_that_say_from_whom_it_is() {
        let said = json!({ "type": "telemetry", "moduleId": "m", "password": "x", "Password": "x", "uptime": 5, "zone": { "t": 1.5 } });
        assert_eq!(report(said).0, fields(json!({ "uptime": 5, "zone": { "t": 1.5 } })));
    }

    #[test]
    fn only_another_value_is_a_change() {
        let mut telemetry = fields(json!({ "uptime": 5, "position": "a" }));
        for (said, changes) in [
            (json!({ "uptime": 5 }), false),
            (json!({ "gone": null }), false),
            (json!({}), false),
            (json!({ "uptime": 6 }), true),
            (json!({ "position": null }), true),
            (json!({ "lights": { "a": 1, "b": 2 } }), true),
            (json!({ "lights": { "b": 2, "a": 1 } }), false),
        ] {
            assert_eq!(report(said.clone()).merge_into(&mut telemetry), Ok(changes), "{said}");
        }
        assert_eq!(Value::from(telemetry), json!({ "uptime": 6, "lights": { "a": 1, "b": 2 } }));
    }

    #[test]
    fn what_is_too_much_is_refused_and_changes_nothing() {
        let mut telemetry = fields(json!({ "a": 1 }));
        let many: Map<String, Value> = (0..200).map(|n| (format!("f{n}"), json!(n))).collect();
        assert_eq!(Report(many).merge_into(&mut telemetry), Err(ReportError::Fields));
        let large = report(json!({ "text": "x".repeat(TELEMETRY_BYTES_MAX) }));
        assert_eq!(large.merge_into(&mut telemetry), Err(ReportError::Size));
        assert_eq!(Value::from(telemetry), json!({ "a": 1 }));
        let long = fields(json!({ "x".repeat(65): 1 }));
        assert_eq!(Report::of(long), Err(ReportError::Name));
    }

    #[test]
    fn numbers_are_what_a_chart_can_show() {
        let said = report(
            json!({ "t": 20.5, "on": true, "name": "x", "wifi": { "rssi": -60, "ssid": "y" }, "list": [1] }),
        );
        let expected = [("t", 20.5), ("on", 1.0), ("wifi.rssi", -60.0)];
        assert_eq!(said.numbers(), expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
