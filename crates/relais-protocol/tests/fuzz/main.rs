//! The functions of the fuzz targets on their seed corpus and on a fixed set of variations of it.

#![expect(clippy::unwrap_used, reason = "a test, and what it shares")]

mod decoder;
mod engineio_payload;
mod engineio_session;
mod round_trip;
mod socketio_decoder;
mod socketio_msgpack;
mod socketio_session;

use std::path::Path;

/// A small generator of its own, so that every run tries the same inputs (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("less than a usize")
    }
}

/// Runs `target` on every seed and on variations of it: bytes changed, doubled and cut out.
fn run(corpus: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 3, "{} has a few seeds", folder.display());
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        let bytes = std::fs::read(seed).unwrap();
        target(&bytes);
        for _ in 0..4000 {
            let mut varied = bytes.clone();
            for _ in 0..=chance.below(4) {
                vary(&mut varied, &mut chance);
            }
            target(&varied);
        }
    }
}

fn vary(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    match chance.below(4) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 => bytes.insert(at, u8::try_from(chance.below(256)).expect("below 256")),
        _ => {
            let tail = bytes[at..].to_vec();
            bytes.extend_from_slice(&tail[..tail.len().min(300)]);
        }
    }
}

#[test]
fn the_decoder_says_the_same_whole_and_in_pieces_whatever_comes() {
    run("websocket_decoder", decoder::whole_and_in_pieces);
}

#[test]
fn what_a_client_encodes_is_what_the_server_reads() {
    run("websocket_round_trip", round_trip::encoded_and_read_back);
}

#[test]
fn a_payload_that_is_accepted_is_read_the_same_when_it_is_written_again() {
    run("engineio_payload", engineio_payload::read_and_written_again);
}

#[test]
fn a_session_answers_everything_once_and_in_order_whatever_happens() {
    run("engineio_session", engineio_session::any_order_of_events);
}

#[test]
fn a_socketio_packet_that_is_accepted_is_read_the_same_when_it_is_written_again() {
    run("socketio_decoder", socketio_decoder::read_and_written_again);
}

#[test]
fn a_msgpack_packet_that_is_accepted_is_read_the_same_when_it_is_written_again() {
    run("socketio_msgpack", socketio_msgpack::read_and_written_again);
}

#[test]
fn a_socketio_connection_keeps_its_rules_whatever_comes() {
    run("socketio_session", socketio_session::any_messages);
}
