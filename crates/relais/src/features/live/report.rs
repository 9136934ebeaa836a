//! What a device says of itself.

use std::borrow::Cow;

use relais_protocol::time::Timestamp;
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

/// The field in which a device may say when it measured.
const MEASURED_AT: &str = "measured_at";
/// Numbers below it are seconds since 1970, others milliseconds.
const SECONDS_MAX: f64 = 1e11;
/// How much later than now a device may have measured, in milliseconds: clocks differ a little.
const AHEAD_MS: i64 = 60_000;
/// How much earlier, in milliseconds: a week.
const BEHIND_MS: i64 = 7 * 86_400_000;

/// Values by name. What is absent stays as it was; `null` takes a value away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    values: Map<String, Value>,
    measured: Option<Measured>,
}

/// When a device says that it measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measured {
    At(Timestamp),
    /// It is no time.
    Unread,
}

/// When the values of a report were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// The device says nothing of it: now.
    Now(Timestamp),
    /// As the device says.
    Then(Timestamp),
    /// The device says something that cannot be: now.
    Implausible(Timestamp),
}

impl When {
    pub(super) fn at(self) -> Timestamp {
        match self {
            Self::Now(at) | Self::Then(at) | Self::Implausible(at) => at,
        }
    }
}

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
        let mut values: Map<String, Value> =
            message.into_iter().filter(|(name, _)| !is_envelope(name)).collect();
        let measured = values.shift_remove(MEASURED_AT).and_then(|said| measured(&said));
        let is_name =
            |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if values.keys().all(is_name) { Ok(Self { values, measured }) } else { Err(ReportError::Name) }
    }

    /// When it was measured, if that can be: within the last week, and not later than a minute from now.
    pub(super) fn when(&self, now: Timestamp) -> When {
        match self.measured {
            None => When::Now(now),
            Some(Measured::At(at))
                if at >= now.plus_millis(-BEHIND_MS) && at <= now.plus_millis(AHEAD_MS) =>
            {
                When::Then(at)
            }
            Some(_) => When::Implausible(now),
        }
    }

    /// The numbers in it, by name; those one level deep as `outer.inner`. A point within a name is `\\.`, so that no two
    /// fields have one series.
    pub(super) fn numbers(&self) -> Vec<(String, f64)> {
        let mut all = Vec::new();
        for (name, value) in &self.values {
            match value {
                Value::Object(inner) => {
                    let inner = inner.iter().filter_map(|(key, value)| Some((key, number(value)?)));
                    let outer = escaped(name);
                    all.extend(inner.map(|(key, value)| (format!("{outer}.{}", escaped(key)), value)));
                }
                value => all.extend(number(value).map(|value| (escaped(name).into_owned(), value))),
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
            Some(known) => !is_same(known, value),
            None => !value.is_null(),
        };
        if !self.values.iter().any(differs) {
            return Ok(false);
        }
        let mut merged = telemetry.clone();
        // Where room is short, what is said goes to the end: what was not said for longest is in front.
        let short = merged.len() > FIELDS_MAX / 2 || bytes(&merged) > TELEMETRY_BYTES_MAX / 2;
        let said = self.values.len();
        for (name, value) in self.values {
            if short || value.is_null() {
                merged.shift_remove(&name);
            }
            if !value.is_null() {
                merged.insert(name, value);
            }
        }
        if said > FIELDS_MAX {
            return Err(ReportError::Fields);
        }
        let mut freed = 0;
        while merged.len() > said && (merged.len() > FIELDS_MAX || bytes(&merged) > TELEMETRY_BYTES_MAX) {
            let oldest = merged.keys().next().cloned().unwrap_or_default();
            merged.shift_remove(&oldest);
            freed += 1;
        }
        if bytes(&merged) > TELEMETRY_BYTES_MAX {
            return Err(ReportError::Size);
        }
        if freed > 0 {
            metrics::counter!("relais_live_fields_freed_total").increment(freed);
        }
        *telemetry = merged;
        Ok(true)
    }
}

/// Whether a field names and proves the device, or is of the message.
pub(super) fn is_envelope(name: &str) -> bool {
    ENVELOPE.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether two values are the same to whoever reads them: `1` and `1.0` are, `0` and `-0.0`, and objects whose fields are
/// in another order.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (!(is_whole(a) && is_whole(b)) && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_same(a, b)))
        }
        _ => one == other,
    }
}

/// Whole numbers are compared to their last digit, which a double may not have.
fn is_whole(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64()
}

/// A name as a part of a series' name.
fn escaped(name: &str) -> Cow<'_, str> {
    if !name.contains(['\\', '.', ',']) {
        return name.into();
    }
    let escape = |c: char| matches!(c, '\\' | '.' | ',').then_some('\\').into_iter().chain([c]);
    name.chars().flat_map(escape).collect::<String>().into()
}

fn measured(said: &Value) -> Option<Measured> {
    let ms = match said {
        Value::Null => return None,
        Value::Number(number) => number.as_f64().map(|at| if at < SECONDS_MAX { at * 1000.0 } else { at }),
        Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond() as f64),
        _ => None,
    };
    let at = ms.map(|ms| Measured::At(Timestamp::from_millis(ms as i64)));
    Some(at.unwrap_or(Measured::Unread))
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
        assert_eq!(report(said).values, fields(json!({ "uptime": 5, "zone": { "t": 1.5 } })));
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
            (json!({ "lights": { "b": 2.0, "a": 1 } }), false),
            (json!({ "uptime": 6.0 }), false),
            (json!({ "zero": 0 }), true),
            (json!({ "zero": -0.0 }), false),
            (json!({ "zero": null }), true),
            (json!({ "big": 9_007_199_254_740_993_u64 }), true),
            (json!({ "big": 9_007_199_254_740_992_u64 }), true),
            (json!({ "big": null }), true),
            (json!({ "list": [1, 2.0] }), true),
            (json!({ "list": [1.0, 2] }), false),
            (json!({ "list": null }), true),
        ] {
            assert_eq!(report(said.clone()).merge_into(&mut telemetry), Ok(changes), "{said}");
        }
        assert_eq!(Value::from(telemetry), json!({ "uptime": 6, "lights": { "a": 1, "b": 2 } }));
    }

    #[test]
    fn what_is_too_much_is_refused_and_changes_nothing() {
        let mut telemetry = fields(json!({ "a": 1 }));
        let many: Map<String, Value> = (0..200).map(|n| (format!("f{n}"), json!(n))).collect();
        let many = Report { values: many, measured: None };
        assert_eq!(many.merge_into(&mut telemetry), Err(ReportError::Fields));
        let large = report(json!({ "text": "x".repeat(TELEMETRY_BYTES_MAX) }));
        assert_eq!(large.merge_into(&mut telemetry), Err(ReportError::Size));
        assert_eq!(Value::from(telemetry), json!({ "a": 1 }));
        let long = fields(json!({ "x".repeat(65): 1 }));
        assert_eq!(Report::of(long), Err(ReportError::Name));
    }

    #[test]
    fn fields_that_were_not_said_for_longest_make_room_for_new_ones() {
        let mut telemetry = Map::new();
        for round in 0..3 {
            for number in 0..FIELDS_MAX {
                let name = format!("r{round}-{number}");
                let said = Report::of(Map::from_iter([(name, json!(round)), ("live".into(), json!(number))]));
                assert_eq!(said.unwrap().merge_into(&mut telemetry), Ok(true));
            }
        }
        assert_eq!((telemetry.len(), telemetry["live"].clone()), (FIELDS_MAX, json!(FIELDS_MAX - 1)));
        assert!(telemetry.contains_key("r2-127") && !telemetry.contains_key("r1-3"));
        let large = report(json!({ "text": "x".repeat(TELEMETRY_BYTES_MAX - 100) }));
        assert_eq!(large.merge_into(&mut telemetry), Ok(true));
        assert!(telemetry.contains_key("text") && bytes(&telemetry) <= TELEMETRY_BYTES_MAX);
    }

    #[test]
    fn no_two_fields_have_one_series() {
        let said = report(json!({ "o.a": 1, "o": { "a": 2, "b,c": 3 }, "o\\": { "a": 4 } }));
        let names: Vec<String> = said.numbers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [r"o\.a", "o.a", r"o.b\,c", r"o\\.a"]);
    }

    #[test]
    fn a_device_says_when_it_measured_and_is_believed_within_bounds() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let when = |said: Value| report(json!({ "t": 1, "measured_at": said })).when(now);
        let earlier = now.plus_millis(-11_000);
        for said in [json!(1_799_999_989_000_i64), json!(1_799_999_989), json!(earlier.to_string())] {
            assert_eq!(when(said.clone()), When::Then(earlier), "{said}");
        }
        assert_eq!(when(json!("2027-01-15T09:00:00+01:00")), When::Then(now));
        assert_eq!(when(json!(null)), When::Now(now));
        for wrong in [json!(12_345), json!(1_799_000_000), json!(1_800_000_061), json!("hier"), json!(true)] {
            assert_eq!(when(wrong.clone()), When::Implausible(now), "{wrong}");
        }
        let taken = report(json!({ "t": 1, "measured_at": 5 }));
        assert_eq!(taken.values, fields(json!({ "t": 1 })), "it is no value");
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
