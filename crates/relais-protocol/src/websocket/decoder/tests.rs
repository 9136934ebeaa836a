use proptest::prelude::*;

use super::super::encode_masked;
use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMITS: Limits =
    Limits { frame_bytes: 70_000, message_bytes: 100_000, fragments: 8, deflate: false, any_text: false };

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl Said {
    fn of(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Message::Close(close) => Self::Close(close.map(|c| (c.code, c.reason.to_owned()))),
        }
    }
}

/// Feeds `pieces` one after the other and returns the messages before the end or the error.
fn read(limits: Limits, pieces: &[&[u8]]) -> (Vec<Said>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new(limits);
    let mut said = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = &mut bytes[..];
        loop {
            match decoder.next(&mut input) {
                Ok(Some(message)) => said.push(Said::of(message)),
                Ok(None) => break,
                Err(error) => return (said, Err(error)),
            }
        }
        assert!(input.is_empty(), "the decoder asks for more only when it has read everything");
    }
    (said, Ok(()))
}

fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_masked(opcode, fin, payload, KEY, &mut out);
    out
}

fn refused(bytes: &[u8]) -> ProtocolError {
    let error = read(LIMITS, &[bytes]).1.expect_err("the frame must be refused");
    let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(LIMITS, &one_by_one).1, Err(error), "whole and byte by byte agree");
    error
}

#[test]
fn a_frame_that_arrived_whole_is_borrowed_and_nothing_is_kept() {
    let mut bytes = frame(Opcode::Text, true, "Bonjour à tous".as_bytes());
    let range = bytes.as_ptr_range();
    let mut decoder = Decoder::new(LIMITS);
    let mut input = &mut bytes[..];
    let Ok(Some(Message::Text(text))) = decoder.next(&mut input) else { panic!("one text") };
    assert!(range.contains(&text.as_ptr()));
    assert_eq!(decoder.kept_bytes(), 0);
}

#[test]
fn what_was_kept_for_an_incomplete_frame_is_released_with_the_next_call() {
    let bytes = frame(Opcode::Binary, true, &[7; 5000]);
    let (mut front, mut back) = (bytes[..1000].to_vec(), bytes[1000..].to_vec());
    let mut decoder = Decoder::new(LIMITS);
    assert_eq!(decoder.next(&mut &mut front[..]), Ok(None));
    assert!(decoder.kept_bytes() >= 1000);
    let mut input = &mut back[..];
    assert_eq!(decoder.next(&mut input), Ok(Some(Message::Binary(&[7; 5000]))));
    assert_eq!(decoder.next(&mut input), Ok(None));
    assert_eq!(decoder.kept_bytes(), 0);
}

#[test]
fn the_heads_of_frames_are_checked_strictly() {
    assert_eq!(refused(&[0x81, 0x05, b'H']), ProtocolError::NotMasked);
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(refused(&[0x81 | bit]), ProtocolError::ReservedBits);
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        assert_eq!(refused(&[0x80 | opcode]), ProtocolError::UnknownOpcode(opcode));
    }
    assert_eq!(refused(&[0x82, 0xfe, 0, 125]), ProtocolError::LengthForm);
    assert_eq!(refused(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), ProtocolError::LengthForm);
    assert_eq!(refused(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0]), ProtocolError::LengthForm);
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [0x8, 0x9, 0xa] {
        assert_eq!(refused(&[opcode, 0x80]), ProtocolError::ControlFragmented);
        assert_eq!(refused(&[0x80 | opcode, 0xfe]), ProtocolError::ControlTooLong);
    }
    let ping = frame(Opcode::Ping, true, &[1; 125]);
    assert_eq!(read(LIMITS, &[&ping]), (vec![Said::Ping(vec![1; 125])], Ok(())));
}

#[test]
fn fragments_are_joined_and_control_frames_may_come_between() {
    let bytes = [
        frame(Opcode::Text, false, b"Bon"),
        frame(Opcode::Ping, true, b"?"),
        frame(Opcode::Continuation, false, b""),
        frame(Opcode::Continuation, true, b"jour"),
        frame(Opcode::Text, true, b"!"),
    ]
    .concat();
    let said = vec![Said::Ping(b"?".to_vec()), Said::Text("Bonjour".into()), Said::Text("!".into())];
    assert_eq!(read(LIMITS, &[&bytes]), (said, Ok(())));
}

#[test]
fn fragments_out_of_order_are_refused() {
    assert_eq!(refused(&frame(Opcode::Continuation, true, b"x")), ProtocolError::UnexpectedContinuation);
    let twice = [frame(Opcode::Text, false, b"a"), frame(Opcode::Text, true, b"b")].concat();
    assert_eq!(refused(&twice), ProtocolError::ExpectedContinuation);
}

#[test]
fn limits_hold_for_frames_messages_and_fragments() {
    let huge = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x71];
    assert_eq!(refused(&huge), ProtocolError::FrameTooLarge(70_000));
    let half = frame(Opcode::Binary, false, &[0; 60_000]);
    let more = frame(Opcode::Continuation, true, &[0; 60_000]);
    assert_eq!(refused(&[half, more].concat()), ProtocolError::MessageTooLarge(100_000));
    let mut many = frame(Opcode::Binary, false, b"");
    (0..8).for_each(|_| many.extend(frame(Opcode::Continuation, false, b"")));
    assert_eq!(refused(&many), ProtocolError::TooManyFragments(8));
    let small = Limits { frame_bytes: 100, message_bytes: 50, fragments: 2, deflate: false, any_text: false };
    let over = frame(Opcode::Text, true, &[b'x'; 51]);
    assert_eq!(read(small, &[&over]).1, Err(ProtocolError::MessageTooLarge(50)));
    for error in [ProtocolError::FrameTooLarge(1), ProtocolError::MessageTooLarge(1)] {
        assert_eq!(error.close_code(), 1009);
    }
}

#[test]
fn text_is_utf_8_also_across_fragments_and_fails_at_the_first_wrong_one() {
    let e = "é".as_bytes();
    let split = [frame(Opcode::Text, false, &e[..1]), frame(Opcode::Continuation, true, &e[1..])].concat();
    assert_eq!(read(LIMITS, &[&split]), (vec![Said::Text("é".into())], Ok(())));
    assert_eq!(refused(&frame(Opcode::Text, true, &[0xff])), ProtocolError::NotUtf8);
    assert_eq!(refused(&frame(Opcode::Text, false, &[0xc3, 0x28])), ProtocolError::NotUtf8);
    let cut = [frame(Opcode::Text, false, b"a"), frame(Opcode::Continuation, true, &e[..1])].concat();
    assert_eq!(refused(&cut), ProtocolError::NotUtf8);
    assert_eq!(refused(&frame(Opcode::Text, true, b"\xed\xa0\x80")), ProtocolError::NotUtf8);
    assert_eq!(ProtocolError::NotUtf8.close_code(), 1007);
}

#[test]
fn close_codes_that_may_not_be_sent_are_refused() {
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let close = frame(Opcode::Close, true, &code.to_be_bytes());
        assert_eq!(refused(&close), ProtocolError::CloseCode(code));
    }
    for code in [1000_u16, 1003, 1007, 1014, 3000, 4008, 4999] {
        let close = frame(Opcode::Close, true, &code.to_be_bytes());
        assert_eq!(read(LIMITS, &[&close]), (vec![Said::Close(Some((code, String::new())))], Ok(())));
    }
    assert_eq!(refused(&frame(Opcode::Close, true, &[3])), ProtocolError::CloseLength);
    assert_eq!(refused(&frame(Opcode::Close, true, &[3, 0xe8, 0xff])), ProtocolError::NotUtf8);
}

#[test]
fn nothing_is_read_after_a_close_frame() {
    let bytes = [frame(Opcode::Close, true, b""), vec![0xff; 20]].concat();
    assert_eq!(read(LIMITS, &[&bytes, b"\xff\xff"]), (vec![Said::Close(None)], Ok(())));
}

fn data_message() -> impl Strategy<Value = (Said, Vec<Vec<u8>>)> {
    let payload = prop_oneof![
        "\\PC{0,40}".prop_map(Said::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Said::Binary),
        prop::collection::vec(any::<u8>(), 65_530..65_540).prop_map(Said::Binary),
    ];
    (payload, prop::collection::vec(any::<prop::sample::Index>(), 0..4), any::<[u8; 4]>()).prop_map(
        |(said, cuts, key)| {
            let (opcode, bytes) = match &said {
                Said::Text(text) => (Opcode::Text, text.clone().into_bytes()),
                Said::Binary(bytes) => (Opcode::Binary, bytes.clone()),
                other => panic!("{other:?} is no data message"),
            };
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.sort_unstable();
            ends.push(bytes.len());
            let mut start = 0;
            let mut frames = Vec::new();
            for (i, &end) in ends.iter().enumerate() {
                let opcode = if i == 0 { opcode } else { Opcode::Continuation };
                let mut frame = Vec::new();
                encode_masked(opcode, i + 1 == ends.len(), &bytes[start..end], key, &mut frame);
                frames.push(frame);
                start = end;
            }
            (said, frames)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_same_messages_come_out_however_the_stream_is_cut(
        messages in prop::collection::vec(data_message(), 0..5),
        pings in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..125)), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let mut frames: Vec<(Vec<u8>, Option<Said>)> = Vec::new();
        for (said, parts) in messages {
            let last = parts.len() - 1;
            frames.extend(parts.into_iter().enumerate().map(|(i, f)| (f, (i == last).then(|| said.clone()))));
        }
        for (place, payload) in pings {
            let at = place.index(frames.len() + 1);
            frames.insert(at, (frame(Opcode::Ping, true, &payload), Some(Said::Ping(payload))));
        }
        let expected: Vec<Said> = frames.iter().filter_map(|(_, said)| said.clone()).collect();
        let stream: Vec<u8> = frames.into_iter().flat_map(|(bytes, _)| bytes).collect();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        ends.extend([0, stream.len()]);
        ends.sort_unstable();
        let pieces: Vec<&[u8]> = ends.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let limits = Limits { frame_bytes: 1 << 20, message_bytes: 1 << 20, fragments: 8, deflate: false, any_text: false };
        prop_assert_eq!(read(limits, &pieces), (expected, Ok(())));
    }

    #[test]
    fn noise_never_panics_and_never_exceeds_the_limits(noise: Vec<u8>) {
        let (said, _) = read(LIMITS, &noise.chunks(7).collect::<Vec<_>>());
        prop_assert!(said.len() <= noise.len());
    }
}

// ---- Compressed messages (RFC 7692) ----

/// "Hello", compressed (section 7.2.3.1).
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn compressed(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = frame(opcode, fin, payload);
    out[0] |= 0x40;
    out
}

#[test]
fn a_text_that_is_not_utf_8_is_handed_out_as_bytes_where_that_is_asked_for() {
    let latin_1 = b"21.5 \xb0C";
    let in_fragments =
        [frame(Opcode::Text, false, &latin_1[..6]), frame(Opcode::Continuation, true, &latin_1[6..])]
            .concat();
    for wire in [frame(Opcode::Text, true, latin_1), in_fragments] {
        assert_eq!(refused(&wire), ProtocolError::NotUtf8);
        let wire = [wire, frame(Opcode::Text, true, "21.5 °C".as_bytes())].concat();
        let pieces: Vec<&[u8]> = wire.chunks(1).collect();
        let expected = vec![Said::Binary(latin_1.to_vec()), Said::Text("21.5 °C".into())];
        for pieces in [&[&wire[..]][..], &pieces] {
            assert_eq!(read(Limits { any_text: true, ..LIMITS }, pieces), (expected.clone(), Ok(())));
        }
    }
}

fn agreed() -> Limits {
    Limits { deflate: true, ..LIMITS }
}

#[test]
fn a_compressed_message_is_read_whole_in_pieces_and_in_fragments() {
    let whole = compressed(Opcode::Text, true, &HELLO);
    let in_fragments = [
        compressed(Opcode::Text, false, &HELLO[..3]),
        frame(Opcode::Ping, true, b"p"),
        frame(Opcode::Continuation, true, &HELLO[3..]),
        frame(Opcode::Text, true, b"plain"),
    ]
    .concat();
    let hello = || Said::Text("Hello".into());
    for (wire, expected) in [
        (whole, vec![hello()]),
        (in_fragments, vec![Said::Ping(b"p".to_vec()), hello(), Said::Text("plain".into())]),
    ] {
        let pieces: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(read(agreed(), &[&wire]), (expected.clone(), Ok(())));
        assert_eq!(read(agreed(), &pieces), (expected, Ok(())));
    }
}

#[test]
fn only_the_first_frame_of_a_message_is_marked_and_only_if_that_was_agreed() {
    assert_eq!(refused(&compressed(Opcode::Text, true, &HELLO)), ProtocolError::ReservedBits);
    for wire in [
        compressed(Opcode::Ping, true, b""),
        [frame(Opcode::Text, false, b"a"), compressed(Opcode::Continuation, true, b"b")].concat(),
    ] {
        assert_eq!(read(agreed(), &[&wire]).1, Err(ProtocolError::ReservedBits));
    }
}

#[test]
fn a_compressed_message_is_checked_as_it_is_unpacked() {
    let (mut plain, mut bomb) = (Vec::new(), Vec::new());
    super::super::encode_frame(Opcode::Text, &vec![b'x'; 100_001], &mut plain);
    super::super::compress_frames(&plain, &mut bomb);
    let payload = &bomb[4..];
    assert!(payload.len() < 1_000);
    let wire = compressed(Opcode::Text, true, payload);
    assert_eq!(read(agreed(), &[&wire]).1, Err(ProtocolError::MessageTooLarge(100_000)));

    let wire = compressed(Opcode::Text, true, b"not compressed");
    assert_eq!(read(agreed(), &[&wire]).1, Err(ProtocolError::Compression));

    // A stored block with a byte that is not UTF-8.
    let wire = compressed(Opcode::Text, true, &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00]);
    assert_eq!(read(agreed(), &[&wire]).1, Err(ProtocolError::NotUtf8));
    let wire = compressed(Opcode::Binary, true, &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00]);
    assert_eq!(read(agreed(), &[&wire]).0, [Said::Binary(vec![0xff])]);
}
