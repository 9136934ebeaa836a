//! `relais user`: users and their grants.

use serde_json::json;

use super::super::{Accounts, Actor, Grant, NewUser, UserChanges};
use crate::terminal::{CliError, PAGE, out, read_password};

/// Arguments of `relais user`.
#[derive(Debug, clap::Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UserCommand {
    /// Make a user and print the id
    Add(AddArgs),
    /// List users
    List,
    /// End a user's sessions and tokens and refuse new ones
    Disable {
        /// E-mail address or id
        user: String,
    },
    /// Let a disabled user sign in again
    Enable {
        /// E-mail address or id
        user: String,
    },
    /// Set a new password, read from standard input; ends the user's sessions and tokens
    Password {
        /// E-mail address or id
        user: String,
        /// Read the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Give a user access to a société
    Grant {
        /// E-mail address or id
        user: String,
        /// The société, or * for every société
        #[arg(long)]
        societe: String,
        /// read, or write, which includes reading
        #[arg(long, default_value = "read", value_parser = ["read", "write"])]
        access: String,
    },
    /// Take a user's access to a société away
    Revoke {
        /// E-mail address or id
        user: String,
        /// The société, or *
        #[arg(long)]
        societe: String,
    },
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// The address to sign in with
    #[arg(long)]
    email: String,
    /// Read the password from standard input
    #[arg(long, required = true)]
    password_stdin: bool,
    /// Administers the server; reads and writes every société
    #[arg(long)]
    admin: bool,
    /// Belongs to the office; reads every société
    #[arg(long)]
    staff: bool,
    /// First name
    #[arg(long, default_value = "")]
    first_name: String,
    /// Last name
    #[arg(long, default_value = "")]
    last_name: String,
    /// Telephone number
    #[arg(long, default_value = "")]
    phone: String,
}

pub(super) async fn run(args: UserArgs, accounts: &Accounts, as_json: bool) -> Result<(), CliError> {
    match args.command {
        UserCommand::Add(args) => add(args, accounts, as_json).await,
        UserCommand::List => list(accounts, as_json).await,
        UserCommand::Disable { user } => {
            let changes = UserChanges { disabled: Some(true), ..UserChanges::default() };
            change(&user, changes, accounts, as_json).await
        }
        UserCommand::Enable { user } => {
            let changes = UserChanges { disabled: Some(false), ..UserChanges::default() };
            change(&user, changes, accounts, as_json).await
        }
        UserCommand::Password { user, .. } => {
            let changes = UserChanges {
                password: Some(read_password("user password a@b.fr")?),
                ..UserChanges::default()
            };
            change(&user, changes, accounts, as_json).await
        }
        UserCommand::Grant { user, societe, access } => {
            let id = accounts.find_user(&user).await?.id;
            accounts.set_grant(&Actor::at_terminal(), &id, Grant { societe, access }).await?;
            grants(&id, accounts, as_json).await
        }
        UserCommand::Revoke { user, societe } => {
            let id = accounts.find_user(&user).await?.id;
            accounts.remove_grant(&Actor::at_terminal(), &id, &societe).await?;
            grants(&id, accounts, as_json).await
        }
    }
}

async fn add(args: AddArgs, accounts: &Accounts, as_json: bool) -> Result<(), CliError> {
    let new = NewUser {
        email: args.email,
        password: read_password("user add --email a@b.fr")?,
        firstname: args.first_name,
        lastname: args.last_name,
        phone: args.phone,
        admin: args.admin,
        staff: args.staff,
    };
    let user = accounts.create_user(&Actor::at_terminal(), new).await?;
    if as_json { out::json(&user) } else { out::line(&user.id) }
}

async fn change(
    user: &str,
    changes: UserChanges,
    accounts: &Accounts,
    as_json: bool,
) -> Result<(), CliError> {
    let id = accounts.find_user(user).await?.id;
    let user = accounts.update_user(&Actor::at_terminal(), &id, changes).await?;
    if as_json { out::json(&user) } else { out::line(&user.id) }
}

async fn list(accounts: &Accounts, as_json: bool) -> Result<(), CliError> {
    let mut after = String::new();
    loop {
        let page = accounts.list_users(after.clone(), PAGE).await?;
        for user in &page {
            if as_json {
                out::json_line(user)?;
                continue;
            }
            let roles = [("admin", user.admin), ("staff", user.staff), ("disabled", user.disabled)];
            let roles: Vec<&str> = roles.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
            out::line(&format!("{}  {}  {}", user.id, user.email, roles.join(",")))?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(&last.id),
            _ => return Ok(()),
        }
    }
}

async fn grants(id: &str, accounts: &Accounts, as_json: bool) -> Result<(), CliError> {
    let grants = accounts.list_grants(id).await?;
    if as_json {
        return out::json(&json!({"id": id, "grants": grants}));
    }
    for grant in grants {
        out::line(&format!("{}  {}", grant.access, grant.societe))?;
    }
    Ok(())
}
