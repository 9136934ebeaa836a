//! Protection from unwanted contact: waiting times after refusals, and blocks.
//!
//! A blocked user can no longer invite, write to, notify or find the other, and neither sees the other's presence or
//! typing. They are told that the other does not accept it, not that they are blocked. In groups both remain members.

use std::collections::{HashMap, HashSet};

use relais_protocol::time::Timestamp;
use relais_store::{Query, ReadTx, StoreError, WriteTx};
use serde_json::json;

use super::carriers::withdraw;
use super::messages::own;
use super::model::{Blocked, Contact, Kind};
use super::people::{Me, topic_of};
use super::refusal::{invalid, paused, refuses};
use super::service::Chat;
use super::store;
use crate::AppError;
use crate::auth::user_principal;
use crate::features::accounts::{Actor, record_action};
use crate::said::said;

/// Maximum number of users that one user may block.
pub(super) const BLOCKED_MAX: usize = 1_000;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Waiting times after one refusal, two, …; after more refusals the other user has to make contact.
const PAUSES_MS: &[i64] = &[HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS];
/// Refusals after which an invitation may still be sent at once: one may have been a mistake.
const FORGIVEN: u64 = 1;
/// Invitations to one user that may be withdrawn within a day.
const TAKEN_BACK_MAX: u64 = 5;

/// The kind of contact requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To start a conversation with them, or to add them to a group.
    Invite,
    /// To notify them outside of any conversation.
    Notify,
}

/// Until when a user must wait after this many refusals, the last at this time; `None` if they need not. `Some(None)`:
/// until the other makes contact.
fn waits_until(refusals: u64, last: Timestamp) -> Option<Option<Timestamp>> {
    let place = usize::try_from(refusals.checked_sub(1)?).unwrap_or(usize::MAX);
    Some(PAUSES_MS.get(place).map(|pause| last.plus_millis(*pause)))
}

/// Whether `from` may contact `to` in this way.
///
/// # Errors
/// 409 if `from` has blocked `to`, 403 if `to` does not accept it, 429 during a waiting time.
pub(super) fn check_welcome(tx: &mut WriteTx<'_>, from: &str, to: &str, wish: Wish) -> Result<(), AppError> {
    check_blocks(tx, from, to)?;
    let welcome = store::blocks::last_welcome(tx, from, to)?.unwrap_or_default();
    let (refusals, last) = store::blocks::settled(tx, from, to, "rejected", welcome)?;
    let counted = if wish == Wish::Invite { refusals.saturating_sub(FORGIVEN) } else { refusals };
    match waits_until(counted, last.unwrap_or_default()) {
        Some(Some(until)) => check_pause(tx.now(), until)?,
        Some(None) => return Err(refuses()),
        None => {}
    }
    if wish == Wish::Notify {
        return Ok(());
    }
    let yesterday = tx.now().plus_millis(-DAY_MS).max(welcome);
    match store::blocks::settled(tx, from, to, "cancelled", yesterday)? {
        (count, Some(last)) if count >= TAKEN_BACK_MAX => check_pause(tx.now(), last.plus_millis(DAY_MS)),
        _ => Ok(()),
    }
}

fn check_pause(now: Timestamp, until: Timestamp) -> Result<(), AppError> {
    let missing_ms = until.as_millis() - now.as_millis();
    if missing_ms <= 0 {
        return Ok(());
    }
    Err(paused(missing_ms.unsigned_abs().div_ceil(1000)))
}

/// Checks that neither has blocked the other.
fn check_blocks(tx: &mut impl Query, from: &str, to: &str) -> Result<(), AppError> {
    let blocks = store::blocks::between_each(tx, &[(from, to)])?.pop().unwrap_or_default();
    check_between(&blocks, from, to)
}

/// Checks that neither of two users has blocked the other, according to `blocks`.
pub(super) fn check_between(blocks: &[(String, String)], from: &str, to: &str) -> Result<(), AppError> {
    let has = |one: &str, other: &str| blocks.iter().any(|(by, of)| by == one && of == other);
    if has(from, to) {
        let message = said!(
            "Vous avez bloqué cette personne : débloquez-la d'abord",
            "You have blocked this person: unblock them first"
        );
        return Err(AppError::conflict("you_blocked", message).with("user_id", to));
    }
    if has(to, from) { Err(refuses()) } else { Ok(()) }
}

/// Checks that a member may write in a conversation: in a direct one, neither has blocked the other.
pub(super) fn check_partner(
    tx: &mut impl Query,
    conversation_id: &str,
    kind: Kind,
    user_id: &str,
) -> Result<(), AppError> {
    if kind == Kind::Direct
        && let Some(partner) = store::blocks::partner(tx, conversation_id, user_id)?
    {
        check_blocks(tx, user_id, &partner)?;
    }
    Ok(())
}

/// Users who have blocked a user or are blocked by them: neither sees the other's presence.
pub(super) struct Apart(HashSet<String>);

impl Apart {
    pub(super) fn of(tx: &mut impl Query, user_id: &str) -> Result<Self, StoreError> {
        Ok(Self(store::blocks::both_ways(tx, user_id)?.into_iter().collect()))
    }

    /// A contact as the user sees it.
    pub(super) fn seen(&self, contact: Contact) -> Contact {
        match self.0.contains(&contact.person.id) {
            true => Contact { is_online: false, last_seen: None, ..contact },
            false => contact,
        }
    }
}

/// Pairs of members of a conversation who do not see each other, because one has blocked the other.
#[derive(Default)]
pub(super) struct Rifts(HashMap<String, HashSet<String>>);

impl Rifts {
    pub(super) fn among(tx: &mut impl Query, conversation_id: &str) -> Result<Self, StoreError> {
        let mut rifts = Self::default();
        for (one, other) in store::blocks::among_members(tx, conversation_id)? {
            rifts.0.entry(one.clone()).or_default().insert(other.clone());
            rifts.0.entry(other).or_default().insert(one);
        }
        Ok(rifts)
    }

    /// The members whom a member does not see; `None` if they see everyone.
    pub(super) fn of(&self, member: &str) -> Option<&HashSet<String>> {
        self.0.get(member)
    }
}

impl Chat {
    /// The principals of users who have blocked a user or are blocked by them: neither sees the other's presence.
    ///
    /// # Errors
    /// A database error.
    pub async fn apart_from(&self, user_id: &str) -> Result<HashSet<String>, AppError> {
        let id = user_id.to_owned();
        let found = self.0.store.read(move |tx| store::blocks::principals_both_ways(tx, &id)).await;
        let found = found.map_err(|error: StoreError| AppError::from(error))?;
        Ok(found.into_iter().collect())
    }

    /// The kind of the conversation, if the user's activity in it may be published.
    ///
    /// # Errors
    /// 404 if the user is not a member.
    pub(super) async fn may_write(&self, me: &Me, conversation_id: &str) -> Result<Option<Kind>, AppError> {
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        let asked = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let (row, _) = own(tx, &conversation_id, &id)?;
            match check_partner(tx, &conversation_id, row.kind, &id) {
                Ok(()) => Ok(Some(row.kind)),
                Err(error) if error.status().is_server_error() => Err(error),
                Err(_) => Ok(None),
            }
        });
        asked.await
    }

    /// Blocks or unblocks a user. Pending invitations between the two are settled.
    ///
    /// # Errors
    /// 400 for oneself or too many, 404 if the user does not exist.
    pub async fn set_blocked(
        &self,
        me: &Me,
        actor: &Actor,
        other: &str,
        blocked: bool,
    ) -> Result<(), AppError> {
        let other = self.know(other).await?;
        if other == me.id() {
            let message = said!("On ne peut pas se bloquer soi-même", "Nobody can block themselves");
            return Err(invalid("user_id", message));
        }
        let (chat, mine, actor, whom) = (self.clone(), me.clone(), actor.clone(), other);
        let permit = me.permit();
        let changed = permit.write(&self.0.store, move |tx| {
            let (done, name, action) = if blocked {
                if store::blocks::count(tx, mine.id())? >= BLOCKED_MAX as u64 {
                    let message = said!(
                        "Déjà {BLOCKED_MAX} personnes bloquées : débloquez-en",
                        "You have already blocked {BLOCKED_MAX} people: unblock some"
                    );
                    return Err(AppError::conflict("too_many_blocked", message));
                }
                (store::blocks::insert(tx, mine.id(), &whom)?, "user_blocked", "chat.block")
            } else {
                (store::blocks::delete(tx, mine.id(), &whom)?, "user_unblocked", "chat.unblock")
            };
            if done {
                if blocked {
                    settle_between(tx, &mine, &whom)?;
                }
                let data = json!({ "by": mine.id(), "user_id": whom });
                tx.emit(&mine.topic, name, data.to_string())?;
                record_action(tx, &actor, action, &user_principal(&whom), "")?;
                chat.publish_to_each_other(tx, mine.id(), &whom, !blocked)?;
            }
            Ok(())
        });
        changed.await
    }

    /// The users that a user has blocked.
    ///
    /// # Errors
    /// A database error.
    pub async fn blocked(&self, me: &Me) -> Result<Vec<Blocked>, AppError> {
        let id = me.person.id.clone();
        let found = self.0.store.read(move |tx| store::blocks::list(tx, &id, BLOCKED_MAX)).await;
        let found = found.map_err(|error: StoreError| AppError::from(error))?;
        Ok(found.into_iter().map(|(person, blocked_at)| Blocked { person, blocked_at }).collect())
    }
}

/// Rejects the invitations of the blocked user and withdraws those sent to them.
fn settle_between(tx: &mut WriteTx<'_>, me: &Me, other: &str) -> Result<(), AppError> {
    let theirs = topic_of(tx, other)?;
    for (id, from) in store::blocks::pending_between(tx, me.id(), other)? {
        if from == other {
            withdraw(tx, &id, "rejected")?;
            let data = json!({ "by": me.id(), "invitation_id": id });
            tx.emit(&theirs, "invitation_rejected", data.to_string())?;
            let data = json!({ "invitation_id": id, "status": "rejected", "conversation_id": null });
            tx.emit(&me.topic, "invitation_answered", data.to_string())?;
        } else {
            withdraw(tx, &id, "cancelled")?;
            let data = json!({ "by": me.id(), "invitation_id": id }).to_string();
            tx.emit(&theirs, "invitation_cancelled", data.clone())?;
            tx.emit(&me.topic, "invitation_cancelled", data)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_with_every_refusal_until_only_the_other_can_ask() {
        let last = Timestamp::from_millis(1_000);
        let pauses = (0..=6).map(|refusals| {
            waits_until(refusals, last).map(|until| until.map(|until| (until.as_millis() - 1_000) / HOUR_MS))
        });
        let expected =
            [None, Some(Some(1)), Some(Some(24)), Some(Some(168)), Some(Some(720)), Some(None), Some(None)];
        assert_eq!(pauses.collect::<Vec<_>>(), expected);
    }
}
