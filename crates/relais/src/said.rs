//! Texts for clients, in the language of the requested address.
//!
//! The address decides: those of the systems that this server stands in for are answered in French, since their clients
//! show these texts to their users; all others in English. Code that produces a text knows neither the address nor the
//! language, so it provides both.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Delimit a [`Said`] inside the message of another error, and separate its languages.
const BEGIN: char = '\u{1}';
const BETWEEN: char = '\u{2}';
const END: char = '\u{3}';

/// A language of texts for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// For the addresses of earlier systems.
    French,
    /// For all others.
    English,
}

/// One text in both languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    french: Cow<'static, str>,
    english: Cow<'static, str>,
}

impl Said {
    /// A text in both languages.
    #[must_use]
    pub fn new(french: fmt::Arguments<'_>, english: fmt::Arguments<'_>) -> Self {
        Self { french: text(french), english: text(english) }
    }

    /// A text that is English at every address: from a library, or not used by any earlier address.
    #[must_use]
    pub fn in_english(text: impl Into<Cow<'static, str>>) -> Self {
        let english = text.into();
        Self { french: english.clone(), english }
    }

    /// The text for the addresses of earlier systems.
    #[must_use]
    pub fn french(&self) -> &str {
        &self.french
    }

    /// The text for all others, and for the log.
    #[must_use]
    pub fn english(&self) -> &str {
        &self.english
    }

    /// The text in this language.
    #[must_use]
    pub fn text(&self, language: Language) -> &str {
        match language {
            Language::French => &self.french,
            Language::English => &self.english,
        }
    }

    /// Transforms both texts.
    #[must_use]
    pub fn map(self, change: impl Fn(Cow<'static, str>) -> Cow<'static, str>) -> Self {
        Self { french: change(self.french), english: change(self.english) }
    }

    /// Both languages in one text, for an error type that has a single message, such as serde's; [`Said::carried_in`]
    /// extracts them.
    #[must_use]
    pub fn carried(&self) -> String {
        format!("{BEGIN}{}{BETWEEN}{}{END}", self.french, self.english)
    }

    /// The text of a library's error, with the texts embedded in it, in each language.
    #[must_use]
    pub fn carried_in(text: &str) -> Self {
        let parts = || {
            let (before, rest) = text.split_once(BEGIN)?;
            let (french, rest) = rest.split_once(BETWEEN)?;
            let (english, after) = rest.split_once(END)?;
            Some((before, french, english, after))
        };
        match parts() {
            Some((before, french, english, after)) => Self {
                french: format!("{before}{french}{after}").into(),
                english: format!("{before}{english}{after}").into(),
            },
            None => Self::in_english(text.to_owned()),
        }
    }
}

fn text(text: fmt::Arguments<'_>) -> Cow<'static, str> {
    text.as_str().map_or_else(|| text.to_string().into(), Cow::Borrowed)
}

/// A [`Said`] from a French and an English format string: `said!("Module {id} non trouvé", "Module {id} not found")`.
/// Further arguments are for both; another `Said` after a semicolon provides the first argument of each.
macro_rules! said {
    ($french:literal, $english:literal; $inner:expr) => {{
        let inner: $crate::said::Said = $inner;
        $crate::said::Said::new(
            ::std::format_args!($french, inner.french()),
            ::std::format_args!($english, inner.english()),
        )
    }};
    ($french:literal, $english:literal $(, $($arguments:tt)*)?) => {
        $crate::said::Said::new(
            ::std::format_args!($french $(, $($arguments)*)?),
            ::std::format_args!($english $(, $($arguments)*)?),
        )
    };
}
pub(crate) use said;

/// The addresses that are answered in French.
#[derive(Clone, Debug, Default)]
pub struct FrenchAddresses(Arc<[&'static str]>);

impl FrenchAddresses {
    /// Each covers the paths below it too; one that ends with a slash covers only those.
    #[must_use]
    pub fn new(beginnings: impl IntoIterator<Item = &'static str>) -> Self {
        Self(beginnings.into_iter().collect())
    }

    /// The language of errors at this address.
    #[must_use]
    pub fn language_of(&self, path: &str) -> Language {
        let covers = |beginning: &&str| {
            path.strip_prefix(*beginning)
                .is_some_and(|rest| beginning.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
        };
        if self.0.iter().any(covers) { Language::French } else { Language::English }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_decides() {
        let addresses = FrenchAddresses::new(["/old/", "/ws/old"]);
        for french in ["/old/", "/old/a", "/ws/old", "/ws/old/"] {
            assert_eq!(addresses.language_of(french), Language::French, "{french}");
        }
        for english in ["/", "/old", "/older/a", "/ws/older", "/new/old/", ""] {
            assert_eq!(addresses.language_of(english), Language::English, "{english}");
        }
    }

    #[test]
    fn the_message_of_another_error_carries_both() {
        let (field, max) = ("to", 3);
        let said = said!("« {field} » : {max} au plus", "\"{field}\": at most {max}");
        let library = format!("cannot read: {} at line 1", said.carried());
        let found = Said::carried_in(&library);
        assert_eq!(found.text(Language::French), "cannot read: « to » : 3 au plus at line 1");
        assert_eq!(found.text(Language::English), "cannot read: \"to\": at most 3 at line 1");
        assert_eq!(Said::carried_in("EOF"), Said::in_english("EOF"));
    }
}
