//! Changes to a group: its name, and members leaving.

use relais_store::WriteTx;
use serde_json::json;

use super::conversations::{NAME_BYTES_MAX, SMALL_GROUP_MAX, group, large, named};
use super::model::{Conversation, Role};
use super::people::{Me, topic_of};
use super::presence::LEFT;
use super::refusal::{checked_name, no_person, not_allowed};
use super::service::{Chat, topic};
use super::{carriers, store};
use crate::AppError;
use crate::said::said;

impl Chat {
    /// Renames a group.
    ///
    /// # Errors
    /// 400 for the name, 403 if the user does not own the group, 404.
    pub async fn rename_group(&self, me: &Me, id: &str, name: &str) -> Result<Conversation, AppError> {
        let name = checked_name("name", name, NAME_BYTES_MAX)?;
        let (chat, me, id) = (self.clone(), me.clone(), id.to_owned());
        me.permit()
            .write(&self.0.store, move |tx| {
                let place = group(tx, &id, me.id())?;
                if place.role != Role::Owner {
                    return Err(not_allowed(said!(
                        "Seul un propriétaire du groupe peut le renommer",
                        "Only an owner of the group can rename it"
                    )));
                }
                store::conversations::rename(tx, &id, &name)?;
                let data = json!({ "by": me.id(), "conversation_id": id, "group_id": id, "name": name });
                tx.emit(&topic(&id)?, "conversation_renamed", data.to_string())?;
                chat.view(tx, &id, me.id())
            })
            .await
    }

    /// Leaves a group or, for its owner, removes a member. A former member can neither read nor subscribe to it.
    ///
    /// # Errors
    /// 403 if the user does not own the group, 404 if it, or the member, does not exist.
    pub async fn remove_member(&self, me: &Me, id: &str, user_id: &str) -> Result<(), AppError> {
        let (chat, me, id, user_id) = (self.clone(), me.clone(), id.to_owned(), user_id.to_owned());
        me.permit()
            .write(&self.0.store, move |tx| {
                let place = group(tx, &id, me.id())?;
                if me.id() != user_id && place.role != Role::Owner {
                    return Err(not_allowed(said!(
                        "Seul un propriétaire du groupe peut en retirer un membre",
                        "Only an owner of the group can take a member out of it"
                    )));
                }
                let left = store::conversations::remove_member(tx, &id, &user_id)?.ok_or_else(no_person)?;
                cancel_invitations(tx, &id, &user_id)?;
                let mut data =
                    json!({ "by": me.id(), "conversation_id": id, "group_id": id, "user_id": user_id });
                if left == SMALL_GROUP_MAX {
                    data["participants"] = json!(named(&store::conversations::members(tx, &id)?));
                } else if let Some(count) = large(left) {
                    data["member_count"] = count.into();
                }
                tx.emit(&topic(&id)?, "member_removed", data.to_string())?;
                let own_topic = topic_of(tx, &user_id)?;
                let told =
                    json!({ "conversation_id": id, "group_id": id, "user_id": user_id, "by": me.id() });
                tx.emit(&own_topic, LEFT, told.to_string())?;
                chat.keep_an_owner(tx, &id)
            })
            .await
    }

    /// If the last owner has left, the longest-standing member becomes the owner.
    fn keep_an_owner(&self, tx: &mut WriteTx<'_>, id: &str) -> Result<(), AppError> {
        if let Some(heir) = store::conversations::heir(tx, id)? {
            store::conversations::promote(tx, id, &heir)?;
            let data = json!({ "conversation_id": id, "group_id": id, "user_id": heir });
            tx.emit(&topic(id)?, "owner_changed", data.to_string())?;
        }
        Ok(())
    }
}

/// Invitations to a group end with the membership of their sender.
fn cancel_invitations(tx: &mut WriteTx<'_>, group_id: &str, from: &str) -> Result<(), AppError> {
    for (id, to) in store::invitations::sent_to_group(tx, group_id, from)? {
        carriers::withdraw(tx, &id, "cancelled")?;
        let data = json!({ "by": from, "invitation_id": id }).to_string();
        let asked = topic_of(tx, &to)?;
        tx.emit(&asked, "invitation_cancelled", data)?;
    }
    Ok(())
}
