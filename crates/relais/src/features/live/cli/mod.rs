//! `relais module`: modules and their credentials.

mod command;

use clap::{Args as _, FromArgMatches as _};
use serde_json::json;

use super::{Commands, Modules, NewModule, Visibility};
use crate::features::accounts::{Accounts, Actor};
use crate::terminal::{CliError, Command, Opened, PAGE, out, read_password};
use command::CommandArgs;

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "module",
    about: "Modules: add, list, remove, rotate, claim-code, command",
    arguments: ModuleArgs::augment_args,
    run: |arguments, opened| {
        Box::pin(async move { run(ModuleArgs::from_arg_matches(&arguments)?, opened).await })
    },
}];

async fn run(args: ModuleArgs, opened: &Opened) -> Result<(), CliError> {
    let accounts = Accounts::new(opened.auth.clone());
    let modules = Modules::new(opened.store.clone(), accounts, &opened.config.live);
    let commands = Commands::new(opened.store.clone());
    perform(args.command, &modules, &commands, opened.json).await
}

/// Arguments of `relais module`.
#[derive(Debug, clap::Args)]
struct ModuleArgs {
    #[command(subcommand)]
    command: ModuleCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ModuleCommand {
    /// Add a module and print its credential; it is shown this once
    Add {
        /// What is printed on it, for instance MC-1001-STN
        id: String,
        /// What its owner calls it [default: the id]
        #[arg(long)]
        name: Option<String>,
        /// Its type [default: what the end of the id says]
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// The user whose it is: e-mail address or id; without one it can be claimed with a code
        #[arg(long)]
        owner: Option<String>,
        /// Read its credential from standard input: the one that is in its firmware already [default: a new one]
        #[arg(long)]
        password_stdin: bool,
    },
    /// List modules
    List,
    /// Remove a module for good: its device is refused
    Remove {
        /// The module
        id: String,
    },
    /// Print another credential for a module; the one before counts no more
    Rotate {
        /// The module
        id: String,
        /// Read it from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
    },
    /// Print a code with which somebody else becomes the owner of a module
    ClaimCode {
        /// The module
        id: String,
    },
    /// Have the device of a module do something and print the command's id
    Command(CommandArgs),
}

async fn perform(
    command: ModuleCommand,
    modules: &Modules,
    commands: &Commands,
    as_json: bool,
) -> Result<(), CliError> {
    let (visibility, actor) = (Visibility::All, Actor::at_terminal());
    match command {
        ModuleCommand::Add { id, name, kind, owner, password_stdin } => {
            let password = given(password_stdin, "module add MC-1001-STN")?;
            let added = modules.add(&actor, NewModule { id, name, kind, owner, password }).await?;
            if as_json {
                return out::json(&added);
            }
            if let Some(code) = &added.claim_code {
                out::note(&format!("claim code: {code}"));
            }
            added.credential.map_or(Ok(()), |credential| out::line(&credential))
        }
        ModuleCommand::List => list(modules, as_json).await,
        ModuleCommand::Remove { id } => {
            modules.remove(&visibility, &actor, &id).await?;
            if as_json { out::json(&json!({"id": id, "removed": true})) } else { Ok(()) }
        }
        ModuleCommand::Rotate { id, password_stdin } => {
            match modules
                .rotate(&visibility, &actor, &id, given(password_stdin, "module rotate MC-1001-STN")?)
                .await?
            {
                None if as_json => out::json(&json!({"id": id})),
                None => Ok(()),
                Some(credential) if as_json => out::json(&json!({"id": id, "credential": credential})),
                Some(credential) => out::line(&credential),
            }
        }
        ModuleCommand::ClaimCode { id } => {
            let code = modules.offer(&visibility, &actor, &id).await?;
            if as_json { out::json(&json!({"id": id, "claim_code": code})) } else { out::line(&code) }
        }
        ModuleCommand::Command(args) => command::run(args, commands, as_json).await,
    }
}

/// A credential that is in a device's firmware already is not shown again.
fn given(password_stdin: bool, example: &str) -> Result<Option<String>, CliError> {
    password_stdin.then(|| read_password(example)).transpose()
}

async fn list(modules: &Modules, as_json: bool) -> Result<(), CliError> {
    let mut after = String::new();
    loop {
        let page = modules.list(&Visibility::All, &after, PAGE).await?;
        for module in &page {
            if as_json {
                out::json_line(module)?;
                continue;
            }
            let owner = module.owner.as_deref().unwrap_or("nobody");
            out::line(&format!("{}  {}  {}  {owner}", module.id, module.kind, module.name))?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(&last.id),
            _ => return Ok(()),
        }
    }
}
