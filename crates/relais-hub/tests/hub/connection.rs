use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use relais_hub::{CloseCode, Ended, Flow, StartPosition, Transport, run_socket};
use relais_protocol::event::Cursor;
use relais_protocol::websocket::{Limits, Opcode, ProtocolError, encode_masked};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::support::{Client, EPOCH, Echo, Silent, World, channel, no_preface, soon, spec, still, text};

#[tokio::test]
async fn messages_are_handled_one_after_the_other_also_when_one_takes_time() {
    let world = World::new();
    let mut client = world.connect_as("a", "plain", Echo(world.hub.clone())).await;
    for said in ["one", "later two", "three", "later four", "five"] {
        client.socket.feed(Message::text(said)).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let expected =
        ["you said one", "you said later two", "you said three", "you said later four", "you said five"];
    assert_eq!(client.texts(5).await, expected);
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let world = World::new();
    let mut client = world.connect("a").await;
    client.socket.send(Message::Ping(Bytes::from_static(b"still there?"))).await.unwrap();
    let answer = soon("a pong", client.socket.next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong(Bytes::from_static(b"still there?")));
}

#[tokio::test]
async fn a_client_that_closes_is_answered_and_gone_from_its_channels() {
    let world = World::new();
    let mut client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    client.socket.close(Some(CloseFrame { code: 1000.into(), reason: "bye".into() })).await.unwrap();
    assert_eq!(client.next().await, Err(1000));
    assert_eq!(client.end().await, Ended::ByClient(Some(1000)));
    world.hub.settled().await;
    assert_eq!((world.hub.stats().sessions, world.hub.stats().subscriptions), (0, 0));
}

#[tokio::test]
async fn a_receiver_can_close_and_what_waits_comes_first() {
    let world = World::new();
    let mut client = world.connect_as("a", "plain", Echo(world.hub.clone())).await;
    client.say("hello").await;
    client.say("close").await;
    assert_eq!(client.next().await.unwrap(), "you said hello");
    assert_eq!(client.next().await, Err(1000));
    assert_eq!(client.end().await, Ended::ByServer(CloseCode::Normal));
}

#[tokio::test]
async fn binary_messages_are_refused_unless_the_dialect_takes_them() {
    let world = World::new();
    let mut client = world.connect("a").await;
    client.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.next().await, Err(1003));
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_how() {
    for (wire, code, error) in [
        (&[0x81, 0x01, b'x'][..], 1002, ProtocolError::NotMasked),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007, ProtocolError::NotUtf8),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 2, 0, 0], 1009, ProtocolError::FrameTooLarge(65_536)),
    ] {
        let world = World::new();
        let (near, mut far) = world.sockets().await;
        let session = world.hub.open(spec("a", "plain", Transport::socket(near))).unwrap();
        let run = tokio::spawn(run_socket(session, Bytes::new(), Silent, Limits::default()));
        far.write_all(wire).await.unwrap();
        far.write_all(&[0; 1000]).await.unwrap();
        let mut answer = Vec::new();
        soon("the end of the answer", far.read_to_end(&mut answer)).await.unwrap();
        assert_eq!((answer[0], u16::from_be_bytes([answer[2], answer[3]])), (0x88, code));
        drop(far);
        assert_eq!(soon("the end", run).await.unwrap(), Ended::Protocol(error));
    }
}

#[tokio::test]
async fn bytes_that_the_http_server_had_read_already_are_not_lost() {
    let world = World::new();
    let (near, mut far) = world.sockets().await;
    let mut wire = Vec::new();
    encode_masked(Opcode::Text, true, b"early", [1, 2, 3, 4], &mut wire);
    let session = world.hub.open(spec("a", "plain", Transport::socket(near))).unwrap();
    let leftover = Bytes::copy_from_slice(&wire[..5]);
    let run = tokio::spawn(run_socket(session, leftover, Echo(world.hub.clone()), Limits::default()));
    far.write_all(&wire[5..]).await.unwrap();
    let mut answer = [0; 16];
    soon("the answer", far.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer[2..], b"you said early");
    drop(far);
    assert_eq!(soon("the end", run).await.unwrap(), Ended::Lost);
}

#[tokio::test]
async fn a_connection_that_is_given_up_is_gone_from_the_hub() {
    let world = World::new();
    let client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    client.ended.abort();
    assert!(soon("the end", client.ended).await.is_err());
    world.hub.settled().await;
    assert_eq!((world.hub.stats().sessions, world.hub.stats().streams), (0, 0));
}

#[tokio::test]
async fn a_subscription_given_up_half_way_closes_the_session_instead_of_losing_frames() {
    let world = World::new();
    world.publish("t:1", "missed");
    // A new hub remembers nothing, so this join reads the log, which gives way once: it is under way when it
    // is given up, however quick the hub is.
    let world = world.restarted(still());
    let mut client = world.connect("a").await;
    let from = StartPosition::Cursor(Cursor { epoch: EPOCH, seq: 0 });
    let mut join = Box::pin(world.hub.subscribe(&client.session, channel("t:1"), None, from, no_preface));
    assert!(join.as_mut().now_or_never().is_none());
    world.hub.settled().await;
    drop(join);
    assert_eq!(client.next().await, Err(CloseCode::Internal.number()));
}

#[tokio::test]
async fn what_is_done_first_comes_before_what_a_client_says_and_ends_with_its_session() {
    let world = World::new();
    let (near, far) = world.sockets().await;
    let session = world.hub.open(spec("a", "plain", Transport::socket(near))).unwrap();
    let (hub, greeted) = (world.hub.clone(), Arc::clone(&session));
    let greet = async move {
        tokio::task::yield_now().await;
        hub.send(&greeted, text("first"));
        Flow::Continue
    };
    let run = run_socket(Arc::clone(&session), Bytes::new(), Echo(world.hub.clone()), Limits::default());
    let ended = tokio::spawn(run.after(Flow::Await(greet.boxed())));
    let socket = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    let mut client = Client { session, socket, ended };
    client.say("hello").await;
    assert_eq!(client.texts(2).await, ["first", "you said hello"]);
    assert_eq!(client.end().await, Ended::Lost);

    let (near, far) = world.sockets().await;
    let session = world.hub.open(spec("a", "plain", Transport::socket(near))).unwrap();
    let run = run_socket(Arc::clone(&session), Bytes::new(), Silent, Limits::default());
    let ended = tokio::spawn(run.after(Flow::Await(std::future::pending().boxed())));
    let socket = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    let mut client = Client { session, socket, ended };
    world.hub.close(&client.session, CloseCode::ServiceRestart);
    assert_eq!(client.next().await, Err(1012));
    assert_eq!(client.end().await, Ended::ByServer(CloseCode::ServiceRestart));
}
