//! The commands of accounts: `relais user`, `relais token`, `relais key`.

mod key;
mod token;
mod user;

use clap::{Args as _, FromArgMatches as _};

use super::Accounts;
use crate::terminal::Command;

/// In the order of the help.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "user",
        about: "Users: add, list, disable, grant",
        arguments: user::UserArgs::augment_args,
        run: |arguments, opened| {
            Box::pin(async move {
                let args = user::UserArgs::from_arg_matches(&arguments)?;
                user::run(args, &Accounts::new(opened.auth.clone()), opened.json).await
            })
        },
    },
    Command {
        name: "token",
        about: "Print a token for a user",
        arguments: token::TokenArgs::augment_args,
        run: |arguments, opened| {
            Box::pin(async move {
                let args = token::TokenArgs::from_arg_matches(&arguments)?;
                token::run(args, &Accounts::new(opened.auth.clone()), opened.json).await
            })
        },
    },
    Command {
        name: "key",
        about: "API keys: add, list, revoke",
        arguments: key::KeyArgs::augment_args,
        run: |arguments, opened| {
            Box::pin(async move {
                let args = key::KeyArgs::from_arg_matches(&arguments)?;
                key::run(args, &Accounts::new(opened.auth.clone()), opened.json).await
            })
        },
    },
];
