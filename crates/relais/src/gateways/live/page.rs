//! What a page shows, and where it listens for it.

use relais_hub::Subscription;
use relais_protocol::event::{Channel, Topic};
use serde::Deserialize;
use serde_json::Value;

use crate::App;
use crate::AppError;
use crate::aliases::{Aliased, United};
use crate::auth::{Action, Principal};
use crate::features::live::Live;
use crate::features::live::{FLEET, MODULE, TELEMETRY, Tier, Visibility};
use crate::features::publish::Target;
use crate::said::{Said, said};

/// The longest name of a page, in bytes.
const PAGE_BYTES_MAX: usize = 64;

/// What a client says of its page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PageRequest {
    pub(super) page: Option<String>,
    /// Milliseconds between two values of a module at least.
    pub(super) interval: Option<u64>,
    pub(super) token: Option<String>,
    /// The last event that the page has seen: what its channels keep and have had since is told.
    pub(super) since: Option<String>,
}

impl Aliased for PageRequest {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] =
        &[("interval", &["interval_ms", "intervalMs"])];
}

impl PageRequest {
    /// What a page says: fields, or its name alone.
    ///
    /// # Errors
    /// 400 for fields that are not what they should be.
    pub(super) fn read(data: &Value) -> Result<Self, AppError> {
        match data {
            Value::Null => Ok(Self::default()),
            Value::String(page) => Ok(Self { page: Some(page.clone()), ..Self::default() }),
            data => serde_json::from_value(data.clone()).map(|United(request)| request).map_err(|error| {
                let why = Said::carried_in(&error.to_string());
                let message =
                    said!("Demande de page illisible : {}", "The request of a page cannot be read: {}"; why);
                AppError::bad_request("invalid_page", message)
            }),
        }
    }
}

/// A page that somebody looks at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Page {
    pub(super) name: Option<String>,
    pub(super) tier: Tier,
    pub(super) visibility: Visibility,
}

impl Page {
    /// The page of `request`, in place of `former`.
    ///
    /// # Errors
    /// 400 for a name that is none, 403 for the administrators' page.
    pub(super) fn of(
        app: &App,
        principal: &Principal,
        former: Option<&Self>,
        request: &PageRequest,
    ) -> Result<Self, AppError> {
        let visibility = Visibility::of(principal)?;
        let name = match &request.page {
            Some(name) => Some(checked(app, principal, name)?),
            None => former.and_then(|former| former.name.clone()),
        };
        let tier = match request.interval {
            Some(interval) => Tier::for_interval(interval),
            None => former.map_or(Tier::Live, |former| former.tier),
        };
        app.service::<Live>().want(tier);
        Ok(Self { name, tier, visibility })
    }

    /// Everything that it listens to.
    pub(super) fn channels(&self) -> Vec<Channel> {
        let suffix = self.tier.suffix();
        let told_to = |target: Target<'_>| target.topic().ok().map(Channel::Topic);
        let page = self.name.as_deref().and_then(|name| told_to(Target::Page(name)));
        let of_all = |family: String| Channel::Family(family.into());
        let modules = match &self.visibility {
            Visibility::All => {
                let role = told_to(Target::Administrators);
                let families = [of_all(MODULE.to_owned()), of_all(format!("{TELEMETRY}{suffix}"))];
                role.into_iter().chain(families).collect()
            }
            Visibility::Own(owner) => {
                let fleet = Topic::new(&format!("{FLEET}{suffix}:{owner}"));
                Vec::from_iter(fleet.ok().map(Channel::Topic))
            }
        };
        told_to(Target::Everybody).into_iter().chain(page).chain(modules).collect()
    }
}

fn checked(app: &App, principal: &Principal, name: &str) -> Result<String, AppError> {
    let name = name.trim();
    let topic = Target::Page(name).topic().ok().filter(|_| (1..=PAGE_BYTES_MAX).contains(&name.len()));
    let Some(topic) = topic else {
        let message = said!(
            "Nom de page invalide : de 1 à {PAGE_BYTES_MAX} octets",
            "Invalid name of a page: 1 to {PAGE_BYTES_MAX} bytes"
        );
        return Err(AppError::bad_request("invalid_page", message));
    };
    app.auth().require(principal, Action::Subscribe(&Channel::Topic(topic)))?;
    Ok(name.to_owned())
}

/// All of a channel.
pub(super) fn whole(channel: Channel) -> Subscription {
    Subscription { channel, filter: None }
}
