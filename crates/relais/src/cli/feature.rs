//! The commands that features declare, among those of the command line.

use clap::{ArgMatches, FromArgMatches, Subcommand};

use super::{CliError, Globals, database};
use crate::features;
use crate::terminal::Command;

/// A command of a feature, with its arguments.
pub(super) struct FeatureCommand {
    command: &'static Command,
    arguments: ArgMatches,
}

impl std::fmt::Debug for FeatureCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FeatureCommand").field(&self.command.name).finish()
    }
}

fn all() -> impl Iterator<Item = &'static Command> {
    features::ALL.into_iter().flat_map(|feature| feature.commands)
}

impl FeatureCommand {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), CliError> {
        let opened = database::open(globals).await?;
        let outcome = (self.command.run)(self.arguments, &opened).await;
        opened.close(outcome).await
    }
}

impl FromArgMatches for FeatureCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let found = matches.subcommand().and_then(|(name, arguments)| {
            let command = all().find(|command| command.name == name)?;
            Some(Self { command, arguments: arguments.clone() })
        });
        found.ok_or_else(|| clap::Error::new(clap::error::ErrorKind::InvalidSubcommand))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for FeatureCommand {
    fn augment_subcommands(whole: clap::Command) -> clap::Command {
        all().fold(whole, |whole, command| {
            let own = (command.arguments)(clap::Command::new(command.name));
            whole.subcommand(own.about(command.about).long_about(None))
        })
    }

    fn augment_subcommands_for_update(whole: clap::Command) -> clap::Command {
        Self::augment_subcommands(whole)
    }

    fn has_subcommand(name: &str) -> bool {
        all().any(|command| command.name == name)
    }
}
