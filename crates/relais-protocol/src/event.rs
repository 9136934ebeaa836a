//! Topics, positions, cursors and events: the vocabulary of all other crates.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::time::Timestamp;

/// The longest topic name, in bytes.
pub const TOPIC_BYTES_MAX: usize = 200;
/// The maximum size of the data of an event that a client publishes, in bytes.
pub const EVENT_DATA_BYTES_MAX: usize = 64 * 1024;

/// The name of an ordered stream of events, such as `societe:rsp-bgs` or `conversation:0198…`.
///
/// A name is a family, a colon and the rest (`family:rest`), or a family alone (`system`). It has 1 to
/// [`TOPIC_BYTES_MAX`] bytes, no control characters, no `*`, and no white space other than single-width spaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Validates `name` and creates the topic.
    ///
    /// # Errors
    /// [`NameError`] if the name is empty, too long, or contains a character that is not allowed.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first colon: `societe` for `societe:rsp-bgs`.
    #[must_use]
    pub fn family(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(family, _)| family)
    }

    /// The part after the first colon: `rsp-bgs` for `societe:rsp-bgs`, empty if there is no colon.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, key)| key)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > TOPIC_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    match name.chars().find(|c| c.is_control() || (c.is_whitespace() && *c != ' ') || *c == '*') {
        Some(character) => Err(NameError::Character(character)),
        None => Ok(()),
    }
}

/// Why a text is not a valid topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a topic needs a name")]
    Empty,
    /// The name has more than [`TOPIC_BYTES_MAX`] bytes.
    #[error("a topic name has at most {TOPIC_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// The name contains a control character, `*`, or white space other than a space.
    #[error("a topic name cannot contain {0:?}")]
    Character(char),
}

/// What a session subscribes to: one topic, or every topic of a family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// One topic: `societe:rsp-bgs`.
    Topic(Topic),
    /// Every topic of a family, present and future: `societe:*`.
    Family(Arc<str>),
}

impl Channel {
    /// Whether events of `topic` are delivered to this channel.
    #[must_use]
    pub fn covers(&self, topic: &Topic) -> bool {
        match self {
            Self::Topic(own) => own == topic,
            Self::Family(family) => topic.family() == &**family,
        }
    }
}

impl FromStr for Channel {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.strip_suffix(":*") {
            Some(family) if !family.contains(':') => {
                check_name(family)?;
                Ok(Self::Family(family.into()))
            }
            _ => Topic::new(text).map(Self::Topic),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(topic) => topic.fmt(f),
            Self::Family(family) => write!(f, "{family}:*"),
        }
    }
}

/// Identifies one incarnation of the event log. It changes when the log is recreated or restored from a backup, so that
/// a position of another incarnation is never mistaken for one of this one.
///
/// Written as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(CursorError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| CursorError)
    }
}

/// A position in the whole log: everything up to and including `seq` has been seen.
///
/// `seq` counts the events of all durable topics in the order in which they were committed, from 1 and
/// without gaps. One cursor therefore resumes any set of topics. Written as `<epoch>-<seq>`, for instance
/// `9f3c2a77b1e0d544-1832`; clients treat it as opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The incarnation of the log that `seq` belongs to.
    pub epoch: Epoch,
    /// The last event seen; 0 is before the first.
    pub seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, seq) = text.split_once('-').ok_or(CursorError)?;
        let digits_only = !seq.is_empty() && seq.bytes().all(|b| b.is_ascii_digit());
        match (epoch.parse(), seq.parse()) {
            (Ok(epoch), Ok(seq)) if digits_only => Ok(Self { epoch, seq }),
            _ => Err(CursorError),
        }
    }
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected <epoch>-<seq> as an earlier reply gave it")]
pub struct CursorError;

/// A position in one topic: everything up to and including `offset` has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The incarnation of the log that `offset` belongs to.
    pub epoch: Epoch,
    /// The last event of the topic that was seen; 0 is before the first.
    pub offset: u64,
}

/// Something that happened, as every dialect encodes it and every client receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The topic it belongs to.
    pub topic: Topic,
    /// The incarnation of the log.
    pub epoch: Epoch,
    /// The position in the topic, from 1 and without gaps; 0 for an ephemeral event.
    pub offset: u64,
    /// The position in the whole log, from 1 and without gaps; 0 for an ephemeral event.
    pub seq: u64,
    /// The event's name, in the past tense: `file_uploaded`.
    pub name: Arc<str>,
    /// A serialised JSON object.
    pub data: Arc<str>,
    /// When it was committed, or for an ephemeral event when it was published.
    pub at: Timestamp,
}

impl Event {
    /// The cursor of a client that has seen this event and all before it.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, seq: self.seq }
    }

    /// Whether the event is stored in the log and can therefore be recovered.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.seq > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_written() {
        let cursor = Cursor { epoch: Epoch(0x9f3c_2a77_b1e0_d544), seq: 1832 };
        assert_eq!(cursor.to_string(), "9f3c2a77b1e0d544-1832");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn a_text_that_no_reply_gave_is_not_a_cursor() {
        for text in ["", "-", "12", "9f3c2a77b1e0d544-", "9f3c2a77b1e0d544-+1", "9f3c2a77b1e0d544--1", "x-1"]
        {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }

    #[test]
    fn a_family_covers_its_topics_and_no_others() {
        let all: Channel = "societe:*".parse().unwrap();
        assert!(all.covers(&Topic::new("societe:rsp-bgs").unwrap()));
        assert!(!all.covers(&Topic::new("societes:rsp-bgs").unwrap()));
        assert_eq!(all.to_string(), "societe:*");
    }

    #[test]
    fn names_that_would_confuse_are_refused() {
        for name in ["", "a\tb", "societe:*x", "a\u{7}", &"x".repeat(TOPIC_BYTES_MAX + 1)] {
            assert!(Topic::new(name).is_err(), "{name:?}");
        }
    }
}
