//! `relais token`: a token for a user.

use serde_json::json;

use super::super::{Accounts, Actor};
use crate::terminal::{CliError, out};

/// Arguments of `relais token`.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// The user's e-mail address or id
    #[arg(long)]
    email: String,
    /// Seconds that the token is valid [default: auth.jwt.ttl_s, 24 hours]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
    ttl: Option<u64>,
}

pub(super) async fn run(args: TokenArgs, accounts: &Accounts, as_json: bool) -> Result<(), CliError> {
    let token = accounts.issue_token(&Actor::at_terminal(), &args.email, args.ttl).await?;
    if as_json { out::json(&json!({"token": token})) } else { out::line(&token) }
}
