//! Fields that clients know under several names.
//!
//! Clients in the field say a value under one of its names, or under several at once. Whatever carries it, it becomes one
//! field under the field's own name; values that contradict each other are refused, since nobody can say which was meant.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A body or a frame with fields that have several names.
pub(crate) trait Aliased: DeserializeOwned {
    /// The own name of each such field, and the others that it is known by.
    const ALIASES: &'static [(&'static str, &'static [&'static str])];
}

/// The fields of an object that somebody sent, under the names that `T` has for them; `null` counts as absent. Fields that
/// `T` does not know are there as well.
///
/// # Errors
/// Which field has different values under its names.
pub(crate) fn unite<T: Aliased>(
    given: impl IntoIterator<Item = (String, Value)>,
) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    given.into_iter().try_for_each(|(given, value)| put(T::ALIASES, &mut fields, &given, value))?;
    Ok(fields)
}

/// Every name that `T` has for the field with this name of its own.
pub(crate) fn names_of<T: Aliased>(own: &str) -> &'static [&'static str] {
    T::ALIASES.iter().find(|(name, _)| *name == own).map_or(&[], |(_, others)| others)
}

/// A `T` from a JSON object in which a field may have any of its names, or several of them with one value. A field that
/// is `null` counts as absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct United<T>(pub(crate) T);

impl<'de, T: Aliased> Deserialize<'de> for United<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = deserializer.deserialize_map(Fields::<T>(PhantomData))?;
        T::deserialize(Value::Object(fields)).map(Self).map_err(D::Error::custom)
    }
}

/// For a field that has a value of its own if none is given: `null` is none.
///
/// # Errors
/// What the field's type refuses.
pub(crate) fn null_is_absent<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Gathers the fields of a `T` under their own names.
struct Fields<T>(PhantomData<T>);

impl<'de, T: Aliased> Visitor<'de> for Fields<T> {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("un objet JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some((given, value)) = map.next_entry::<String, Value>()? {
            put(T::ALIASES, &mut fields, &given, value).map_err(A::Error::custom)?;
        }
        Ok(fields)
    }
}

/// Puts a value where it belongs, unless another one is there.
fn put(
    aliases: &[(&'static str, &[&str])],
    fields: &mut Map<String, Value>,
    given: &str,
    value: Value,
) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let own = own_name(aliases, given);
    match fields.get(own) {
        Some(known) if *known != value => Err(contradiction(aliases, own)),
        Some(_) => Ok(()),
        None => {
            fields.insert(own.to_owned(), value);
            Ok(())
        }
    }
}

fn own_name<'a>(aliases: &[(&'static str, &[&str])], given: &'a str) -> &'a str {
    let known = aliases.iter().find(|(_, others)| others.contains(&given));
    known.map_or(given, |(own, _)| *own)
}

/// Names only what this program knows, and no value: it may be long.
fn contradiction(aliases: &[(&str, &[&str])], own: &str) -> String {
    match aliases.iter().find(|(name, _)| *name == own) {
        Some((own, others)) => {
            format!("« {own} » et ses autres noms ({}) ont des valeurs différentes", others.join(", "))
        }
        None => "un champ est donné deux fois avec des valeurs différentes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Letter {
        to: String,
        #[serde(default)]
        text: Option<String>,
    }

    impl Aliased for Letter {
        const ALIASES: &'static [(&'static str, &'static [&'static str])] =
            &[("to", &["toUser", "recipient"])];
    }

    fn read(text: &str) -> Result<Letter, String> {
        serde_json::from_str(text).map(|United(letter)| letter).map_err(|error| error.to_string())
    }

    #[test]
    fn a_field_has_any_of_its_names_or_several_with_one_value() {
        let letter = Ok(Letter { to: "7".into(), text: None });
        for text in [
            r#"{"to":"7"}"#,
            r#"{"toUser":"7"}"#,
            r#"{"recipient":"7","toUser":"7","to":"7"}"#,
            r#"{"to":"7","to":"7"}"#,
            r#"{"to":null,"recipient":"7"}"#,
            r#"{"recipient":"7","to":null,"text":null}"#,
        ] {
            assert_eq!(read(text), letter, "{text}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_names() {
        for text in [r#"{"to":"7","toUser":"8"}"#, r#"{"recipient":"8","toUser":"7"}"#] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains("« to » et ses autres noms (toUser, recipient)"), "{refused}");
        }
        assert!(read(r#"{"to":"7","text":"a","text":"b"}"#).unwrap_err().contains("deux fois"));
    }

    #[test]
    fn everything_else_is_as_without_names() {
        assert!(read(r#"{"text":"a"}"#).unwrap_err().contains("missing field `to`"));
        assert!(read(r#"{"to":"7","cc":"8"}"#).unwrap_err().contains("unknown field `cc`"));
        assert!(read("[1]").unwrap_err().contains("un objet JSON"));
        let from_value: Result<United<Letter>, _> =
            serde_json::from_value(json!({ "toUser": "7", "to": "7" }));
        assert_eq!(from_value.unwrap().0.to, "7");
    }

    #[test]
    fn null_is_absent_where_a_field_has_a_value_of_its_own() {
        #[derive(Deserialize)]
        struct FrameBatch {
            #[serde(default, deserialize_with = "null_is_absent")]
            fragile: bool,
        }
        for (text, fragile) in [("{}", false), (r#"{"fragile":null}"#, false), (r#"{"fragile":true}"#, true)]
        {
            assert_eq!(serde_json::from_str::<FrameBatch>(text).unwrap().fragile, fragile, "{text}");
        }
        assert!(serde_json::from_str::<FrameBatch>(r#"{"fragile":"yes"}"#).is_err());
    }

    #[test]
    fn a_form_may_have_more_fields_than_are_read() {
        let sent = |fields: &[(&str, &str)]| {
            unite::<Letter>(fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))))
        };
        let united = sent(&[("recipient", "7"), ("to", "7"), ("csrf", "x")]).unwrap();
        assert_eq!(Value::Object(united), json!({ "to": "7", "csrf": "x" }));
        assert!(sent(&[("recipient", "7"), ("to", "8")]).unwrap_err().contains("valeurs différentes"));
    }
}
