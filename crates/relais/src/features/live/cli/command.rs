//! `relais module command`: has a device do something.

use relais_protocol::time::{Clock as _, SystemClock};
use std::time::Duration;

use serde_json::{Map, Value};

use super::super::{Command, CommandState, Commands, Delivery, NewCommand, Visibility};
use crate::features::accounts::Actor;
use crate::terminal::{CliError, out};

/// How often it is looked what became of a command.
const LOOK: Duration = Duration::from_millis(200);
/// After a command's time a server that runs has noticed.
const NOTICED: Duration = Duration::from_secs(10);

/// Arguments of `relais module command`.
#[derive(Debug, clap::Args)]
pub(super) struct CommandArgs {
    /// The module
    id: String,
    /// What is to be done
    name: String,
    /// With what, as often as needed; the value is JSON, else a text
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    params: Vec<(String, Value)>,
    /// Seconds for which it is of use
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ttl: u32,
    /// Tell the device again until it answers; otherwise it is told once, or not at all
    #[arg(long)]
    at_least_once: bool,
    /// Wait until the device has done it; fail if it has not
    #[arg(long)]
    wait: bool,
}

fn parameter(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is expected, for instance speed=3")?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// Stores the command; the running server, or the next one, sends it to the device.
pub(super) async fn run(args: CommandArgs, commands: &Commands, as_json: bool) -> Result<(), CliError> {
    let CommandArgs { id, name, params, ttl, at_least_once, wait } = args;
    let delivery = if at_least_once { Delivery::AtLeastOnce } else { Delivery::AtMostOnce };
    let params = Some(Map::from_iter(params));
    let new = NewCommand { command: name, params, ttl_s: Some(ttl), delivery, client_id: None };
    let mut command = commands.give(&Visibility::All, &Actor::at_terminal(), &id, new).await?;
    let deadline = SystemClock.instant() + Duration::from_secs(ttl.into()) + NOTICED;
    while wait && !command.is_finished() {
        if SystemClock.instant() > deadline {
            return Err(CliError::new("nobody tells devices: start the server with `relais serve`"));
        }
        tokio::time::sleep(LOOK).await;
        command = commands.find(&Visibility::All, &id, &command.id).await?;
    }
    show(&command, as_json)?;
    if wait && command.state != CommandState::Acknowledged {
        return Err(CliError::new(failure(&command)));
    }
    Ok(())
}

fn show(command: &Command, as_json: bool) -> Result<(), CliError> {
    if as_json { out::json(command) } else { out::line(&command.id) }
}

fn failure(command: &Command) -> String {
    let Command { module, command: name, state, result, .. } = command;
    match (state, result) {
        (CommandState::Expired, _) => {
            format!(
                "{module} did not take up {name} in time: see that it is online, or give it longer with --ttl"
            )
        }
        (_, Some(result)) => format!("{module} has not done {name}: {result}"),
        (_, None) => format!("{module} has not done {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parameter;

    #[test]
    fn a_parameter_is_json_or_a_text() {
        for (text, name, value) in [
            ("speed=3", "speed", json!(3)),
            ("on=true", "on", json!(true)),
            ("to=quai 2", "to", json!("quai 2")),
            ("text=a=b", "text", json!("a=b")),
            ("none=", "none", json!("")),
        ] {
            assert_eq!(parameter(text), Ok((name.to_owned(), value)));
        }
        assert!(parameter("speed").is_err());
    }
}
