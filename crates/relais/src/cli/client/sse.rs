//! Reading a stream of Server-Sent Events (WHATWG HTML, section 9.2.6), piece by piece.

/// The longest line: a frame is one line of JSON, far below this.
const LINE_BYTES_MAX: usize = 1 << 20;
/// The most data that one event carries over all its lines.
const DATA_BYTES_MAX: usize = 4 << 20;

/// One event of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The last `id:` seen so far, on this event or before it: where to resume.
    pub id: String,
    /// The `event:` field; empty means `message`.
    pub event: String,
    /// The `data:` lines, joined by line feeds.
    pub data: String,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    /// A line or an event is longer than any the server sends.
    #[error("the event stream has a line or an event that is too long")]
    TooLong,
    /// The stream has to be UTF-8.
    #[error("the event stream is not UTF-8")]
    NotUtf8,
}

/// Turns bytes as they arrive into events. Bytes are kept only while a line is incomplete.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed right after belongs to the same line end.
    after_return: bool,
    started: bool,
    pending: SseEvent,
    has_data: bool,
    retry_ms: Option<u64>,
}

impl SseParser {
    /// Takes the next bytes of the stream and appends the events that they complete to `events`.
    ///
    /// # Errors
    /// [`SseError`]; the stream has to be closed then.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), SseError> {
        for &byte in bytes {
            let ends_before = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if ends_before => {}
                b'\n' | b'\r' => self.end_line(events)?,
                _ if self.line.len() >= LINE_BYTES_MAX => return Err(SseError::TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// The pause before reconnecting that the server asked for, in milliseconds.
    pub(crate) fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn end_line(&mut self, events: &mut Vec<SseEvent>) -> Result<(), SseError> {
        let taken = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&taken).map_err(|_| SseError::NotUtf8)?;
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            self.end_event(events);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        self.take_field(field, value.strip_prefix(' ').unwrap_or(value))
    }

    fn take_field(&mut self, field: &str, value: &str) -> Result<(), SseError> {
        match field {
            "data" => {
                if self.pending.data.len() + value.len() >= DATA_BYTES_MAX {
                    return Err(SseError::TooLong);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.pending.data.push('\n');
                }
                self.pending.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.pending.event),
            "id" if !value.contains('\0') => value.clone_into(&mut self.pending.id),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok();
            }
            // An empty field name is a comment; unknown fields are ignored, as the standard says.
            _ => {}
        }
        Ok(())
    }

    /// An event without a data line is not delivered, but its id counts.
    fn end_event(&mut self, events: &mut Vec<SseEvent>) {
        let next = SseEvent { id: self.pending.id.clone(), ..SseEvent::default() };
        let event = std::mem::replace(&mut self.pending, next);
        if std::mem::take(&mut self.has_data) {
            events.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<SseEvent>, SseError> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut events)?;
        }
        Ok(events)
    }

    fn event(id: &str, event: &str, data: &str) -> SseEvent {
        SseEvent { id: id.into(), event: event.into(), data: data.into() }
    }

    #[test]
    fn an_event_is_complete_at_its_empty_line() {
        let text = b"id: e-1\nevent: file_uploaded\ndata: {\"a\":1}\n\nid: e-2\ndata: {";
        assert_eq!(read(&[text]).unwrap(), [event("e-1", "file_uploaded", "{\"a\":1}")]);
    }

    #[test]
    fn where_the_pieces_are_cut_does_not_matter() {
        let text =
            "\u{feff}: hello\r\nid:1\r\ndata: é\r\ndata:  b\r\n\r\ndata\n\ndata: z\r\rid: 3\n\n".as_bytes();
        let whole = read(&[text]).unwrap();
        assert_eq!(whole, [event("1", "", "é\n b"), event("1", "", ""), event("1", "", "z")]);
        for cut in 0..text.len() {
            assert_eq!(read(&[&text[..cut], &text[cut..]]).unwrap(), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(read(&single).unwrap(), whole);
    }

    #[test]
    fn comments_and_unknown_fields_are_ignored_and_an_id_alone_is_kept() {
        let text = b": beat\n\nnonsense: 1\nid: 7\n\nid: a\0b\ndata: x\n\n";
        assert_eq!(read(&[text]).unwrap(), [event("7", "", "x")]);
    }

    #[test]
    fn the_server_may_ask_for_a_pause() {
        let mut parser = SseParser::default();
        parser.feed(b"retry: 1500\nretry: soon\n\n", &mut Vec::new()).unwrap();
        assert_eq!(parser.retry_ms(), Some(1500));
    }

    #[test]
    fn a_stream_that_would_fill_the_memory_is_refused() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(read(&[b"data: ", &long]), Err(SseError::TooLong));
        let mut line = b"data: ".to_vec();
        line.resize(LINE_BYTES_MAX - 1, b'y');
        line.push(b'\n');
        assert_eq!(read(&[&line, &line, &line, &line, &line]), Err(SseError::TooLong));
        assert_eq!(read(&[b"data: \xff\n"]), Err(SseError::NotUtf8));
    }
}
