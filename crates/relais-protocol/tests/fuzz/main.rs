//! The functions of the fuzz targets on their seed corpus and on a fixed set of mutations of it.

#![expect(clippy::disallowed_methods, reason = "tests begin at some moment, whichever it is")]
#![expect(clippy::unwrap_used, reason = "a test, and what it shares")]

mod corpus;
mod decoder;
mod engineio_payload;
mod engineio_session;
mod round_trip;
mod socketio_decoder;
mod socketio_msgpack;
mod socketio_session;

use corpus::run;

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
