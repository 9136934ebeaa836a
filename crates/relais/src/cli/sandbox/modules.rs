//! Adding the modules of simulated devices to a server, as an administrator.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::CliError;
use crate::cli::client::{Key, backoff};

/// Requests under way at the same time.
const TOGETHER: usize = 16;
/// How often a request that failed for a passing reason is tried again.
const RETRIES: u32 = 5;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Modules in one answer.
const PAGE: &str = "200";

/// A server's modules, as an administrator.
pub(super) struct Modules {
    http: reqwest::Client,
    base: String,
    authorization: HeaderValue,
    owner: Option<String>,
}

/// The server's answer to one call.
struct Answer {
    status: StatusCode,
    body: Value,
}

#[derive(Deserialize)]
struct Listed {
    modules: Vec<ListedModule>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct ListedModule {
    #[serde(rename = "module_id")]
    id: String,
}

#[derive(Deserialize)]
struct Issued {
    credential: String,
}

impl Modules {
    /// Nothing is sent yet.
    pub(super) fn new(authority: &str, key: &Key, owner: Option<String>) -> Result<Self, CliError> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.text()))
            .map_err(|_| CliError::new("the key has characters that no key has"))?;
        authorization.set_sensitive(true);
        let http = crate::outbound::client_for(&format!("http://{authority}"))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|e| CliError::new(format!("cannot set up HTTP: {e}")))?;
        Ok(Self { http, base: format!("http://{authority}/api/v1/modules"), authorization, owner })
    }

    /// The ids that the server has.
    pub(super) async fn ids(&self) -> Result<HashSet<String>, CliError> {
        let (mut ids, mut cursor) = (HashSet::new(), None::<String>);
        loop {
            let answer = self
                .call(|| {
                    let request = self.http.request(Method::GET, &self.base).query(&[("limit", PAGE)]);
                    cursor.iter().fold(request, |request, cursor| request.query(&[("cursor", cursor)]))
                })
                .await?;
            let page: Listed = self.done(answer, "list modules")?;
            ids.extend(page.modules.into_iter().map(|module| module.id));
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(ids),
            }
        }
    }

    /// Adds each module, or replaces its credential if it exists already; `told` is called for each. Those issued
    /// before a failure remain valid.
    pub(super) async fn issue(
        &self,
        ids: Vec<String>,
        mut created: impl FnMut(String, String),
    ) -> Result<(), CliError> {
        let issued = ids.into_iter().map(|id| async move { self.issue_one(&id).await.map(|new| (id, new)) });
        let mut issued = stream::iter(issued).buffer_unordered(TOGETHER);
        while let Some(result) = issued.next().await {
            let (id, credential) = result?;
            created(id, credential);
        }
        Ok(())
    }

    async fn issue_one(&self, id: &str) -> Result<String, CliError> {
        let module = json!({ "id": id, "owner": self.owner });
        let answer = self.call(|| self.http.post(&self.base).json(&module)).await?;
        if answer.status != StatusCode::CONFLICT {
            return self.credential(answer, &format!("add module {id}"));
        }
        let place = format!("{}/{id}/credential", self.base);
        let answer = self.call(|| self.http.post(&place)).await?;
        self.credential(answer, &format!("give module {id} another credential"))
    }

    fn credential(&self, answer: Answer, what: &str) -> Result<String, CliError> {
        self.done::<Issued>(answer, what).map(|issued| issued.credential)
    }

    /// Sends a request, again if it failed for a passing reason: a module that was added although its answer was
    /// lost is there the second time.
    async fn call(&self, request: impl Fn() -> RequestBuilder) -> Result<Answer, CliError> {
        let mut backoff = backoff();
        loop {
            let sent = request().header(AUTHORIZATION, self.authorization.clone()).send().await;
            let passing = match sent {
                Ok(response) if !is_passing(response.status()) => {
                    let status = response.status();
                    // Not every refusal is JSON.
                    let body = response.json().await.unwrap_or_default();
                    return Ok(Answer { status, body });
                }
                Ok(response) => format!("answers {}", response.status()),
                Err(error) => format!("does not answer: {error}"),
            };
            if backoff.failures() >= RETRIES {
                return Err(CliError::new(format!("{} {passing}; is the server running?", self.base)));
            }
            tokio::time::sleep(backoff.next(None)).await;
        }
    }

    fn done<T: DeserializeOwned>(&self, answer: Answer, what: &str) -> Result<T, CliError> {
        let Answer { status, body } = answer;
        if !status.is_success() {
            let said = ["message", "detail", "error"].iter().find_map(|name| body.get(name)?.as_str());
            let said = said.unwrap_or("no reason given");
            let hint = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "; use the token or key of an administrator"
                }
                _ => "",
            };
            return Err(CliError::new(format!("{}: cannot {what}: {status}: {said}{hint}", self.base)));
        }
        let read = serde_json::from_value(body);
        read.map_err(|e| CliError::new(format!("{}: cannot {what}: an unexpected answer: {e}", self.base)))
    }
}

fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || matches!(status.as_u16(), 500 | 502..=504)
}
