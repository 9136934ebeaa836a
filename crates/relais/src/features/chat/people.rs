//! The users of the chat.

use std::net::IpAddr;

use relais_protocol::event::Topic;
use relais_protocol::time::Timestamp;
use relais_store::{ReadTx, StoreError, WriteTx};

use super::blocks::Apart;
use super::model::{Contact, Person};
use super::refusal::{no_person, not_allowed};
use super::service::{Chat, Known};
use super::store;
use crate::AppError;
use crate::auth::{Permit, Principal, User, address, credentials_required, user_principal};
use crate::config::ChatAccess;
use crate::features::accounts::Actor;
use crate::said::said;
use crate::text::fold;

/// Users read at once.
const PAGE: usize = 1_000;

/// An authenticated user of the chat.
#[derive(Clone, Debug)]
pub struct Me {
    /// The data visible to others.
    pub person: Person,
    /// The user's own topic.
    pub topic: Topic,
    /// The rights by which they are admitted: what they write is stored only while these are valid.
    permit: Permit,
}

impl Me {
    /// The user's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.person.id
    }

    /// The user as the actor in the audit log.
    pub(super) fn actor(&self, address: Option<IpAddr>) -> Actor {
        Actor::named(self.topic.to_string(), address)
    }

    /// The permit to check in the transaction of a change.
    pub(super) fn permit(&self) -> Permit {
        self.permit.clone()
    }
}

impl Chat {
    /// Admits a caller, and stores their name for others.
    ///
    /// # Errors
    /// 401 without a user's credential, 403 if the user may not use the chat.
    pub async fn enter(&self, principal: &Principal) -> Result<Me, AppError> {
        let user = match principal {
            Principal::Anonymous => return Err(credentials_required()),
            Principal::Service(_) => {
                return Err(not_allowed(said!(
                    "Une clé ne prend pas part aux conversations",
                    "A key does not take part in conversations"
                )));
            }
            Principal::User(user) => user,
        };
        if !self.admits(user.admin, user.staff) {
            return Err(not_allowed(said!(
                "Les conversations sont réservées à d'autres comptes",
                "Conversations are for other accounts"
            )));
        }
        let topic = Topic::new(&user.principal_id).map_err(AppError::internal)?;
        let permit = self.0.accounts.lasting_permit(user);
        let known = self.0.people.get(&user.id).filter(|known| *known.principal == *user.principal_id);
        if let Some(known) = known.filter(|known| is_named(&known.person, user)) {
            return Ok(Me { person: known.person, topic, permit });
        }
        let account = match *user.principal_id == *user_principal(&user.id) {
            true => self.account_of(&user.id).await?,
            false => None,
        };
        let person = account.unwrap_or_else(|| said_by(user));
        self.remember(Known { person: person.clone(), principal: user.principal_id.clone() }).await?;
        Ok(Me { person, topic, permit })
    }

    fn admits(&self, admin: bool, staff: bool) -> bool {
        match self.0.config.access {
            ChatAccess::Everyone => true,
            ChatAccess::Staff => staff || admin,
            ChatAccess::Admins => admin,
        }
    }

    /// The account of a user, if this server has one: users of an existing backend have none here.
    async fn account_of(&self, id: &str) -> Result<Option<Person>, AppError> {
        let found = match self.0.accounts.find_user(id).await {
            Ok(found) if found.id == id => found,
            Ok(_) => return Ok(None),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        if found.disabled || !self.admits(found.admin, found.staff) {
            return Err(no_person());
        }
        let (firstname, lastname) = (found.firstname, found.lastname);
        Ok(Some(Person { id: found.id, firstname, lastname, email: found.email }))
    }

    async fn remember(&self, known: Known) -> Result<(), AppError> {
        let row = known.clone();
        self.0
            .store
            .write(move |tx| {
                if store::people::put(tx, &row.principal, &row.person)? {
                    return Ok(());
                }
                let message = said!(
                    "Cet identifiant appartient déjà à quelqu'un d'autre sur ce serveur",
                    "This id already belongs to somebody else on this server"
                );
                Err(AppError::conflict("id_in_use", message))
            })
            .await?;
        self.0.people.put(known);
        Ok(())
    }

    /// Makes sure that a recipient is known, and returns their id: a user may never have connected, and clients of an
    /// existing backend may give the e-mail address instead.
    pub(super) async fn know(&self, id: &str) -> Result<String, AppError> {
        let id = &match address(id) {
            Some(address) => self.accounts_id(&address).await?.unwrap_or(address),
            None => id.to_owned(),
        };
        self.know_id(id).await?;
        Ok(id.clone())
    }

    async fn accounts_id(&self, address: &str) -> Result<Option<String>, AppError> {
        match self.0.accounts.find_user(address).await {
            Ok(found) => Ok(Some(found.id)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn know_id(&self, id: &str) -> Result<(), AppError> {
        let wanted = id.to_owned();
        let known = self.0.store.read(move |tx| store::people::principal_of(tx, &wanted)).await;
        match known.map_err(|error: StoreError| AppError::from(error))? {
            // Disabled users can no longer be written to.
            Some(principal) if principal.starts_with("user:") => self.account_of(id).await.map(drop),
            Some(_) => Ok(()),
            None => {
                let person = self.account_of(id).await?.ok_or_else(no_person)?;
                let principal = user_principal(id).into();
                self.remember(Known { person, principal }).await
            }
        }
    }

    /// Users whose name or address contains `query`, ignoring accents and case, except the user themselves.
    ///
    /// # Errors
    /// A database error.
    pub async fn search_people(&self, me: &Me, query: &str, limit: usize) -> Result<Vec<Contact>, AppError> {
        let (wanted, id) = (fold(query), me.person.id.clone());
        let hidden = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            Ok::<_, StoreError>((store::blocks::blockers(tx, &id)?, Apart::of(tx, &id)?))
        });
        let (hiding, apart) = hidden.await?;
        let matches = |person: &Person| {
            person.id != me.person.id
                && !hiding.contains(&person.id)
                && [format!("{} {}", person.firstname, person.lastname), person.email.clone()]
                    .iter()
                    .any(|text| fold(text).contains(&wanted))
        };
        let (mut found, mut after) = (Vec::new(), String::new());
        while found.len() < limit {
            let page = self.here_after(after).await?;
            let Some(last) = page.last() else { break };
            after = last.id.clone();
            for person in page.into_iter().filter(matches) {
                if found.len() < limit && self.is_external(&person).await? {
                    found.push(person);
                }
            }
        }
        after = String::new();
        while found.len() < limit {
            let page = self.0.accounts.list_users(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id.clone();
            let admitted =
                page.into_iter().filter(|user| !user.disabled && self.admits(user.admin, user.staff));
            let people = admitted.map(|user| Person {
                id: user.id,
                firstname: user.firstname,
                lastname: user.lastname,
                email: user.email,
            });
            found.extend(people.filter(matches));
        }
        found.truncate(limit);
        Ok(found.into_iter().map(|person| apart.seen(self.contact(person, None))).collect())
    }

    /// Users who have ever connected, in order of their ids after the given one.
    async fn here_after(&self, after: String) -> Result<Vec<Person>, AppError> {
        let found = self.0.store.read(move |tx| store::people::page(tx, &after, PAGE)).await;
        found.map_err(|error: StoreError| error.into())
    }

    /// Whether a user is known from a token only.
    async fn is_external(&self, person: &Person) -> Result<bool, AppError> {
        match self.0.accounts.find_user(&person.id).await {
            Ok(found) => Ok(found.id != person.id),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A user with their current presence.
    pub(super) fn contact(&self, person: Person, last_seen: Option<Timestamp>) -> Contact {
        let (is_online, left) = self.0.devices.presence(&person.id);
        Contact { person, is_online, last_seen: left.or(last_seen).filter(|_| !is_online) }
    }
}

/// Whether a user's stored name is current.
fn is_named(person: &Person, user: &User) -> bool {
    let name = format!("{} {}", person.firstname, person.lastname);
    let name = if name.trim().is_empty() { &person.email } else { name.trim() };
    name == user.display_name && person.email == user.email
}

/// The names in a token.
fn said_by(user: &User) -> Person {
    let (firstname, lastname) = user.display_name.split_once(' ').unwrap_or((&user.display_name, ""));
    Person {
        id: user.id.clone(),
        firstname: firstname.to_owned(),
        lastname: lastname.to_owned(),
        email: user.email.clone(),
    }
}

/// The topic of a user.
pub(super) fn topic_of(tx: &mut WriteTx<'_>, id: &str) -> Result<Topic, AppError> {
    let principal = store::people::principal_of(tx, id)?.ok_or_else(no_person)?;
    Topic::new(&principal).map_err(AppError::internal)
}
