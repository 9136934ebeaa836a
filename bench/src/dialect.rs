//! What the servers that are measured speak on their WebSockets.

use crate::http::find;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dialect {
    /// The relay's notifications, which clients only hear
    Relay,
    /// Texts as they are
    Plain,
    /// Socket.IO 5: the event `message`
    Socketio,
    /// The same for clients that ask for recovery
    SocketioRecovery,
    /// Pages on Socket.IO, which say themselves who they are
    #[value(skip)]
    Page,
    /// The JSON protocol of centrifuge
    Centrifuge,
    /// The chat of Relais, whose clients say who they are themselves
    #[value(skip)]
    Chat,
}

/// What a text of the server means.
pub(crate) enum Heard<'a> {
    /// What somebody said, or an answer.
    Text(&'a [u8]),
    /// The server asks whether the client lives, and expects this.
    Heartbeat(&'static [u8]),
}

impl Dialect {
    /// The address of the WebSocket.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Relay => "/api/files/ws",
            Self::Plain => "/ws",
            Self::Socketio | Self::Page => "/socket.io/?EIO=4&transport=websocket",
            Self::SocketioRecovery => "/socket.io/?EIO=4&transport=websocket&recovery=1",
            Self::Centrifuge => "/connection/websocket",
            Self::Chat => "/ws/chat",
        }
    }

    /// What a client says first.
    pub(crate) fn first_words(self) -> Option<&'static [u8]> {
        match self {
            Self::Relay | Self::Plain | Self::Chat | Self::Page => None,
            Self::Socketio | Self::SocketioRecovery => Some(b"40"),
            Self::Centrifuge => Some(b"{\"id\":1,\"connect\":{}}"),
        }
    }

    /// What the text contains with which the server lets a client in; none if the WebSocket is enough.
    pub(crate) fn welcome(self) -> Option<&'static [u8]> {
        match self {
            Self::Plain | Self::Chat | Self::Page => None,
            Self::Relay => Some(b"\"connection\""),
            Self::Socketio | Self::SocketioRecovery => Some(b"40{\"sid\""),
            Self::Centrifuge => Some(b"\"connect\":{"),
        }
    }

    /// Takes a text of the server apart.
    pub(crate) fn hear<'a>(self, text: &'a [u8], mut on: impl FnMut(Heard<'a>)) {
        match self {
            Self::Relay | Self::Plain | Self::Chat => on(Heard::Text(text)),
            Self::Socketio | Self::SocketioRecovery | Self::Page if text == b"2" => {
                on(Heard::Heartbeat(b"3"));
            }
            Self::Socketio | Self::SocketioRecovery | Self::Page => on(Heard::Text(text)),
            // Several messages may come in one frame, a line each.
            Self::Centrifuge => text.split(|byte| *byte == b'\n').for_each(|line| match line {
                b"" => {}
                b"{}" => on(Heard::Heartbeat(b"{}")),
                line => on(Heard::Text(line)),
            }),
        }
    }

    /// What a client says so that everybody hears `message`.
    pub(crate) fn say(self, message: &[u8], out: &mut Vec<u8>) {
        let (before, after): (&[u8], &[u8]) = match self {
            Self::Relay | Self::Plain | Self::Chat | Self::Page => (b"", b""),
            Self::Socketio | Self::SocketioRecovery => (b"42[\"message\",", b"]"),
            Self::Centrifuge => (b"{\"id\":2,\"publish\":{\"channel\":\"all\",\"data\":", b"}}"),
        };
        out.extend_from_slice(before);
        out.extend_from_slice(message);
        out.extend_from_slice(after);
    }

    /// The message in a text in which everybody hears it; none if the text is something else.
    pub(crate) fn message(self, text: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Relay | Self::Chat | Self::Page => None,
            Self::Plain => Some(text),
            Self::Socketio | Self::SocketioRecovery => {
                text.strip_prefix(b"42[\"message\",")?.strip_suffix(b"]")
            }
            Self::Centrifuge => {
                let push = text.strip_prefix(b"{\"push\":")?;
                let from = find(push, b"\"data\":")? + b"\"data\":".len();
                // The message has no braces in it.
                let length = push[from..].iter().position(|byte| *byte == b'}')? + 1;
                Some(&push[from..from + length])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(dialect: Dialect, text: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        dialect.hear(text, |heard| {
            all.push(match heard {
                Heard::Text(text) => text.to_vec(),
                Heard::Heartbeat(answer) => [b"answer: ", answer].concat(),
            });
        });
        all
    }

    #[test]
    fn what_is_said_in_socketio_is_what_is_heard() {
        let mut said = Vec::new();
        Dialect::Socketio.say(b"{\"n\":\"1\"}", &mut said);
        assert_eq!(said, b"42[\"message\",{\"n\":\"1\"}]");
        assert_eq!(Dialect::Socketio.message(&said), Some(&b"{\"n\":\"1\"}"[..]));
        assert_eq!(Dialect::Socketio.message(b"42[\"other\",1]"), None);
    }

    #[test]
    fn a_heartbeat_is_answered_and_not_heard() {
        assert_eq!(heard(Dialect::Socketio, b"2"), [b"answer: 3"]);
        assert_eq!(heard(Dialect::Plain, b"2"), [b"2"]);
    }

    #[test]
    fn the_lines_of_a_centrifuge_frame_are_messages_of_their_own() {
        let lines = b"{\"push\":{\"channel\":\"all\",\"pub\":{\"data\":{\"n\":\"7\"}}}}\n{}";
        let all = heard(Dialect::Centrifuge, lines);
        assert_eq!(all[1], b"answer: {}");
        assert_eq!(Dialect::Centrifuge.message(&all[0]), Some(&b"{\"n\":\"7\"}"[..]));
        assert_eq!(Dialect::Centrifuge.message(b"{\"id\":2,\"publish\":{}}"), None);
    }
}
