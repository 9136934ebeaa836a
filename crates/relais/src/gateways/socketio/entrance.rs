//! How a client joins a namespace.

use std::sync::Arc;

use bytes::Bytes;
use relais_hub::{Flow, Joined, StartPosition};
use relais_protocol::engineio::Text;
use relais_protocol::event::Cursor;
use relais_protocol::socketio::Recovery as Asked;

use super::conversation::{Member, Talk, text};
use super::dialect::Reads;
use super::recovery::{is_asked_in, place, private_id};
use super::server::Registered;
use super::{Admission, ConnectRequest, Refused, Socket, Welcome};
use crate::AppError;
use crate::auth::Principal;
use crate::auth::ending::rights_changed;
use crate::gateways::engineio::new_id;
use crate::gateways::{identity, other_identity};
use crate::said::said;

/// The message that clients know for an unknown namespace.
const NO_NAMESPACE: &str = "Invalid namespace";

/// A client joining a namespace.
pub(super) struct Entrance {
    pub(super) talk: Arc<Talk>,
    pub(super) namespace: String,
    pub(super) auth: Option<Text>,
    /// What it asks to recover.
    pub(super) asked: Option<Asked>,
}

impl Entrance {
    /// Accepts the client, or sends it the reason of the refusal.
    pub(super) async fn enter(self) -> Flow {
        let Some(registered) = self.talk.server.namespace(&self.namespace) else {
            self.talk.say(|session| session.refuse(&self.namespace, NO_NAMESPACE, None));
            return Flow::Continue;
        };
        let head = self.talk.client.hub().head();
        let entered = self.try_enter(&registered).await;
        let (socket, recovered) = match entered {
            Ok(Some(entered)) => entered,
            Ok(None) => return Flow::Continue,
            Err(refused) => {
                metrics::counter!("relais_socketio_refused_total").increment(1);
                let Refused { message, data } = refused;
                self.talk.say(|session| session.refuse(&self.namespace, &message, data.as_ref()));
                return Flow::Continue;
            }
        };
        let welcome = Welcome { recovered, head, auth: self.auth };
        registered.feature.connected(socket, welcome).await;
        Flow::Continue
    }

    /// The client's socket, and whether it recovered; `None` if its connection ended meanwhile.
    async fn try_enter(&self, registered: &Arc<Registered>) -> Result<Option<(Socket, bool)>, Refused> {
        let admission = registered.feature.connect(self.request()).await?;
        belong(&self.talk, &admission.principal)?;
        let socket_id: Arc<str> = new_id()?.into();
        let asks = self.asked.is_some() || is_asked_in(text(self.auth.as_ref()));
        let reads = self.talk.reads(asks, !admission.channels.is_empty());
        let recovered = self.join(&admission, registered, reads, &socket_id).await?;
        let Admission { principal, channels, identify_within_s, .. } = admission;
        self.talk.expect_name(identify_within_s.filter(|_| principal.is_anonymous()), &principal);
        let namespace: Arc<str> = self.namespace.as_str().into();
        let socket = Socket::new(Arc::clone(&self.talk), &namespace, &socket_id);
        let added = self.talk.add_member(Member {
            socket_id,
            namespace,
            registered: Arc::clone(registered),
            dialect: Arc::clone(registered.dialects.of(reads)),
            channels: channels.into_iter().map(|subscription| subscription.channel).collect(),
            offsets: reads.offsets,
        });
        Ok(added.then_some((socket, recovered)))
    }

    fn request(&self) -> ConnectRequest {
        ConnectRequest {
            namespace: self.namespace.clone(),
            principal: self.talk.principal(),
            auth: self.auth.clone(),
            address: self.talk.client.address(),
            recovering: self.asked.is_some(),
        }
    }

    /// Subscribes to the channels. The confirmation is sent before the first event, including missed ones.
    async fn join(
        &self,
        admission: &Admission,
        registered: &Registered,
        reads: Reads,
        socket_id: &str,
    ) -> Result<bool, Refused> {
        let Self { talk, namespace, asked, .. } = self;
        if admission.channels.is_empty() {
            talk.say(|session| session.accept(namespace, socket_id, None));
            return Ok(false);
        }
        let principal = &admission.principal;
        let asked = asked.as_ref().filter(|_| reads.offsets);
        let resumed = asked.and_then(|asked| place(asked, principal, namespace));
        let since = resumed.or(admission.since);
        let welcome = |joined: &Joined| {
            let pid = reads.offsets.then(|| pid(asked, resumed, joined, principal, namespace));
            let frames = talk.words(|session| session.accept(namespace, socket_id, pid.as_deref()));
            frames.map_or_else(|_| Bytes::new(), |frames| talk.client.written(&frames))
        };
        let (hub, session) = (talk.client.hub(), talk.client.session());
        let from = since.map_or(StartPosition::Now, StartPosition::Cursor);
        let channels = admission.channels.clone();
        let dialect = registered.dialects.of(reads);
        let joined = hub.subscribe_members_as(session, dialect, channels, from, welcome).await;
        let joined = joined.map_err(AppError::from)?;
        Ok(since.is_some() && joined.recovered)
    }
}

/// A client that gets its own private id back knows that it missed nothing.
fn pid(
    asked: Option<&Asked>,
    since: Option<Cursor>,
    joined: &Joined,
    principal: &Principal,
    namespace: &str,
) -> String {
    match (asked, since) {
        (Some(asked), Some(_)) if joined.recovered => asked.pid.clone(),
        _ => private_id(principal, namespace, joined.cursor),
    }
}

/// A connection belongs to one principal: limits, presence and expiry depend on it. It lasts as long as the
/// longest-lived credential, and is closed if that one has other rights: the client reconnects with these.
pub(super) fn belong(talk: &Talk, principal: &Principal) -> Result<(), AppError> {
    let known = talk.principal();
    if known.id() == principal.id() {
        if !known.has_rights_of(principal) {
            talk.client.close(rights_changed());
            let text =
                said!("Vos droits ont changé : reconnectez-vous", "Your rights changed: connect again");
            return Err(AppError::forbidden("rights_changed", text));
        }
        if known.expires_at().is_some_and(|end| principal.expires_at().is_none_or(|later| later > end)) {
            talk.server.callers.identified(principal, talk.client.session());
            talk.set_principal(principal.clone());
        }
        return Ok(());
    }
    if !known.is_anonymous() {
        return Err(other_identity());
    }
    talk.client.hub().identify(talk.client.session(), identity(principal))?;
    talk.server.callers.identified(principal, talk.client.session());
    talk.set_principal(principal.clone());
    Ok(())
}
