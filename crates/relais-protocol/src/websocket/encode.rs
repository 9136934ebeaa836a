//! Encoding frames.

use super::header::{CONTROL_BYTES_MAX, Opcode};
use super::mask::apply_mask;

pub(super) const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Appends a whole unmasked frame, as a server sends it (section 5.1).
pub fn encode_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let (head, head_bytes) = head(opcode, true, payload.len(), 0);
    out.reserve(head_bytes + payload.len());
    out.extend_from_slice(&head[..head_bytes]);
    out.extend_from_slice(payload);
}

/// Appends an unmasked text frame whose payload `write` appends: for serialisers that do not know the length in
/// advance. `write` must only append, and append UTF-8.
pub fn text_frame_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // Most events take the four-byte header; the payload is moved only if it is shorter or much longer.
    const GUESS: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; GUESS]);
    write(out);
    let length = out.len() - start - GUESS;
    let (head, head_bytes) = head(Opcode::Text, true, length, 0);
    out.resize(out.len() + head_bytes.saturating_sub(GUESS), 0);
    out.copy_within(start + GUESS..start + GUESS + length, start + head_bytes);
    out.truncate(start + head_bytes + length);
    out[start..start + head_bytes].copy_from_slice(&head[..head_bytes]);
}

/// Appends a close frame (section 5.5.1). A reason that does not fit is cut at a character boundary.
pub fn close_frame(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut fits = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(fits) {
        fits -= 1;
    }
    let reason = &reason[..fits];
    let (head, head_bytes) = head(Opcode::Close, true, 2 + reason.len(), 0);
    out.extend_from_slice(&head[..head_bytes]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a masked frame, as a client sends it (section 5.3). A real client takes `key` from a strong source of
/// randomness for every frame.
pub fn encode_masked(opcode: Opcode, fin: bool, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    let (head, head_bytes) = head(opcode, fin, payload.len(), MASKED);
    out.extend_from_slice(&head[..head_bytes]);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], key);
}

/// Length of the unmasked frame at the front of `wire`, header included; `None` if its header is incomplete.
#[must_use]
pub fn frame_len(wire: &[u8]) -> Option<usize> {
    let rest = wire.get(2..)?;
    match wire[1] & 0x7f {
        126 => Some(4 + usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?.checked_add(10),
        length => Some(2 + usize::from(length)),
    }
}

/// Length of the header of the unmasked frame at the front of `wire`, which is complete.
#[must_use]
pub fn head_len(wire: &[u8]) -> usize {
    match wire[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// The header of a frame up to the mask, in the shortest form (section 5.2), and its length.
#[expect(clippy::cast_possible_truncation, reason = "each arm's range fits")]
fn head(opcode: Opcode, fin: bool, length: usize, masked: u8) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = opcode as u8 | if fin { FIN } else { 0 };
    let head_bytes = match length {
        0..=125 => {
            head[1] = length as u8;
            2
        }
        126..=0xffff => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    head[1] |= masked;
    (head, head_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_the_rfc_are_written_as_it_shows_them() {
        let mut out = Vec::new();
        encode_frame(Opcode::Text, b"Hello", &mut out);
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        out.clear();
        encode_masked(Opcode::Text, true, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut out);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        out.clear();
        encode_frame(Opcode::Binary, &[0; 256], &mut out);
        assert_eq!(out[..4], [0x82, 0x7e, 0x01, 0x00]);
        out.clear();
        encode_frame(Opcode::Binary, &[0; 65536], &mut out);
        assert_eq!(out[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_frame_written_in_place_is_the_same_as_one_of_known_length() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; length];
            let (mut known, mut in_place) = (b"before".to_vec(), b"before".to_vec());
            encode_frame(Opcode::Text, &payload, &mut known);
            text_frame_with(&mut in_place, |out| out.extend_from_slice(&payload));
            assert!(known == in_place, "{length}");
            assert_eq!(frame_len(&known[6..]), Some(known.len() - 6));
        }
    }

    #[test]
    fn a_long_close_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        close_frame(1008, &"é".repeat(100), &mut out);
        assert_eq!(out.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }

    #[test]
    fn the_length_of_half_a_head_is_not_known() {
        for head in [&[][..], &[0x81], &[0x81, 126, 1], &[0x81, 127, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(frame_len(head), None);
        }
    }
}
