//! Events as clients of a namespace are told them.

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

/// How a client of a namespace reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) parser: Parser,
    pub(super) version: Version,
    /// Whether events carry their place in the log as their last argument.
    pub(super) offsets: bool,
}

/// The dialects of one namespace.
pub(super) struct Dialects(Vec<(Reads, Arc<dyn Dialect>)>);

impl Dialects {
    pub(super) fn new(namespace: &'static str, feature: &Arc<dyn Namespace>) -> Self {
        let mut all: Vec<(Reads, Arc<dyn Dialect>)> = Vec::new();
        for parser in [Parser::Default, Parser::Msgpack] {
            for version in [Version::V3, Version::V4] {
                for offsets in [false, true] {
                    let reads = Reads { parser, version, offsets };
                    // Text is the same for both versions, so their clients share it.
                    let shared = (parser == Parser::Default).then(|| {
                        all.iter().find(|(known, _)| known.parser == parser && known.offsets == offsets)
                    });
                    let dialect = match shared.flatten() {
                        Some((_, dialect)) => Arc::clone(dialect),
                        None => Arc::new(EventDialect {
                            name: name(namespace, reads),
                            namespace,
                            feature: Arc::clone(feature),
                            reads,
                        }),
                    };
                    all.push((reads, dialect));
                }
            }
        }
        Self(all)
    }

    pub(super) fn of(&self, reads: Reads) -> &Arc<dyn Dialect> {
        let found = self.0.iter().find(|(known, _)| *known == reads);
        &found.expect("every way to read has its dialect").1
    }
}

/// The hub knows dialects by names that live as long as the process: one set for each namespace of the server.
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
    fn pack(&self, name: &str, arguments: &str, offset: Option<&str>) -> Option<Bytes> {
        let mut data = Vec::new();
        write_event("/", None, name, arguments, offset, &mut data);
        let mut packet = Packet::new(Kind::Event, self.namespace);
        // Behind the `42` of the text form is the JSON array that both forms have.
        packet.data = Some(String::from_utf8(data.split_off(2)).ok()?.into());
        msgpack::encode(&packet).ok()
    }
}

impl Dialect for EventDialect {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        let Some((name, told)) = self.feature.tell(event) else { return };
        let offset = (self.reads.offsets && event.is_durable()).then(|| event.cursor().to_string());
        let bare = self.reads.offsets && offset.is_none();
        let arguments = if bare { without_offset(&told) } else { Cow::Borrowed(&*told) };
        match self.reads.parser {
            Parser::Default => text_frame_with(out, |out| {
                write_event(self.namespace, None, &name, &arguments, offset.as_deref(), out);
            }),
            Parser::Msgpack => {
                let Some(packed) = self.pack(&name, &arguments, offset.as_deref()) else { return };
                match self.reads.version {
                    Version::V4 => encode_frame(Opcode::Binary, &packed, out),
                    Version::V3 => encode_frame(Opcode::Binary, &[&[4], &*packed].concat(), out),
                }
            }
        }
    }

    /// Heartbeats and the end belong to the connection, which has a dialect of its own.
    fn ping(&self) -> Bytes {
        Bytes::new()
    }

    fn close(&self, _: &CloseReason) -> Bytes {
        Bytes::new()
    }
}
