//! The messages that are said: 128 bytes of JSON with a number.

/// Bytes of one message.
pub(crate) const MESSAGE_BYTES: usize = 128;
const DIGITS: usize = 12;
const BEFORE_PADDING: &[u8] = b"\",\"text\":\"";
const END: &[u8] = b"\"}";

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To find out whether everybody is there.
    WarmUp,
    /// To be measured.
    Counted,
}

impl Kind {
    fn start(self) -> &'static [u8] {
        match self {
            Self::WarmUp => b"{\"a\":\"",
            Self::Counted => b"{\"n\":\"",
        }
    }
}

/// Appends the message with this number.
pub(crate) fn write_message(kind: Kind, number: u64, out: &mut Vec<u8>) {
    let end = out.len() + MESSAGE_BYTES;
    out.extend_from_slice(kind.start());
    out.extend_from_slice(format!("{number:0DIGITS$}").as_bytes());
    out.extend_from_slice(BEFORE_PADDING);
    out.resize(end - END.len(), b'x');
    out.extend_from_slice(END);
}

/// The kind and number of a message; none if any byte of it is not as it was written.
pub(crate) fn read_message(message: &[u8]) -> Option<(Kind, u64)> {
    let kind = [Kind::Counted, Kind::WarmUp].into_iter().find(|kind| message.starts_with(kind.start()))?;
    let (digits, rest) = message.get(kind.start().len()..)?.split_at_checked(DIGITS)?;
    let padding = rest.strip_prefix(BEFORE_PADDING)?.strip_suffix(END)?;
    let whole = message.len() == MESSAGE_BYTES && padding.iter().all(|byte| *byte == b'x');
    let number = digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))?;
    whole.then_some((kind, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut message = Vec::new();
        write_message(Kind::Counted, 4711, &mut message);
        assert_eq!(message.len(), MESSAGE_BYTES);
        assert_eq!(read_message(&message), Some((Kind::Counted, 4711)));
        assert!(serde_json::from_slice::<serde_json::Value>(&message).is_ok());
    }

    #[test]
    fn a_message_with_one_other_byte_is_none() {
        let mut message = Vec::new();
        write_message(Kind::WarmUp, 0, &mut message);
        for place in 0..MESSAGE_BYTES {
            let mut other = message.clone();
            other[place] ^= 0x80;
            assert_eq!(read_message(&other), None, "byte {place}");
        }
        assert_eq!(read_message(&message[..MESSAGE_BYTES - 1]), None);
    }
}
