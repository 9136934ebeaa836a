//! Compressed messages (RFC 7692, permessage-deflate), each on its own: without context takeover on either side, so
//! that one compressed frame serves every connection and none keeps a window.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::ProtocolError;
use super::encode::{FIN, encode_frame, frame_len, head_len};
use super::header::Opcode;

/// The end of every compressed message, omitted on the wire (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// RSV1 marks a compressed message (section 6).
pub(super) const COMPRESSED: u8 = 0x40;
thread_local! {
    // Their tables are larger than most messages, and each message starts from a reset state.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Messages below this size are not worth compressing.
const MIN_BYTES: usize = 256;

/// Growth of the buffer that a message is decompressed into.
const STEP_BYTES: usize = 4 * 1024;

/// The response to a client's offers (the values of `Sec-WebSocket-Extensions`), if one is acceptable: both sides
/// compress each message on its own (section 7.1).
#[must_use]
pub fn accept_deflate<'a>(offers: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    let mut each = offers.into_iter().flat_map(|value| value.split(','));
    each.any(is_acceptable)
        .then_some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
}

/// An offer that requires a smaller window from the server is not acceptable: the shared frames use the default one.
fn is_acceptable(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    parts.next() == Some("permessage-deflate")
        && parts.all(|parameter| match parameter.split_once('=').unwrap_or((parameter, "")) {
            ("server_no_context_takeover" | "client_no_context_takeover", "") => true,
            ("client_max_window_bits", bits) => bits.is_empty() || is_window(bits),
            ("server_max_window_bits", bits) => bits.trim_matches('"') == "15",
            _ => false,
        })
}

fn is_window(bits: &str) -> bool {
    bits.trim_matches('"').parse().is_ok_and(|bits: u8| (8..=15).contains(&bits))
}

/// Appends whole frames that a server sends, compressing those messages that become shorter.
pub fn compress_frames(mut wire: &[u8], out: &mut Vec<u8>) {
    while let Some(length) = frame_len(wire).filter(|length| *length <= wire.len()) {
        let (frame, rest) = wire.split_at(length);
        let payload = &frame[head_len(frame)..];
        let opcode =
            [Opcode::Text, Opcode::Binary].into_iter().find(|opcode| frame[0] == FIN | *opcode as u8);
        match opcode.filter(|_| payload.len() >= MIN_BYTES) {
            Some(opcode) => encode_compressed(opcode, payload, out),
            None => out.extend_from_slice(frame),
        }
        wire = rest;
    }
    out.extend_from_slice(wire);
}

/// Appends a whole compressed frame, or an uncompressed one if that is shorter.
pub(super) fn encode_compressed(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    match compress(payload) {
        Some(packed) if packed.len() < payload.len() => {
            encode_frame(opcode, &packed, out);
            out[start] |= COMPRESSED;
        }
        _ => encode_frame(opcode, payload, out),
    }
}

fn compress(payload: &[u8]) -> Option<Vec<u8>> {
    COMPRESS.with_borrow_mut(|stream| {
        stream.reset();
        compress_with(stream, payload)
    })
}

fn compress_with(stream: &mut Compress, payload: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(payload.len() / 2 + 64);
    loop {
        let read = usize::try_from(stream.total_in()).ok()?;
        stream.compress_vec(&payload[read..], &mut packed, FlushCompress::Sync).ok()?;
        if packed.len() < packed.capacity() {
            break;
        }
        packed.reserve(packed.len().max(64));
    }
    packed.truncate(packed.strip_suffix(&TAIL)?.len());
    Some(packed)
}

/// Decompresses the payload of a compressed message; stops where it exceeds `bytes_max`.
pub(super) fn unpack(payload: &[u8], bytes_max: u32) -> Result<Vec<u8>, ProtocolError> {
    DECOMPRESS.with_borrow_mut(|stream| {
        stream.reset(false);
        unpack_with(stream, payload, bytes_max)
    })
}

fn unpack_with(stream: &mut Decompress, payload: &[u8], bytes_max: u32) -> Result<Vec<u8>, ProtocolError> {
    let mut whole = Vec::new();
    for input in [payload, &TAIL] {
        let mut input = input;
        loop {
            if whole.len() > bytes_max as usize {
                return Err(ProtocolError::MessageTooLarge(bytes_max));
            }
            // One byte more than allowed shows that there is more.
            let room = (bytes_max as usize + 1 - whole.len()).min(STEP_BYTES);
            whole.reserve_exact(room);
            let before = (stream.total_in(), whole.len());
            let status = stream.decompress_vec(input, &mut whole, FlushDecompress::Sync);
            let status = status.map_err(|_| ProtocolError::Compression)?;
            let read = usize::try_from(stream.total_in() - before.0).unwrap_or(usize::MAX);
            input = &input[read.min(input.len())..];
            let stuck = read == 0 && whole.len() == before.1;
            if status == Status::StreamEnd || stuck || (input.is_empty() && whole.len() < whole.capacity()) {
                break;
            }
        }
        if !input.is_empty() {
            // A final block in the middle of a message (section 7.2.3.5) ends the stream: nothing may follow it.
            return Err(ProtocolError::Compression);
        }
    }
    if whole.len() > bytes_max as usize {
        return Err(ProtocolError::MessageTooLarge(bytes_max));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(payload: &[u8], bytes_max: u32) -> Result<Vec<u8>, ProtocolError> {
        unpack(&compress(payload).unwrap(), bytes_max)
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // Section 7.2.3.1 and, uncompressed, 7.2.3.3.
        assert_eq!(unpack(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100).unwrap(), b"Hello");
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        assert_eq!(unpack(&stored, 100).unwrap(), b"Hello");
    }

    #[test]
    fn a_small_message_that_would_be_huge_is_stopped_at_the_limit() {
        let bomb = compress(&vec![0; 50_000_000]).unwrap();
        assert!(bomb.len() < 400_000);
        assert_eq!(unpack(&bomb, 1_000), Err(ProtocolError::MessageTooLarge(1_000)));
        assert_eq!(round_trip(&[7; 1_000], 1_000).unwrap().len(), 1_000);
        assert_eq!(round_trip(&[7; 1_001], 1_000), Err(ProtocolError::MessageTooLarge(1_000)));
    }

    #[test]
    fn what_is_not_compressed_is_refused() {
        for wrong in [&[0xff, 0xff, 0xff][..], b"Hello", &[0x07]] {
            assert_eq!(unpack(wrong, 100), Err(ProtocolError::Compression), "{wrong:?}");
        }
    }

    #[test]
    fn offers_are_taken_that_leave_each_message_on_its_own() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=12; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ] {
            assert!(accept_deflate([offer]).is_some(), "{offer}");
        }
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; a=1",
        ] {
            assert!(accept_deflate([offer]).is_none(), "{offer}");
        }
    }

    #[test]
    fn what_does_not_shrink_is_sent_as_it_is() {
        let mut out = Vec::new();
        encode_compressed(Opcode::Text, b"x", &mut out);
        assert_eq!(out, [0x81, 1, b'x']);
        out.clear();
        encode_compressed(Opcode::Text, &[b'x'; 500], &mut out);
        assert_eq!(out[0], 0xc1);
        assert!(out.len() < 50);
    }

    #[test]
    fn frames_are_compressed_that_become_shorter_and_others_stay() {
        let mut wire = Vec::new();
        for (opcode, payload) in [
            (Opcode::Text, &[b'x'; 1_000][..]),
            (Opcode::Ping, b"?"),
            (Opcode::Text, b"short"),
            (Opcode::Binary, &[0; 70_000]),
        ] {
            encode_frame(opcode, payload, &mut wire);
        }
        let (mut out, mut heads) = (Vec::new(), Vec::new());
        compress_frames(&wire, &mut out);
        assert!(out.len() < 500);
        let mut rest = &out[..];
        while !rest.is_empty() {
            heads.push(rest[0]);
            rest = &rest[frame_len(rest).unwrap()..];
        }
        assert_eq!(heads, [0xc1, 0x89, 0x81, 0xc2]);
    }

    proptest! {
        #[test]
        fn any_payload_comes_out_as_it_went_in(payload in prop::collection::vec(any::<u8>(), 0..20_000)) {
            prop_assert_eq!(round_trip(&payload, 20_000).unwrap(), payload);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read = unpack(&bytes, 1_000);
            prop_assert!(read.is_err() || read.unwrap().len() <= 1_000);
        }
    }
}
