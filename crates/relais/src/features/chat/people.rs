//! Who takes part, and who is there.

use std::sync::Arc;

use relais_protocol::event::Topic;
use relais_store::{StoreError, WriteTx};
use serde_json::json;

use super::model::{Contact, Person};
use super::refusal::{conflict, no_person, not_allowed};
use super::search::fold;
use super::service::Chat;
use super::store;
use crate::AppError;
use crate::auth::{Principal, User, unauthenticated};
use crate::config::ChatAccess;

/// People that a search looks at, at most.
const SEARCHED_MAX: usize = 10_000;
/// Users asked for at once.
const PAGE: usize = 500;
/// People who are told that somebody comes or goes, at most.
const CONTACTS_MAX: usize = 5_000;

/// Somebody who takes part and has shown who they are.
#[derive(Clone, Debug)]
pub struct Me {
    /// What others see.
    pub person: Person,
    /// The topic of their own.
    pub topic: Topic,
}

impl Me {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.person.id
    }
}

impl Chat {
    /// Lets a caller in, and remembers their name for others.
    ///
    /// # Errors
    /// 401 without a person's credential, 403 if the chat is not for them.
    pub async fn enter(&self, principal: &Principal) -> Result<Me, AppError> {
        let user = match principal {
            Principal::Anonymous => return Err(unauthenticated("Authentification requise")),
            Principal::Service(_) => return Err(not_allowed("Une clé ne prend pas part aux conversations")),
            Principal::User(user) => user,
        };
        if !self.admits(user.admin, user.staff) {
            return Err(not_allowed("Les conversations sont réservées à d'autres comptes"));
        }
        let topic = Topic::new(&user.principal_id).map_err(AppError::internal)?;
        if let Some(person) = self.0.people.get(&user.id)
            && *person.1 == *user.principal_id
        {
            return Ok(Me { person: person.0.clone(), topic });
        }
        let person = self.described(user).await?;
        self.remember(&person, &user.principal_id).await?;
        Ok(Me { person, topic })
    }

    fn admits(&self, admin: bool, staff: bool) -> bool {
        match self.0.config.access {
            ChatAccess::Everyone => true,
            ChatAccess::Staff => staff || admin,
            ChatAccess::Admins => admin,
        }
    }

    /// The names of somebody: the account's, or those that the token of another backend carries.
    async fn described(&self, user: &User) -> Result<Person, AppError> {
        if *user.principal_id == *format!("user:{}", user.id) {
            return self.account(&user.id).await;
        }
        let (firstname, lastname) = user.display_name.split_once(' ').unwrap_or((&user.display_name, ""));
        Ok(Person {
            id: user.id.clone(),
            firstname: firstname.to_owned(),
            lastname: lastname.to_owned(),
            email: user.email.clone(),
        })
    }

    async fn account(&self, id: &str) -> Result<Person, AppError> {
        let found = self.0.accounts.find_user(id).await.map_err(|_| no_person())?;
        if found.id != id || found.disabled || !self.admits(found.admin, found.staff) {
            return Err(no_person());
        }
        Ok(Person { id: found.id, firstname: found.firstname, lastname: found.lastname, email: found.email })
    }

    async fn remember(&self, person: &Person, principal: &str) -> Result<(), AppError> {
        let (row, name) = (person.clone(), principal.to_owned());
        self.0
            .store
            .write(move |tx| {
                if store::people::put(tx, &name, &row)? {
                    return Ok(());
                }
                let message = "Cet identifiant appartient déjà à quelqu'un d'autre sur ce serveur";
                Err(conflict("id_in_use", message))
            })
            .await?;
        self.0.people.put(person.clone(), principal.into());
        Ok(())
    }

    /// Makes sure that somebody who is written to is known: a user may never have been here.
    pub(super) async fn know(&self, id: &str) -> Result<(), AppError> {
        let wanted = id.to_owned();
        let known = self.0.store.read(move |tx| store::people::principal_of(tx, &wanted)).await;
        match known.map_err(|error: StoreError| AppError::from(error))? {
            // Disabled users are no longer written to.
            Some(principal) if principal.starts_with("user:") => self.account(id).await.map(drop),
            Some(_) => Ok(()),
            None => {
                let person = self.account(id).await?;
                self.remember(&person, &format!("user:{id}")).await
            }
        }
    }

    /// People whose name or address contains `query`, whatever its accents and capitals; oneself aside.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn search_people(&self, me: &Me, query: &str, limit: usize) -> Result<Vec<Contact>, AppError> {
        let wanted = fold(query);
        let matches = |person: &Person| {
            person.id != me.person.id
                && [format!("{} {}", person.firstname, person.lastname), person.email.clone()]
                    .iter()
                    .any(|text| fold(text).contains(&wanted))
        };
        let external = self.0.store.read(|tx| store::people::external(tx, SEARCHED_MAX)).await;
        let mut found: Vec<Person> = external.map_err(|error: StoreError| AppError::from(error))?;
        found.retain(matches);
        let (mut after, mut looked_at) = (String::new(), 0);
        while found.len() < limit && looked_at < SEARCHED_MAX {
            let page = self.0.accounts.list_users(after.clone(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            looked_at += page.len();
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
        Ok(found.into_iter().map(|person| self.contact(person, None)).collect())
    }

    /// Somebody, and whether they are there now.
    pub(super) fn contact(
        &self,
        person: Person,
        last_seen: Option<relais_protocol::time::Timestamp>,
    ) -> Contact {
        let is_online = self.0.devices.is_online(&person.id);
        Contact { person, is_online, last_seen: last_seen.filter(|_| !is_online) }
    }

    /// Tells everybody who talks with this person that they came or went.
    pub(super) async fn tell_presence(&self, me: &Me, is_online: bool) {
        let now = self.0.clock.now();
        let id = me.person.id.clone();
        if !is_online {
            let left = id.clone();
            let noted = self.0.store.write(move |tx| store::people::set_last_seen(tx, &left, now)).await;
            if let Err(error) = noted.map_err(|error: StoreError| error) {
                tracing::warn!(%error, "when somebody was last seen could not be stored");
            }
        }
        let contacts = self.0.store.read(move |tx| store::people::contacts(tx, &id, CONTACTS_MAX)).await;
        let contacts: Vec<String> = match contacts {
            Ok(contacts) => contacts,
            Err(error) => {
                let error: StoreError = error;
                tracing::warn!(%error, "who should know that somebody came or went could not be read");
                return;
            }
        };
        let last_seen = if is_online { None } else { Some(now) };
        let data: Arc<str> =
            json!({ "user_id": me.id(), "is_online": is_online, "last_seen": last_seen }).to_string().into();
        for topic in contacts.iter().filter_map(|contact| self.0.devices.topic_of(contact)) {
            self.publish_latest(topic, "user_presence", Arc::clone(&data), me.id());
        }
    }
}

/// The topic of somebody's own.
pub(super) fn topic_of(tx: &mut WriteTx<'_>, id: &str) -> Result<Topic, AppError> {
    let principal = store::people::principal_of(tx, id)?.ok_or_else(no_person)?;
    Topic::new(&principal).map_err(AppError::internal)
}
