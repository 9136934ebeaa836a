//! Arbitrary messages, in arbitrary fragments.

use relais_protocol::websocket::{Decoder, Limits, Message, Opcode, encode_masked};

/// The first four bytes are the mask, the fifth the size of a fragment, the rest the message: text if it is UTF-8.
pub fn encoded_and_read_back(data: &[u8]) {
    let Some((&[a, b, c, d, size], payload)) = data.split_first_chunk::<5>() else { return };
    let text = std::str::from_utf8(payload).ok();
    let mut wire = Vec::new();
    let fragments: Vec<&[u8]> = match payload.chunks(usize::from(size).max(1)).collect::<Vec<_>>() {
        none if none.is_empty() => vec![&[]],
        some => some,
    };
    for (i, fragment) in fragments.iter().enumerate() {
        let opcode = match (i, text) {
            (0, Some(_)) => Opcode::Text,
            (0, None) => Opcode::Binary,
            _ => Opcode::Continuation,
        };
        encode_masked(opcode, i + 1 == fragments.len(), fragment, [a, b, c, d], &mut wire);
    }
    let limits = Limits {
        frame_bytes: u32::MAX,
        message_bytes: u32::MAX,
        fragments: u32::MAX,
        deflate: false,
        any_text: false,
    };
    let mut decoder = Decoder::new(limits);
    let mut input = &mut wire[..];
    let expected = text.map_or(Message::Binary(payload), Message::Text);
    assert_eq!(decoder.next(&mut input), Ok(Some(expected)));
    assert_eq!(decoder.next(&mut input), Ok(None));
}
