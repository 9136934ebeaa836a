//! `relais token`: a token for a user.

use serde_json::json;

use super::accounts::{self, actor};
use super::{CliError, Globals, out};

/// Arguments of `relais token`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The user's e-mail address or id
    #[arg(long)]
    email: String,
    /// Seconds that the token is valid [default: auth.jwt.ttl_s, 24 hours]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
    ttl: Option<u64>,
}

/// Works on the database directly, also while the server runs.
pub async fn run(args: TokenArgs, globals: &Globals) -> Result<(), CliError> {
    let opened = accounts::open(globals).await?;
    let outcome = match opened.accounts.issue_token(&actor(), &args.email, args.ttl).await {
        Ok(token) if globals.json => out::json(&json!({"token": token})),
        Ok(token) => out::line(&token),
        Err(error) => Err(error.into()),
    };
    opened.close(outcome).await
}
