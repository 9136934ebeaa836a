//! A snapshot and the events since are a fresh snapshot, whatever happened.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{World, on_both};
use crate::world::Person;

/// What a client keeps: conversations, and the messages of each.
#[derive(Debug, Default, PartialEq)]
struct State {
    conversations: BTreeMap<String, Value>,
    messages: BTreeMap<String, Vec<Value>>,
    invitations: Vec<String>,
}

impl State {
    /// What the calls say, and where that stands.
    async fn fetch(world: &World, who: &Person) -> (Self, String) {
        let overview = world.overview(who, "/api/v1/chat").await;
        let mut state = Self::default();
        for conversation in overview["conversations"].as_array().unwrap() {
            if conversation["status"] == "accepted" {
                let id = conversation["id"].as_str().unwrap().to_owned();
                let messages = world.get(who, &format!("conversations/{id}/messages?limit=100")).await;
                state.messages.insert(id.clone(), messages["messages"].as_array().unwrap().clone());
                state.conversations.insert(id, without_presence(conversation));
            }
        }
        for path in ["invitations", "group-invitations"] {
            let waiting = world.get(who, path).await;
            let ids = waiting["invitations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i["id"].as_str().unwrap().to_owned());
            state.invitations.extend(ids);
        }
        state.invitations.sort();
        (state, overview["cursor"].as_str().unwrap().to_owned())
    }

    /// What a client does with a frame.
    fn apply(&mut self, me: &str, frame: &Value) {
        let id = frame["conversation_id"].as_str().unwrap_or_default();
        match frame["type"].as_str().unwrap() {
            "new_message" => self.add(me, id, &frame["message"]),
            "message_edited" | "message_deleted" => self.replace(me, id, frame),
            "messages_read" => self.read(me, id, frame),
            "messages_delivered" => {
                let by = frame["user_id"].as_str().unwrap();
                for message in
                    self.up_to(id, frame).filter(|m| m["sender_id"] != by && m["delivered_at"].is_null())
                {
                    message["delivered_at"] = frame["delivered_at"].clone();
                }
            }
            "conversation_joined" => {
                self.conversations.insert(id.into(), without_presence(&frame["conversation"]));
                self.messages.entry(id.into()).or_default();
            }
            "conversation_left" => {
                self.conversations.remove(id);
                self.messages.remove(id);
            }
            "conversation_renamed" => self.conversations.get_mut(id).unwrap()["name"] = frame["name"].clone(),
            "owner_changed" => {
                let member = |member: &&mut Value| member["id"] == frame["user_id"];
                self.members(id).iter_mut().find(member).unwrap()["role"] = "owner".into();
            }
            "member_joined" => {
                let mut member = frame["user"].clone();
                member["role"] = "member".into();
                if !self.members(id).iter().any(|known| known["id"] == member["id"]) {
                    self.members(id).push(member);
                }
            }
            "member_removed" => self.members(id).retain(|member| member["id"] != frame["user_id"]),
            "new_invitation" => self.invitations.push(frame["invitation"]["id"].as_str().unwrap().into()),
            "invitation_answered" | "invitation_cancelled" => {
                self.invitations.retain(|known| *known != frame["invitation_id"].as_str().unwrap());
            }
            _ => {}
        }
        self.invitations.sort();
    }

    fn members(&mut self, id: &str) -> &mut Vec<Value> {
        static_array(self.conversations.get_mut(id))
    }

    fn up_to<'a>(&'a mut self, id: &str, frame: &'a Value) -> impl Iterator<Item = &'a mut Value> {
        let up_to = frame["up_to"].as_u64().unwrap();
        self.messages.get_mut(id).unwrap().iter_mut().filter(move |m| m["number"].as_u64().unwrap() <= up_to)
    }

    fn add(&mut self, me: &str, id: &str, message: &Value) {
        let conversation = self.conversations.get_mut(id).unwrap();
        if message["sender_id"] != me {
            conversation["unread_count"] = (conversation["unread_count"].as_u64().unwrap() + 1).into();
        }
        self.messages.get_mut(id).unwrap().push(message.clone());
        self.show_last(id);
    }

    fn replace(&mut self, me: &str, id: &str, frame: &Value) {
        let new = &frame["message"];
        let messages = self.messages.get_mut(id).unwrap();
        let known = messages.iter_mut().find(|known| known["id"] == new["id"]).unwrap();
        let read_by_me = known["read_by"].as_array().unwrap().iter().any(|read| read["user_id"] == me);
        *known = new.clone();
        let counted = frame["type"] == "message_deleted" && new["sender_id"] != me && !read_by_me;
        let conversation = self.conversations.get_mut(id).unwrap();
        let unread = conversation["unread_count"].as_u64().unwrap();
        conversation["unread_count"] = (unread - u64::from(counted)).into();
        self.show_last(id);
    }

    fn read(&mut self, me: &str, id: &str, frame: &Value) {
        let (by, at) = (frame["user_id"].as_str().unwrap(), &frame["read_at"]);
        for message in self.up_to(id, frame).filter(|m| m["sender_id"] != by) {
            let known = message["read_by"].as_array().unwrap().iter().any(|read| read["user_id"] == by);
            if known {
                continue;
            }
            message["read_by"].as_array_mut().unwrap().push(json!({ "user_id": by, "read_at": at }));
            message["is_read"] = true.into();
            for field in ["read_at", "delivered_at"] {
                if message[field].is_null() {
                    message[field] = at.clone();
                }
            }
        }
        if by == me {
            let conversation = self.conversations.get_mut(id).unwrap();
            let left = conversation["unread_count"].as_u64().unwrap() - frame["count"].as_u64().unwrap();
            conversation["unread_count"] = left.into();
        }
        self.show_last(id);
    }

    fn show_last(&mut self, id: &str) {
        let Some(last) = self.messages[id].last() else { return };
        self.conversations.get_mut(id).unwrap()["last_message"] = json!({
            "id": last["id"], "sender_id": last["sender_id"], "content": last["content"],
            "timestamp": last["created_at"], "is_read": last["is_read"],
        });
    }
}

fn static_array(conversation: Option<&mut Value>) -> &mut Vec<Value> {
    conversation.unwrap()["participants"].as_array_mut().unwrap()
}

/// Who is there is told apart, and not kept.
fn without_presence(conversation: &Value) -> Value {
    let mut whole = conversation.clone();
    let strip = |person: &mut Value| {
        if let Some(fields) = person.as_object_mut() {
            fields.remove("is_online");
            fields.remove("last_seen");
        }
    };
    if !whole["participant"].is_null() {
        strip(&mut whole["participant"]);
    }
    whole["participants"].as_array_mut().unwrap().iter_mut().for_each(strip);
    if whole["participant"].is_null() {
        whole.as_object_mut().unwrap().remove("participant");
    }
    whole
}

/// Something of every kind, done by everybody; what it needs is there by then.
async fn live(world: &World, [lea, paul, zoe]: &[Person; 3], direct: &str, group: &str, round: usize) {
    let message = world.send(lea, direct, &format!("un {round}")).await["id"].as_str().unwrap().to_owned();
    world.send(lea, direct, "deux").await;
    world
        .put(lea, &format!("messages/{message}"), json!({ "content": "un, corrigé", "mentions": [paul.id] }))
        .await;
    world.post(paul, &format!("conversations/{direct}/mark-read"), json!({ "up_to": 1 + 4 * round })).await;
    let unread = world.send(lea, direct, "trois").await["id"].as_str().unwrap().to_owned();
    world.delete(lea, &format!("messages/{unread}")).await;
    world.send(paul, direct, "quatre").await;
    world.send(zoe, group, "à tous").await;
    world.post(paul, &format!("groups/{group}/mark-read"), Value::Null).await;
    world.send(lea, group, "oui").await;
    world.put(lea, &format!("groups/{group}"), json!({ "name": format!("Chantier {round}") })).await;
    world.delete(lea, &format!("groups/{group}/members/{}", zoe.id)).await;
    let invited = world.post(lea, &format!("groups/{group}/invite"), json!({ "to_user_id": zoe.id })).await;
    let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
    world.put(zoe, &path, json!({ "action": "accept" })).await;
    if round == 0 {
        world.post(zoe, "invitations", json!({ "to_user_id": paul.id })).await;
        let other = world.post(paul, "groups", json!({ "name": "À part" })).await["group_id"].clone();
        world.post(paul, &format!("groups/{}/leave", other.as_str().unwrap()), Value::Null).await;
    }
    if round == 1 {
        let waiting = world.get(paul, "invitations").await["invitations"][0]["id"].clone();
        let path = format!("invitations/{}/respond", waiting.as_str().unwrap());
        world.put(paul, &path, json!({ "action": "accept" })).await;
    }
    if round == 2 {
        world.post(lea, &format!("groups/{group}/leave"), Value::Null).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_the_events_since_are_a_fresh_snapshot() {
    on_both(|world| async move {
        let people = [world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await];
        let [lea, paul, zoe] = &people;
        let direct = world.befriend(lea, paul).await;
        let group = world.post(lea, "groups", json!({ "name": "Chantier" })).await["group_id"]
            .as_str()
            .unwrap()
            .to_owned();
        for guest in [paul, zoe] {
            let invited =
                world.post(lea, &format!("groups/{group}/invite"), json!({ "to_user_id": guest.id })).await;
            let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
            world.put(guest, &path, json!({ "action": "accept" })).await;
        }
        for round in 0..3 {
            let mut watchers = Vec::new();
            for person in &people[..2] {
                watchers.push((person, State::fetch(&world, person).await));
            }
            live(&world, &people, &direct, &group, round).await;
            for (person, (mut state, cursor)) in watchers {
                let asked = json!({ "since": cursor, "include_own": true });
                let (mut socket, welcome) = world.connect_with(person, asked).await;
                assert_eq!(welcome["recovered"], true);
                for frame in socket.heard().await {
                    state.apply(&person.id, &frame);
                }
                let (fresh, _) = State::fetch(&world, person).await;
                assert_eq!(state, fresh, "round {round}");
            }
        }
    })
    .await;
}
