//! Messages that features handle on sockets, as events of the namespace `/`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{Guest, Incoming, Namespace, Reply, Socket};
use crate::feature::Message;
use crate::{App, AppError};

/// Dispatches messages to features.
pub struct Messages {
    app: App,
    known: Vec<&'static Message>,
}

impl Messages {
    /// The messages of these features.
    pub fn new(app: App, known: impl Iterator<Item = &'static Message>) -> Self {
        Self { app, known: known.collect() }
    }
}

impl Guest for Messages {
    fn knows(&self, name: &str) -> bool {
        self.known.iter().any(|message| message.name == name)
    }

    /// The reply is the acknowledgement; a client that requested none receives only errors, as `error`.
    fn event(
        &self,
        _host: Arc<dyn Namespace>,
        socket: Socket,
        incoming: Incoming,
    ) -> BoxFuture<'static, Option<Reply>> {
        let name = incoming.event().name.into_owned();
        let message = self.known.iter().find(|message| message.name == name).copied();
        let app = self.app.clone();
        Box::pin(async move {
            let fields = match answer(&app, message?, &socket, &incoming).await {
                Ok(mut fields) => {
                    fields["success"] = true.into();
                    fields
                }
                Err(error) => {
                    let fields = json!({ "success": false, "message": error.french(), "code": error.code() });
                    if !incoming.wants_reply() {
                        // A client that has left needs no answer.
                        let _ = socket.emit("error", &fields.to_string());
                    }
                    fields
                }
            };
            Some(Reply::json(&fields))
        })
    }
}

async fn answer(
    app: &App,
    message: &Message,
    socket: &Socket,
    incoming: &Incoming,
) -> Result<Value, AppError> {
    (message.handle)(app, &socket.principal(), incoming.value()?).await
}
