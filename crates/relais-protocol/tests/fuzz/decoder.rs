//! Arbitrary bytes, split anywhere.

use relais_protocol::websocket::{Decoder, Limits, ProtocolError};

const LIMITS: Limits =
    Limits { frame_bytes: 2_000, message_bytes: 3_000, fragments: 8, deflate: true, any_text: false };

/// The first byte chooses where the rest is split. Whole, split, and byte by byte must give the same result, and the
/// decoder never buffers much more than a message and a frame.
pub fn whole_and_in_pieces(data: &[u8]) {
    let Some((&cut, wire)) = data.split_first() else { return };
    let whole = read(&[wire]);
    let (front, back) = wire.split_at(usize::from(cut).min(wire.len()));
    assert_eq!(read(&[front, back]), whole);
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    assert_eq!(read(&bytes), whole);
}

fn read(pieces: &[&[u8]]) -> (Vec<String>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut said = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = &mut bytes[..];
        loop {
            match decoder.next(&mut input) {
                Ok(Some(message)) => said.push(format!("{message:?}")),
                Ok(None) => break,
                Err(error) => return (said, Some(error)),
            }
        }
        assert!(input.is_empty(), "more is asked for only when all is read");
        assert!(decoder.kept_bytes() <= 4 * (2_000 + 3_000), "{} bytes kept", decoder.kept_bytes());
    }
    (said, None)
}
