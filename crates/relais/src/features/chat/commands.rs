//! Commands that clients send over sockets, whichever protocol carries them.

use relais_protocol::event::Topic;
use serde::Deserialize;
use serde_json::{Value, json};

use super::devices::DeviceId;
use super::model::Kind;
use super::people::Me;
use super::refusal::{invalid, required};
use super::sending::NewMessage;
use super::service::{Chat, topic};
use crate::AppError;
use crate::aliases::{Aliased, United};
use crate::said::{Said, said};

/// Characters of an unknown command's name repeated in the error message.
const NAME_CHARS_SHOWN: usize = 60;

/// The result of a command, for the client that sent it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A frame with this name and these fields; an acknowledgement has the fields alone.
    Reply(&'static str, Value),
    /// Subscribes the connection to this conversation; then the frame.
    Join(Topic, &'static str, Value),
    /// Unsubscribes the connection from it, without ending the membership. Then the frame.
    Leave(Topic, &'static str, Value),
    /// No reply.
    Done,
}

/// The fields of all commands: each uses those it knows.
#[derive(Debug, Default, Deserialize)]
struct Fields {
    conversation_id: Option<String>,
    group_id: Option<String>,
    is_typing: Option<bool>,
    is_online: Option<bool>,
    /// A text, or an object that contains one.
    message: Option<Value>,
    content: Option<String>,
    client_id: Option<String>,
    mentions: Option<Vec<String>>,
    #[serde(default)]
    attachments: Vec<String>,
    message_id: Option<String>,
    up_to: Option<u64>,
    user_id: Option<String>,
    #[serde(default)]
    user_ids: Vec<String>,
}

impl Aliased for Fields {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[
        ("conversation_id", &["conversationId"]),
        ("group_id", &["groupId"]),
        ("is_typing", &["isTyping"]),
        ("is_online", &["isOnline"]),
        ("client_id", &["clientId"]),
        ("message_id", &["messageId"]),
        ("up_to", &["upTo"]),
    ];
}

/// A value that may be given in two fields: in either, or the same in both.
fn agreed<T: PartialEq>(field: &str, one: Option<T>, other: Option<T>) -> Result<Option<T>, AppError> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => {
            let message = said!(
                "« {field} » est donné deux fois avec des valeurs différentes",
                "\"{field}\" is given twice with different values"
            );
            Err(invalid(field, message))
        }
        (one, other) => Ok(one.or(other)),
    }
}

impl Fields {
    fn conversation(&self) -> Result<&str, AppError> {
        let id = agreed("conversation_id", self.conversation_id.as_deref(), self.group_id.as_deref())?;
        id.filter(|id| !id.is_empty()).ok_or_else(|| required("conversation_id"))
    }

    /// The conversation whose presence is to be watched, if any.
    fn watched(&self) -> Option<&str> {
        self.conversation_id.as_deref().or(self.group_id.as_deref()).filter(|id| !id.is_empty())
    }

    fn message_id(&self) -> Result<&str, AppError> {
        self.message_id.as_deref().ok_or_else(|| required("message_id"))
    }

    fn message(self) -> Result<NewMessage, AppError> {
        let mut new = match self.message {
            Some(Value::String(content)) => {
                let content = agreed("content", Some(content), self.content)?.unwrap_or_default();
                NewMessage { content, ..NewMessage::default() }
            }
            Some(object) => {
                let United(new): United<NewMessage> =
                    serde_json::from_value(object).map_err(|error| message_unreadable(&error))?;
                let content = agreed("content", Some(new.content), self.content)?.unwrap_or_default();
                NewMessage { content, ..new }
            }
            None => {
                let content = self.content.ok_or_else(|| required("message"))?;
                NewMessage { content, ..NewMessage::default() }
            }
        };
        new.client_id = agreed("client_id", new.client_id, self.client_id)?;
        new.mentions.extend(self.mentions.unwrap_or_default());
        new.attachments.extend(self.attachments);
        Ok(new)
    }
}

impl Chat {
    /// Executes a command received over a socket.
    ///
    /// # Errors
    /// 400 for an unknown command or a missing field, and any error of the command itself.
    pub async fn handle(
        &self,
        me: &Me,
        device: DeviceId,
        name: &str,
        data: Value,
    ) -> Result<Outcome, AppError> {
        let fields = match data {
            Value::Null => Fields::default(),
            data => {
                let United(fields) =
                    serde_json::from_value(data).map_err(|error| command_unreadable(name, &error))?;
                fields
            }
        };
        match name {
            "join_conversation" | "join_group" => self.listen(me, name, &fields).await,
            "leave_conversation" | "leave_group" => {
                let id = fields.conversation()?;
                let frame = if name == "leave_group" { "left_group" } else { "left_conversation" };
                Ok(Outcome::Leave(topic(id)?, frame, named(id)))
            }
            "send_message" => self.send_said(me, fields).await,
            "typing" | "group_typing" => self.handle_typing(me, device, &fields).await,
            "watch_presence" => self.watch(me, device, &fields).await,
            "unwatch_presence" => {
                self.unwatch(device, fields.watched(), &fields.user_ids);
                Ok(Outcome::Reply("unwatched_presence", json!({ "success": true })))
            }
            "block_user" | "unblock_user" => self.set_blocked_said(me, name, &fields).await,
            "user_presence" => {
                self.set_present(me, device, fields.is_online.unwrap_or(true)).await;
                Ok(Outcome::Done)
            }
            "mark_read" => {
                let id = fields.conversation()?;
                let count = self.mark_read(me, id, fields.up_to).await?;
                Ok(Outcome::Reply(
                    "marked_read",
                    json!({ "success": true, "conversation_id": id, "marked_read": count }),
                ))
            }
            "edit_message" => {
                let content = fields.content.as_deref().unwrap_or_default();
                let mentions = fields.mentions.clone();
                let message = self.edit(me, fields.message_id()?, content, mentions).await?;
                Ok(Outcome::Reply("message_edited", json!({ "success": true, "message": message })))
            }
            "delete_message" => {
                let message = self.delete(me, fields.message_id()?).await?;
                Ok(Outcome::Reply("message_deleted", json!({ "success": true, "message": message })))
            }
            "ping" => Ok(Outcome::Reply("pong", json!({ "success": true, "timestamp": self.0.clock.now() }))),
            _ => {
                let name = shown(name);
                let message = said!("Commande « {name} » inconnue", "Unknown command \"{name}\"");
                Err(AppError::bad_request("unknown_command", message))
            }
        }
    }

    async fn listen(&self, me: &Me, name: &str, fields: &Fields) -> Result<Outcome, AppError> {
        let id = fields.conversation()?;
        self.conversation(me, id).await?;
        let frame = if name == "join_group" { "joined_group" } else { "joined_conversation" };
        Ok(Outcome::Join(topic(id)?, frame, named(id)))
    }

    async fn send_said(&self, me: &Me, fields: Fields) -> Result<Outcome, AppError> {
        let id = fields.conversation()?.to_owned();
        let sent = self.send(me, &id, fields.message()?).await?;
        let reply = json!({
            "success": true, "conversation_id": id, "id": sent.message.id, "message_id": sent.message.id,
            "client_id": sent.message.client_id,
            "offset": sent.position.map(|position| position.offset), "duplicate": sent.duplicate,
            "message": sent.message,
        });
        Ok(Outcome::Reply("message_sent", reply))
    }

    async fn handle_typing(&self, me: &Me, device: DeviceId, fields: &Fields) -> Result<Outcome, AppError> {
        let id = fields.conversation()?;
        let conversation = topic(id)?;
        // Membership is checked each time: it is a read of one row.
        if let Some(kind) = self.may_write(me, id).await? {
            let is_typing = fields.is_typing.unwrap_or(true);
            self.set_typing(me, device, conversation, is_typing, kind == Kind::Group);
        }
        Ok(Outcome::Done)
    }

    async fn watch(&self, me: &Me, device: DeviceId, fields: &Fields) -> Result<Outcome, AppError> {
        let watched = match fields.watched() {
            Some(id) => self.watch_group(me, device, id).await?,
            None if fields.user_ids.is_empty() => {
                let message = said!(
                    "« conversation_id » ou « user_ids » est requis",
                    "\"conversation_id\" or \"user_ids\" is required"
                );
                return Err(invalid("user_ids", message));
            }
            None => self.watch_people(me, device, &fields.user_ids).await?,
        };
        Ok(Outcome::Reply("watching_presence", watched))
    }

    async fn set_blocked_said(&self, me: &Me, name: &str, fields: &Fields) -> Result<Outcome, AppError> {
        let id = fields.user_id.as_deref().ok_or_else(|| required("user_id"))?;
        let actor = me.actor(None);
        self.set_blocked(me, &actor, id, name == "block_user").await?;
        let frame = if name == "block_user" { "user_blocked" } else { "user_unblocked" };
        Ok(Outcome::Reply(frame, json!({ "success": true, "user_id": id })))
    }
}

fn message_unreadable(error: &serde_json::Error) -> AppError {
    let why = Said::carried_in(&error.to_string());
    invalid("message", said!("« message » illisible : {}", "\"message\" cannot be read: {}"; why))
}

fn command_unreadable(name: &str, error: &serde_json::Error) -> AppError {
    let (name, why) = (shown(name), Said::carried_in(&error.to_string()));
    invalid(
        "data",
        said!("Commande « {name} » illisible : {}", "The command \"{name}\" cannot be read: {}"; why),
    )
}

/// The part of a name that an error message may repeat.
fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARS_SHOWN).collect()
}

fn named(id: &str) -> Value {
    json!({ "conversation_id": id, "group_id": id, "success": true })
}
