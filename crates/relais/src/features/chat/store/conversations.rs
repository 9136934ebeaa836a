//! Conversations and their members.

use std::collections::HashSet;

use relais_protocol::time::Timestamp;
use relais_store::{Param, Query, Row, StoreError, WriteTx, params};

use super::super::model::{Kind, Person, Role};
use super::people::person_at;

/// A conversation without its members.
#[derive(Clone, Debug)]
pub(crate) struct ConversationRow {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    /// The number of the last message.
    pub(crate) messages: u64,
    /// The number of members.
    pub(crate) members: u64,
}

/// A user's membership in a conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) role: Role,
    /// The number of the last message that was read.
    pub(crate) read_to: u64,
    pub(crate) unread: u64,
}

/// A member of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct MemberRow {
    pub(crate) person: Person,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) role: Role,
}

fn conversation(row: &Row<'_>) -> Result<ConversationRow, StoreError> {
    Ok(ConversationRow {
        id: row.text(0)?,
        kind: Kind::parse(row.str(1)?),
        name: row.text(2)?,
        created_at: row.timestamp(3)?,
        messages: row.u64(4)?,
        members: row.u64(5)?,
    })
}

fn place(row: &Row<'_>, first: usize) -> Result<Place, StoreError> {
    Ok(Place {
        role: Role::parse(row.str(first)?),
        read_to: row.u64(first + 1)?,
        unread: row.u64(first + 2)?,
    })
}

/// A conversation with the user's membership, if they are a member.
pub(crate) fn find_of(
    tx: &mut impl Query,
    id: &str,
    user_id: &str,
) -> Result<Option<(ConversationRow, Place)>, StoreError> {
    let sql = "SELECT c.id, c.kind, c.name, c.created_at, c.messages, c.members, m.role, m.read_to, m.unread \
               FROM chat_members m JOIN chat_conversations c ON c.id = m.conversation_id \
               WHERE m.conversation_id = $1 AND m.user_id = $2";
    tx.query_opt(sql, params![id, user_id], |row| Ok((conversation(row)?, place(row, 6)?)))
}

/// A position in the list of conversations: the time of the last activity, and the id.
pub(crate) type Listed = (Timestamp, String);

/// The conversations of a user, of one kind or all, the most recently active first; after a position in the list. Each
/// with its own membership.
pub(crate) fn list_of(
    tx: &mut impl Query,
    user_id: &str,
    kind: Option<Kind>,
    after: Option<&Listed>,
    limit: usize,
) -> Result<Vec<(ConversationRow, Place, Listed)>, StoreError> {
    let sql = "SELECT c.id, c.kind, c.name, c.created_at, c.messages, c.members, m.role, m.read_to, m.unread, \
                   c.active_at \
               FROM chat_members m JOIN chat_conversations c ON c.id = m.conversation_id \
               WHERE m.user_id = $1 AND ($2 = '' OR c.kind = $2) \
                 AND (c.active_at < $3 OR (c.active_at = $3 AND c.id < $4)) \
               ORDER BY c.active_at DESC, c.id DESC LIMIT $5";
    let (active_at, id) = after.map_or((i64::MAX, ""), |(at, id)| (at.as_millis(), id));
    let kind = kind.map_or("", Kind::as_str);
    tx.query(sql, params![user_id, kind, active_at, id, limit], |row| {
        let conversation = conversation(row)?;
        let listed = (row.timestamp(9)?, conversation.id.clone());
        Ok((conversation, place(row, 6)?, listed))
    })
}

/// The number of conversations of a user, of one kind or all, and of their unread messages.
pub(crate) fn totals_of(
    tx: &mut impl Query,
    user_id: &str,
    kind: Option<Kind>,
) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(m.unread), 0) AS BIGINT) \
               FROM chat_members m JOIN chat_conversations c ON c.id = m.conversation_id \
               WHERE m.user_id = $1 AND ($2 = '' OR c.kind = $2)";
    tx.query_one(sql, params![user_id, kind.map_or("", Kind::as_str)], |row| Ok((row.u64(0)?, row.u64(1)?)))
}

/// The ids of all conversations of a user.
pub(crate) fn ids_of(tx: &mut impl Query, user_id: &str) -> Result<Vec<String>, StoreError> {
    tx.query("SELECT conversation_id FROM chat_members WHERE user_id = $1", params![user_id], |row| {
        row.text(0)
    })
}

/// The conversation between two users.
pub(crate) fn find_pair(tx: &mut impl Query, pair: &str) -> Result<Option<String>, StoreError> {
    tx.query_opt("SELECT id FROM chat_conversations WHERE pair = $1", params![pair], |row| row.text(0))
}

/// Adds a conversation.
pub(crate) fn insert(
    tx: &mut WriteTx<'_>,
    row: &ConversationRow,
    pair: Option<&str>,
    created_by: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO chat_conversations (id, kind, name, pair, created_by, created_at, messages, active_at, members) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, $6, 0)",
        params![&row.id, row.kind.as_str(), &row.name, pair, created_by, row.created_at],
    )?;
    Ok(())
}

/// Renames a group.
pub(crate) fn rename(tx: &mut WriteTx<'_>, id: &str, name: &str) -> Result<(), StoreError> {
    tx.execute("UPDATE chat_conversations SET name = $1 WHERE id = $2", params![name, id])?;
    Ok(())
}

/// The number of the last message of a conversation, and of its members.
pub(crate) fn counts(tx: &mut impl Query, id: &str) -> Result<Option<(u64, u64)>, StoreError> {
    let sql = "SELECT messages, members FROM chat_conversations WHERE id = $1";
    tx.query_opt(sql, params![id], |row| Ok((row.u64(0)?, row.u64(1)?)))
}

/// A conversation and some of its members, each with their membership.
pub(crate) type WithMembers = (ConversationRow, Vec<(String, Place)>);

/// Conversations, each with its first members in the order of ids and their memberships; missing ones are omitted.
pub(crate) fn find_each(
    tx: &mut impl Query,
    ids: &[&str],
    members_max: usize,
) -> Result<Vec<Option<WithMembers>>, StoreError> {
    let sql = "SELECT c.id, c.kind, c.name, c.created_at, c.messages, c.members, m.role, m.read_to, m.unread, m.user_id \
               FROM chat_conversations c JOIN chat_members m ON m.conversation_id = c.id \
               WHERE c.id = $1 ORDER BY m.user_id LIMIT $2";
    let asked: Vec<[Param<'_>; 2]> = ids.iter().map(|id| [(*id).into(), members_max.into()]).collect();
    let mut found: Vec<Option<WithMembers>> = ids.iter().map(|_| None).collect();
    tx.visit_each(sql, &asked, &mut |number, row| {
        let Some(found) = found.get_mut(number) else { return Ok(()) };
        if found.is_none() {
            *found = Some((conversation(row)?, Vec::new()));
        }
        if let Some((_, members)) = found {
            members.push((row.text(9)?, place(row, 6)?));
        }
        Ok(())
    })?;
    Ok(found)
}

/// The change of a conversation when messages were added to it.
pub(crate) struct Added<'a> {
    pub(crate) conversation_id: &'a str,
    /// The number of the last message now.
    pub(crate) messages: u64,
    /// Messages unread by everyone, before [`Added::places`] counts.
    pub(crate) unread: u64,
    /// The memberships that are known.
    pub(crate) places: Vec<(&'a str, Place)>,
}

/// Counts added messages: in their conversations, and for the members who have not read them.
pub(crate) fn count_messages(
    tx: &mut WriteTx<'_>,
    all: &[Added<'_>],
    at: Timestamp,
) -> Result<(), StoreError> {
    let counted: Vec<[Param<'_>; 3]> =
        all.iter().map(|added| [added.messages.into(), at.into(), added.conversation_id.into()]).collect();
    tx.execute_each("UPDATE chat_conversations SET messages = $1, active_at = $2 WHERE id = $3", &counted)?;
    let everybody: Vec<[Param<'_>; 2]> = all
        .iter()
        .filter(|added| added.unread > 0)
        .map(|added| [added.unread.into(), added.conversation_id.into()])
        .collect();
    tx.execute_each("UPDATE chat_members SET unread = unread + $1 WHERE conversation_id = $2", &everybody)?;
    let places: Vec<[Param<'_>; 4]> = all
        .iter()
        .flat_map(|added| added.places.iter().map(move |(user_id, place)| (added, user_id, place)))
        .map(|(added, user_id, place)| {
            [place.read_to.into(), place.unread.into(), added.conversation_id.into(), (*user_id).into()]
        })
        .collect();
    tx.execute_each(
        "UPDATE chat_members SET read_to = $1, unread = $2 WHERE conversation_id = $3 AND user_id = $4",
        &places,
    )?;
    Ok(())
}

/// All members of a conversation, in the order in which they joined.
pub(crate) fn members(tx: &mut impl Query, id: &str) -> Result<Vec<MemberRow>, StoreError> {
    let sql = "SELECT p.id, p.firstname, p.lastname, p.email, p.last_seen_at, m.role \
               FROM chat_members m JOIN chat_people p ON p.id = m.user_id \
               WHERE m.conversation_id = $1 ORDER BY m.joined_at, m.user_id";
    tx.query(sql, params![id], |row| {
        Ok(MemberRow {
            person: person_at(row, 0)?,
            last_seen: row.opt_timestamp(4)?,
            role: Role::parse(row.str(5)?),
        })
    })
}

/// When a user joined a conversation, if they are a member.
pub(crate) fn joined_at(
    tx: &mut impl Query,
    id: &str,
    user_id: &str,
) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT joined_at FROM chat_members WHERE conversation_id = $1 AND user_id = $2";
    tx.query_opt(sql, params![id, user_id], |row| row.timestamp(0))
}

/// The members of a conversation who joined after a time, or at it and with a greater id, in the order in which they
/// joined.
pub(crate) fn members_after(
    tx: &mut impl Query,
    id: &str,
    at: Timestamp,
    user_id: &str,
    limit: usize,
) -> Result<Vec<MemberRow>, StoreError> {
    let sql = "SELECT p.id, p.firstname, p.lastname, p.email, p.last_seen_at, m.role \
               FROM chat_members m JOIN chat_people p ON p.id = m.user_id \
               WHERE m.conversation_id = $1 AND (m.joined_at, m.user_id) > ($2, $3) \
               ORDER BY m.joined_at, m.user_id LIMIT $4";
    tx.query(sql, params![id, at, user_id, limit], |row| {
        Ok(MemberRow {
            person: person_at(row, 0)?,
            last_seen: row.opt_timestamp(4)?,
            role: Role::parse(row.str(5)?),
        })
    })
}

/// The ids of all members of a conversation, a page at a time: those after `after` in the order of ids.
pub(crate) fn member_ids(
    tx: &mut impl Query,
    id: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT user_id FROM chat_members WHERE conversation_id = $1 AND user_id > $2 \
               ORDER BY user_id LIMIT $3";
    tx.query(sql, params![id, after, limit], |row| row.text(0))
}

/// Whether a user is a member of a conversation.
pub(crate) fn is_member(tx: &mut impl Query, id: &str, user_id: &str) -> Result<bool, StoreError> {
    let sql = "SELECT CAST(1 AS BIGINT) FROM chat_members WHERE conversation_id = $1 AND user_id = $2";
    Ok(tx.query_opt(sql, params![id, user_id], |row| row.u64(0))?.is_some())
}

/// The number of groups that a user owns.
pub(crate) fn count_owned(tx: &mut impl Query, user_id: &str) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM chat_members WHERE user_id = $1 AND role = 'owner'";
    tx.query_one(sql, params![user_id], |row| row.u64(0))
}

/// Users looked up at once.
const LOOKED_FOR_AT_ONCE: usize = 20;

/// As many parameters as [`LOOKED_FOR_AT_ONCE`] says, after the first.
const MEMBERS_AMONG: &str = "SELECT user_id FROM chat_members WHERE conversation_id = $1 AND user_id IN \
     ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";

/// Which of these users are members of a conversation.
pub(crate) fn members_among(
    tx: &mut impl Query,
    id: &str,
    people: &[&str],
) -> Result<HashSet<String>, StoreError> {
    let mut found = HashSet::new();
    for some in people.chunks(LOOKED_FOR_AT_ONCE) {
        // The parameters are filled up with the last one.
        let filled = some.iter().chain(std::iter::repeat(&some[some.len() - 1])).take(LOOKED_FOR_AT_ONCE);
        let values: Vec<Param<'_>> = std::iter::once(&id).chain(filled).map(|id| Param::from(*id)).collect();
        found.extend(tx.query(MEMBERS_AMONG, &values, |row| row.text(0))?);
    }
    Ok(found)
}

/// The longest-standing member of a group, if nobody owns it.
pub(crate) fn heir(tx: &mut impl Query, id: &str) -> Result<Option<String>, StoreError> {
    let owned =
        "SELECT CAST(1 AS BIGINT) FROM chat_members WHERE conversation_id = $1 AND role = 'owner' LIMIT 1";
    if tx.query_opt(owned, params![id], |row| row.u64(0))?.is_some() {
        return Ok(None);
    }
    let sql =
        "SELECT user_id FROM chat_members WHERE conversation_id = $1 ORDER BY joined_at, user_id LIMIT 1";
    tx.query_opt(sql, params![id], |row| row.text(0))
}

/// Adds a member, who has read everything so far. They come after all present members, whatever the clock says.
pub(crate) fn add_member(
    tx: &mut WriteTx<'_>,
    id: &str,
    user_id: &str,
    role: Role,
    messages: u64,
) -> Result<(), StoreError> {
    let now = tx.now();
    let last =
        "SELECT joined_at FROM chat_members WHERE conversation_id = $1 ORDER BY joined_at DESC LIMIT 1";
    let last = tx.query_opt(last, params![id], |row| row.timestamp(0))?;
    let joined_at = last.map_or(now, |last| now.max(last.plus_millis(1)));
    tx.execute(
        "INSERT INTO chat_members (conversation_id, user_id, role, joined_at, read_to, unread) \
         VALUES ($1, $2, $3, $4, $5, 0)",
        params![id, user_id, role.as_str(), joined_at, messages],
    )?;
    tx.execute("UPDATE chat_conversations SET members = members + 1 WHERE id = $1", params![id])?;
    Ok(())
}

/// Removes a member; returns how many are left, if there was one.
pub(crate) fn remove_member(
    tx: &mut WriteTx<'_>,
    id: &str,
    user_id: &str,
) -> Result<Option<u64>, StoreError> {
    let sql = "DELETE FROM chat_members WHERE conversation_id = $1 AND user_id = $2";
    if tx.execute(sql, params![id, user_id])? == 0 {
        return Ok(None);
    }
    let sql = "UPDATE chat_conversations SET members = members - 1 WHERE id = $1 RETURNING members";
    tx.query_opt(sql, params![id], |row| row.u64(0))
}

/// Makes a member an owner.
pub(crate) fn promote(tx: &mut WriteTx<'_>, id: &str, user_id: &str) -> Result<(), StoreError> {
    let sql = "UPDATE chat_members SET role = 'owner' WHERE conversation_id = $1 AND user_id = $2";
    tx.execute(sql, params![id, user_id])?;
    Ok(())
}

/// A message was deleted: members who had not read it have one less to read.
pub(crate) fn uncount_unread(
    tx: &mut WriteTx<'_>,
    id: &str,
    sender_id: &str,
    number: u64,
) -> Result<(), StoreError> {
    let sql = "UPDATE chat_members SET unread = unread - 1 \
               WHERE conversation_id = $1 AND user_id <> $2 AND read_to < $3";
    tx.execute(sql, params![id, sender_id, number])?;
    Ok(())
}

/// A member has read up to a message, and `unread` are left.
pub(crate) fn set_read(
    tx: &mut WriteTx<'_>,
    id: &str,
    user_id: &str,
    read_to: u64,
    unread: u64,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE chat_members SET read_to = $1, unread = $2 WHERE conversation_id = $3 AND user_id = $4",
        params![read_to, unread, id, user_id],
    )?;
    super::reads::add(tx, id, user_id, read_to)
}
