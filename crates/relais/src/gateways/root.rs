//! The namespace `/` of Socket.IO, which the chat and the pages of modules share: events go to whose they are.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use relais_protocol::event::Event;

use super::chat::ChatNamespace;
use super::live::Pages;
use super::socketio::{Admission, ConnectRequest, Incoming, Namespace, Refused, Reply, Socket, Welcome};

/// `/`.
pub(super) struct Root {
    chat: Arc<ChatNamespace>,
    pages: Pages,
}

impl Root {
    pub(super) fn new(chat: Arc<ChatNamespace>, pages: Pages) -> Self {
        Self { chat, pages }
    }
}

impl Namespace for Root {
    fn connect(&self, request: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>> {
        self.chat.connect(request)
    }

    fn connected(&self, socket: Socket, welcome: Welcome) -> BoxFuture<'static, ()> {
        self.chat.connected(socket, welcome)
    }

    fn event(&self, socket: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>> {
        let name = incoming.event().name.into_owned();
        if !Pages::knows(&name) {
            return self.chat.event(socket, incoming);
        }
        let (chat, pages) = (Arc::clone(&self.chat), self.pages.clone());
        Box::pin(async move {
            let is_known = !socket.principal().is_anonymous();
            match Pages::token(&name, &incoming) {
                // It stays in, with what it came with.
                Some(token) if is_known => {
                    if let Err(error) = chat.renew(&socket, &token).await {
                        return Some(Reply::json(&Pages::refuse(&socket, &name, &error)));
                    }
                }
                Some(token) => {
                    if let Err(error) = chat.identify(&socket, token).await {
                        let refused = Pages::refuse(&socket, &name, &error);
                        socket.disconnect();
                        return Some(Reply::json(&refused));
                    }
                }
                None => {}
            }
            Some(Reply::json(&pages.obey(&socket, &name, &incoming).await))
        })
    }

    fn disconnected(&self, socket: &Socket) {
        self.pages.closed(socket);
        self.chat.disconnected(socket);
    }

    fn tell<'a>(&self, event: &'a Event) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        self.chat.tell(event)
    }

    fn former_name(&self, event: &Event) -> Option<&'static str> {
        self.chat.former_name(event)
    }
}
