//! What comes from elsewhere cannot forge a log line, order a terminal about, or show a secret of an address.

use std::borrow::Cow;
use std::fmt;
use std::io;

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use crate::config::masked_text;

/// Writes the message and the fields of a line as the default does, with everything escaped that is no plain character.
#[derive(Debug, Default)]
pub(super) struct OneLine(DefaultFields);

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        self.0.format_fields(Writer::new(&mut text), fields)?;
        write_escaped(&mut writer, &text)
    }
}

fn write_escaped(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let mut written = 0;
    for (at, character) in text.char_indices().filter(|(_, character)| is_unsafe(*character)) {
        out.write_str(&text[written..at])?;
        write!(out, "{}", character.escape_default())?;
        written = at + character.len_utf8();
    }
    out.write_str(&text[written..])
}

/// Control characters, and those that change lines or the direction of what follows.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes lines to `W`, each with the secrets of addresses masked, and what [`OneLine`] escapes in a text escaped in JSON
/// too. The layer gives a whole line at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masked<M> {
    pub(super) lines: M,
    /// The lines are JSON.
    pub(super) json: bool,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Masked<M> {
    type Writer = MaskedWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        MaskedWriter { line: self.lines.make_writer(), json: self.json }
    }
}

pub(super) struct MaskedWriter<W> {
    line: W,
    json: bool,
}

impl<W: io::Write> io::Write for MaskedWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line that cannot be written, on a full disk for instance, is lost: the layer would report that where it
        // cannot be written either, and panic.
        let _ = match std::str::from_utf8(line) {
            Ok(text) if self.json => self.line.write_all(escaped_json(&masked_text(text)).as_bytes()),
            Ok(text) => self.line.write_all(masked_text(text).as_bytes()),
            Err(_) => self.line.write_all(line),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.line.flush()
    }
}

/// JSON lines without the characters that JSON lets stand as they are and no line may have; they are only in texts there,
/// and none is beyond U+FFFF.
fn escaped_json(lines: &str) -> Cow<'_, str> {
    let stays = |character: char| character == '\n' || !is_unsafe(character);
    if lines.chars().all(stays) {
        return Cow::Borrowed(lines);
    }
    let mut out = String::with_capacity(lines.len() + 16);
    for character in lines.chars() {
        if stays(character) {
            out.push(character);
        } else {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = super::super::lines(json, false, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.boxed()), log);
        let bytes = kept.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_a_stranger_sends_stays_in_its_line_and_orders_no_terminal_about() {
        let alg =
            "HS\n2026-11-30T12:00:00Z  INFO forged\r\u{1b}[31m\u{0}\u{7f}\u{85}\u{2028}\u{202e}\u{61c}é";
        for json in [false, true] {
            let text = logged(json, || {
                tracing::warn!(error = %alg, debug = ?alg, "refused {alg}");
                let span = tracing::info_span!("request", who = alg);
                span.in_scope(|| tracing::warn!("inside"));
            });
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(!text.trim_end().chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            assert!(text.contains('é'), "{text}");
            assert!(!text.contains(['\u{202e}', '\u{2028}', '\u{61c}']), "{text:?}");
            let read = text.lines().map(serde_json::from_str::<serde_json::Value>);
            assert!(!json || read.into_iter().all(|line| line.is_ok()), "{text}");
            assert!(!json || text.contains("\\u202e"), "{text}");
        }
    }

    #[test]
    fn no_line_shows_the_secrets_of_an_address() {
        for json in [false, true] {
            let text = logged(json, || {
                tracing::warn!(
                    url = "https://me:hunter2@x.fr/?token=hunter2",
                    "https://me:hunter2@x.fr failed"
                );
            });
            assert!(!text.contains("hunter2") && text.contains("x.fr"), "{text}");
        }
    }
}
