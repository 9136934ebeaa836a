//! `relais key`: API keys.

use relais_protocol::time::{Clock, SystemClock, Timestamp};
use serde_json::json;

use super::super::{Accounts, Actor};
use crate::terminal::{CliError, PAGE, out};

/// Arguments of `relais key`.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a key and print it; it is shown this once
    Add {
        /// What the key is called
        #[arg(long)]
        name: String,
        /// What it may do, for instance relay:write:rsp-bgs or relay:read:*; may be given several times
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Days that the key is valid [default: without end]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
    },
    /// List keys
    List,
    /// Revoke a key
    Revoke {
        /// The id: the part between the first and the second underscore
        id: String,
    },
}

pub(super) async fn run(args: KeyArgs, accounts: &Accounts, as_json: bool) -> Result<(), CliError> {
    match args.command {
        KeyCommand::Add { name, scopes, days } => add(accounts, &name, &scopes, days, as_json).await,
        KeyCommand::List => list(accounts, as_json).await,
        KeyCommand::Revoke { id } => revoke(accounts, &id, as_json).await,
    }
}

async fn add(
    accounts: &Accounts,
    name: &str,
    scopes: &[String],
    days: Option<u32>,
    as_json: bool,
) -> Result<(), CliError> {
    let expires_at = days.map(|days| SystemClock.now().plus_millis(i64::from(days) * 86_400_000));
    let (info, key) = accounts.create_key(&Actor::at_terminal(), name, scopes, expires_at).await?;
    if as_json { out::json(&json!({"key": key, "info": info})) } else { out::line(&key) }
}

async fn list(accounts: &Accounts, as_json: bool) -> Result<(), CliError> {
    let mut after = String::new();
    loop {
        let page = accounts.list_keys(after.clone(), PAGE).await?;
        for key in &page {
            if as_json {
                out::json_line(key)?;
                continue;
            }
            let used =
                key.last_used_at.map_or_else(|| "never used".into(), |at: Timestamp| format!("used {at}"));
            let state = key.revoked_at.map_or(used, |at| format!("revoked {at}"));
            out::line(&format!("{}  {}  {}  {state}", key.id, key.name, key.scopes.join(",")))?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(&last.id),
            _ => return Ok(()),
        }
    }
}

async fn revoke(accounts: &Accounts, id: &str, as_json: bool) -> Result<(), CliError> {
    accounts.revoke_key(&Actor::at_terminal(), id).await?;
    if as_json { out::json(&json!({"id": id, "revoked": true})) } else { Ok(()) }
}
