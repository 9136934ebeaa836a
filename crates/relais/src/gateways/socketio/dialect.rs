//! Encoding events for clients of a namespace.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use relais_hub::{CloseReason, Dialect};
use relais_protocol::engineio::Version;
use relais_protocol::event::Event;
use relais_protocol::socketio::{Kind, Packet, Parser, msgpack, write_event};
use relais_protocol::websocket::{Opcode, encode_frame, text_frame_with};

use super::Namespace;
use super::recovery::without_offset;

/// The encoding options of a client in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) parser: Parser,
    pub(super) version: Version,
    /// Whether events carry their position in the log as their last argument.
    pub(super) offsets: bool,
}

impl Reads {
    fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits: u8| Self {
            parser: if bits & 1 == 0 { Parser::Default } else { Parser::Msgpack },
            version: if bits & 2 == 0 { Version::V4 } else { Version::V3 },
            offsets: bits & 4 != 0,
        })
    }
}

/// The dialects of one namespace.
pub(super) struct Dialects(Vec<(Reads, Arc<dyn Dialect>)>);

impl Dialects {
    pub(super) fn new(namespace: &'static str, feature: &Arc<dyn Namespace>) -> Self {
        let mut all: Vec<(Reads, Arc<dyn Dialect>)> = Vec::new();
        for reads in Reads::all() {
            // Text is the same for both versions, so their clients share it.
            let alike = |known: &Reads| {
                reads.parser == Parser::Default && *known == Reads { version: known.version, ..reads }
            };
            let shared = all.iter().find(|(known, _)| alike(known)).map(|(_, dialect)| Arc::clone(dialect));
            let dialect = shared.unwrap_or_else(|| {
                let feature = Arc::clone(feature);
                Arc::new(EventDialect { name: name(namespace, reads), namespace, feature, reads })
            });
            all.push((reads, dialect));
        }
        Self(all)
    }

    pub(super) fn of(&self, reads: Reads) -> &Arc<dyn Dialect> {
        let found = self.0.iter().find(|(known, _)| *known == reads);
        &found.expect("every way to read has its dialect").1
    }
}

/// The hub identifies dialects by names that live as long as the process: one set for each namespace of the server.
fn name(namespace: &str, reads: Reads) -> &'static str {
    Box::leak(format!("socketio:{namespace}:{reads:?}").into_boxed_str())
}

struct EventDialect {
    name: &'static str,
    namespace: &'static str,
    feature: Arc<dyn Namespace>,
    reads: Reads,
}

impl EventDialect {
    fn append(&self, name: &str, arguments: &str, offset: Option<&str>, out: &mut Vec<u8>) {
        match (self.reads.parser, self.reads.version) {
            (Parser::Default, _) => text_frame_with(out, |out| {
                write_event(self.namespace, None, name, arguments, offset, out);
            }),
            (Parser::Msgpack, version) => {
                let Some(packed) = self.pack(name, arguments, offset) else { return };
                let typed = match version {
                    Version::V4 => packed,
                    Version::V3 => [&[4], &*packed].concat().into(),
                };
                encode_frame(Opcode::Binary, &typed, out);
            }
        }
    }

    fn pack(&self, name: &str, arguments: &str, offset: Option<&str>) -> Option<Bytes> {
        let mut data = Vec::new();
        write_event("/", None, name, arguments, offset, &mut data);
        let mut packet = Packet::new(Kind::Event, self.namespace);
        // The text form is `42` followed by the JSON array that both forms contain.
        packet.data = Some(String::from_utf8(data.split_off(2)).ok()?.into());
        msgpack::encode(&packet).ok()
    }
}

impl Dialect for EventDialect {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        let Some((name, told)) = self.feature.frame(event) else { return };
        let offset = (self.reads.offsets && event.is_durable()).then(|| event.cursor().to_string());
        let bare = self.reads.offsets && offset.is_none();
        let arguments = if bare { without_offset(&told) } else { Cow::Borrowed(&*told) };
        self.append(&name, &arguments, offset.as_deref(), out);
        if let Some(former) = self.feature.former_name(event) {
            self.append(former, &arguments, offset.as_deref(), out);
        }
    }

    /// Heartbeats and the close belong to the connection, which has a dialect of its own.
    fn ping(&self) -> Bytes {
        Bytes::new()
    }

    fn close(&self, _: &CloseReason) -> Bytes {
        Bytes::new()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use relais_protocol::event::{Epoch, Topic};
    use relais_protocol::socketio::Limits;
    use relais_protocol::time::Timestamp;

    use super::super::{Admission, ConnectRequest, Incoming, Refused, Reply, Socket};
    use super::*;

    struct Room;

    impl Namespace for Room {
        fn connect(&self, _: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>> {
            async { Ok(Admission::default()) }.boxed()
        }

        fn event(&self, _: Socket, _: Incoming) -> BoxFuture<'static, Option<Reply>> {
            async { None }.boxed()
        }
    }

    fn event(data: &str) -> Event {
        Event {
            topic: Topic::new("room:1").unwrap(),
            epoch: Epoch(7),
            offset: 3,
            seq: 40,
            name: "news".into(),
            data: data.into(),
            at: Timestamp::default(),
        }
    }

    fn encoded(reads: Reads, data: &str) -> Vec<u8> {
        let feature: Arc<dyn Namespace> = Arc::new(Room);
        let mut out = Vec::new();
        Dialects::new("/room", &feature).of(reads).encode(&event(data), &mut out);
        out
    }

    const PLAIN: Reads = Reads { parser: Parser::Default, version: Version::V4, offsets: false };

    #[test]
    fn clients_that_read_alike_share_a_dialect_and_others_do_not() {
        let feature: Arc<dyn Namespace> = Arc::new(Room);
        let dialects = Dialects::new("/room", &feature);
        let same = |one, other| dialects.of(one).name() == dialects.of(other).name();
        assert!(same(PLAIN, Reads { version: Version::V3, ..PLAIN }));
        for other in [Reads { offsets: true, ..PLAIN }, Reads { parser: Parser::Msgpack, ..PLAIN }] {
            assert!(!same(PLAIN, other), "{other:?}");
        }
        let packed = Reads { parser: Parser::Msgpack, ..PLAIN };
        assert!(!same(packed, Reads { version: Version::V3, ..packed }), "the type is in front of binary");
    }

    #[test]
    fn an_event_is_a_whole_frame_with_its_place_in_the_log_where_that_is_wanted() {
        assert_eq!(&encoded(PLAIN, r#"{"n":1}"#)[2..], br#"42/room,["news",{"n":1}]"#);
        let told = encoded(Reads { offsets: true, ..PLAIN }, r#"{"n":1}"#);
        assert_eq!(&told[2..], br#"42/room,["news",{"n":1},"0000000000000007-40"]"#);
    }

    #[test]
    fn msgpack_says_the_same() {
        let packed = encoded(Reads { parser: Parser::Msgpack, ..PLAIN }, r#"{"n":1}"#);
        let packet = msgpack::decode(&Bytes::copy_from_slice(&packed[2..]), &Limits::default()).unwrap();
        assert_eq!((packet.kind, packet.namespace.as_str()), (Kind::Event, "/room"));
        assert_eq!(packet.data.unwrap().as_str(), r#"["news",{"n":1}]"#);
    }
}
