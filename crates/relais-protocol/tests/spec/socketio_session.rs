//! The server side of a connection [Exchange protocol].

use std::time::{Duration, Instant};

use bytes::Bytes;
use relais_protocol::engineio::{Frame, Version};
use relais_protocol::socketio::{
    Config, DecodeError, EventArguments, Input, Kind, Packet, Parser, Recovery, SendError, Session,
    SessionError, msgpack,
};

use crate::{binary, text};

fn config() -> Config {
    Config {
        connect_timeout: Duration::from_secs(1),
        ack_timeout: Duration::from_secs(2),
        namespaces: 3,
        acks: 2,
        ..Config::new(Version::V4)
    }
}

struct Driven {
    session: Session,
    now: Instant,
}

impl Driven {
    fn open() -> Self {
        let now = Instant::now();
        let (session, implicit) = Session::open(config(), now);
        assert_eq!(implicit, None);
        Self { session, now }
    }

    /// In "/".
    fn joined() -> Self {
        let mut it = Self::open();
        it.hears("0").unwrap();
        assert_eq!(it.session.accept("/", "s1", None), Ok(vec![text(r#"40{"sid":"s1"}"#)]));
        it
    }

    fn hears(&mut self, message: &str) -> Result<Option<Input>, SessionError> {
        self.session.message(text(message), self.now)
    }
}

fn connect(namespace: &str) -> Input {
    Input::Connect { namespace: namespace.to_owned(), auth: None, recovery: None }
}

/// [Connection to a namespace] CONNECT is answered with the session's id, or with CONNECT_ERROR.
#[test]
fn a_client_joins_namespaces_and_is_told_if_it_may_not() {
    let mut it = Driven::joined();
    assert_eq!(it.hears("0/admin,"), Ok(Some(connect("/admin"))));
    let refused = it.session.refuse("/admin", "Not authorized", None);
    assert_eq!(refused, Ok(vec![text(r#"44/admin,{"message":"Not authorized"}"#)]));
    assert_eq!(it.hears("0/admin,"), Ok(Some(connect("/admin"))), "it may try again");
    it.session.accept("/admin", "s2", None).unwrap();
    assert!(matches!(it.session.accept("/admin", "s3", None), Err(SendError::State(_))));
}

/// [Connection to a namespace] the payload of CONNECT is for authentication.
#[test]
fn the_auth_object_is_handed_on_as_it_came() {
    let mut it = Driven::open();
    let Some(Input::Connect { auth, recovery, .. }) = it.hears(r#"0/chat,{"token":"123"}"#).unwrap() else {
        panic!()
    };
    assert_eq!(auth.unwrap().as_str(), r#"{"token":"123"}"#);
    assert_eq!(recovery, None);
}

/// [Connection to a namespace] "if the server does not receive a CONNECT packet first, then it MUST close".
#[test]
fn whoever_does_not_connect_first_is_closed() {
    for packet in [r#"2["a"]"#, "31[]", "1", r#"2/chat,["a"]"#] {
        let heard = Driven::open().hears(packet);
        assert!(matches!(heard, Err(SessionError::NotConnected(_))), "{packet}: {heard:?}");
    }
    let mut it = Driven::open();
    it.hears("0").unwrap();
    let early = it.hears(r#"2["a"]"#);
    assert_eq!(early, Err(SessionError::NotConnected("/".to_owned())), "before the answer");
    let mut it = Driven::joined();
    assert!(matches!(it.hears(r#"2/other,["a"]"#), Err(SessionError::NotConnected(_))));
}

#[test]
fn whoever_joins_nothing_in_time_is_closed() {
    let mut it = Driven::open();
    assert_eq!(it.session.next_deadline(), Some(it.now + Duration::from_secs(1)));
    assert_eq!(it.session.tick(it.now + Duration::from_millis(999)), Ok(vec![]));
    let late = it.session.tick(it.now + Duration::from_secs(1));
    assert_eq!(late, Err(SessionError::ConnectTimeout(Duration::from_secs(1))));
    let mut it = Driven::joined();
    assert_eq!(it.session.next_deadline(), None);
    assert_eq!(it.session.tick(it.now + Duration::from_secs(9)), Ok(vec![]));
}

#[test]
fn a_namespace_is_joined_once_and_their_number_is_bounded() {
    let mut it = Driven::joined();
    assert_eq!(it.hears("0"), Err(SessionError::ConnectedTwice("/".to_owned())));
    it.hears("0/a,").unwrap();
    it.hears("0/b,").unwrap();
    assert_eq!(it.hears("0/c,"), Err(SessionError::TooManyNamespaces(3)));
}

/// [Sending and receiving data] delivered in the order of arrival, binary intact.
#[test]
fn events_are_handed_on_in_order() {
    let mut it = Driven::joined();
    for n in 0..3 {
        let Some(Input::Event { data, id: None, .. }) = it.hears(&format!(r#"2["n",{n}]"#)).unwrap() else {
            panic!()
        };
        assert_eq!(EventArguments::of(&data).unwrap().arguments[0].get(), n.to_string());
    }
    assert_eq!(it.hears(r#"51-["b",{"_placeholder":true,"num":0}]"#), Ok(None));
    let whole = it.session.message(binary(b"\x01"), it.now).unwrap();
    assert!(matches!(whole, Some(Input::Event { attachments, .. }) if attachments == [&b"\x01"[..]]));
}

/// [Acknowledgement] "the receiver MUST respond with an ACK packet with the same event ID".
#[test]
fn an_event_of_the_client_is_acknowledged_once() {
    let mut it = Driven::joined();
    let heard = it.hears(r#"212["a"]"#).unwrap();
    assert!(matches!(heard, Some(Input::Event { id: Some(12), .. })));
    assert_eq!(it.session.acknowledge("/", 12, "\"bar\"", vec![]), Ok(vec![text(r#"4312["bar"]"#)]));
    assert_eq!(it.session.acknowledge("/", 12, "", vec![]), Err(SendError::NotAsked(12)));
    it.hears(r#"213["a"]"#).unwrap();
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    let frames = it.session.acknowledge("/", 13, placeholder, vec![Bytes::from_static(b"\x01")]);
    assert_eq!(frames, Ok(vec![text(&format!("461-13[{placeholder}]")), binary(b"\x01")]));
}

#[test]
fn acknowledgements_that_the_client_waits_for_are_bounded_and_given_up() {
    let mut it = Driven::joined();
    it.hears(r#"21["a"]"#).unwrap();
    assert_eq!(it.hears(r#"21["a"]"#), Err(SessionError::TooManyAcks(2)), "the same id twice");
    let mut it = Driven::joined();
    it.hears(r#"21["a"]"#).unwrap();
    it.hears(r#"22["a"]"#).unwrap();
    assert_eq!(it.session.tick(it.now + Duration::from_secs(2)), Ok(vec![]));
    assert_eq!(it.session.acknowledge("/", 1, "", vec![]), Err(SendError::NotAsked(1)));
    it.hears(r#"23["a"]"#).unwrap();
    it.hears(r#"24["a"]"#).unwrap();
    assert_eq!(it.hears(r#"25["a"]"#), Err(SessionError::TooManyAcks(2)));
}

#[test]
fn an_event_of_the_server_is_acknowledged_or_not() {
    let mut it = Driven::joined();
    let (id, frames) = it.session.emit_with_ack("/", "q", "1", vec![], it.now).unwrap();
    assert_eq!(frames, [text(&format!(r#"42{id}["q",1]"#))]);
    let Some(Input::Acknowledged { id: given, data, .. }) = it.hears(&format!("3{id}[true]")).unwrap() else {
        panic!()
    };
    assert_eq!((given, data.as_str()), (id, "[true]"));
    assert_eq!(it.hears(&format!("3{id}[true]")), Ok(None), "nobody waits for it any more");

    let (late, _) = it.session.emit_with_ack("/", "q", "", vec![], it.now).unwrap();
    it.session.emit_with_ack("/", "q", "", vec![], it.now + Duration::from_secs(1)).unwrap();
    let more = it.session.emit_with_ack("/", "q", "", vec![], it.now);
    assert_eq!(more, Err(SendError::TooManyAcks(2)));
    assert_eq!(it.session.next_deadline(), Some(it.now + Duration::from_secs(2)));
    let owed = it.session.tick(it.now + Duration::from_secs(2));
    assert_eq!(owed, Ok(vec![Input::NotAcknowledged { namespace: "/".to_owned(), id: late }]));
    assert_eq!(it.hears(&format!("3{late}[]")), Ok(None));
}

/// [Disconnection from a namespace] the connection stays open for the others.
#[test]
fn leaving_one_namespace_leaves_the_others() {
    let mut it = Driven::joined();
    it.hears("0/chat,").unwrap();
    it.session.accept("/chat", "s2", None).unwrap();
    assert_eq!(it.hears("1"), Ok(Some(Input::Disconnected { namespace: "/".to_owned() })));
    assert_eq!(it.hears("1"), Ok(None));
    assert_eq!(it.hears(r#"2["under way"]"#), Ok(None));
    assert!(matches!(it.session.emit("/", "a", "", vec![], None), Err(SendError::State(_))));
    assert!(it.hears(r#"2/chat,["a"]"#).unwrap().is_some());
    assert!(!it.session.is_deserted());
    assert_eq!(it.session.disconnect("/chat"), Ok(vec![text("41/chat,")]));
    assert!(it.session.is_deserted());
    assert!(it.session.disconnect("/chat").is_err());
}

#[test]
fn the_server_cannot_send_what_the_protocol_reserves() {
    let it = Driven::joined();
    let reserved = it.session.emit("/", "disconnect", "", vec![], None);
    assert_eq!(reserved, Err(SendError::ReservedName("disconnect".to_owned())));
    let missing = it.session.emit("/", "a", "1", vec![Bytes::new()], None);
    assert_eq!(missing, Err(SendError::Data(DecodeError::PlaceholderMissing(0))));
    let mut it = Driven::joined();
    assert_eq!(it.hears(r#"4{"message":"a"}"#), Err(SessionError::ServerOnly));
}

/// Connection-state recovery: `pid` and `offset` of clients since 4.6.
#[test]
fn a_client_that_recovers_is_given_its_pid_and_the_offset_of_every_event() {
    let mut it = Driven::open();
    let heard = it.hears(r#"0{"token":"t","pid":"p1","offset":"e-7"}"#).unwrap();
    let Some(Input::Connect { recovery, .. }) = heard else { panic!("{heard:?}") };
    assert_eq!(recovery, Some(Recovery { pid: "p1".to_owned(), offset: Some("e-7".to_owned()) }));
    let accepted = it.session.accept("/", "s1", Some("p1"));
    assert_eq!(accepted, Ok(vec![text(r#"40{"sid":"s1","pid":"p1"}"#)]));
    let frames = it.session.emit("/", "a", "1", vec![], Some("e-8"));
    assert_eq!(frames, Ok(vec![text(r#"42["a",1,"e-8"]"#)]));
    let plain = Driven::joined().session.emit("/", "a", "1", vec![], Some("e-8"));
    assert_eq!(plain, Ok(vec![text(r#"42["a",1]"#)]), "not for others: it would be an argument");
}

/// [Difference between v5 and v4] the main namespace is joined without a CONNECT; errors are bare values.
#[test]
fn a_client_of_protocol_4_is_in_the_main_namespace_by_itself() {
    let now = Instant::now();
    let (mut session, implicit) = Session::open(Config { version: Version::V3, ..config() }, now);
    assert_eq!(implicit, Some(connect("/")));
    assert_eq!(session.accept("/", "s1", None), Ok(vec![text("40")]));
    assert_eq!(session.message(text("0/admin?token=a,"), now), Ok(Some(connect("/admin"))));
    let refused = session.refuse("/admin", "Not authorized", None);
    assert_eq!(refused, Ok(vec![text(r#"44/admin,"Not authorized""#)]));
}

#[test]
fn a_client_of_the_msgpack_parser_speaks_binary_only() {
    let now = Instant::now();
    let (mut session, _) = Session::open(Config { parser: Parser::Msgpack, ..config() }, now);
    let join = Frame::Binary(msgpack::encode(&Packet::new(Kind::Connect, "/")).unwrap());
    assert_eq!(session.message(join, now), Ok(Some(connect("/"))));
    session.accept("/", "s1", None).unwrap();
    let frames = session.emit("/", "a", "1", vec![], None).unwrap();
    assert_eq!(frames, [binary(b"\x83\xa4type\x02\xa4data\x92\xa1a\x01\xa3nsp\xa1/")]);
    let heard = session.message(text(r#"2["a"]"#), now);
    assert_eq!(heard, Err(SessionError::Decode(DecodeError::ExpectedMsgpack)));
}
