//! Commands to devices, and what may become of them.

use std::time::Duration;

use relais_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::aliases::null_is_absent;

/// What became of a command that nobody answered.
pub(super) const NO_ANSWER: &str = "no answer";
/// Of one that may have been carried out while the server was away.
pub(super) const UNKNOWN_OUTCOME: &str = "unknown outcome";
/// Of one that somebody took back.
pub(super) const CANCELLED: &str = "cancelled";

/// How often a device may be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Once, or not at all: for what must not happen twice.
    #[default]
    AtMostOnce,
    /// Again until it answers: for what may happen twice but has to happen.
    AtLeastOnce,
}

/// Where a command is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// Stored; its device is away.
    Queued,
    /// Told to the device, which has not answered.
    Sent,
    /// The device says that it is at it.
    InProgress,
    /// The device says that it is done.
    Acknowledged,
    /// The device refused it, nobody knows what became of it, or it was taken back; `result.error` says which.
    Failed,
    /// Its time was over.
    Expired,
}

/// A command to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Command {
    /// Its name for ever.
    pub id: String,
    /// The module that it is for.
    #[serde(rename = "moduleId")]
    pub module: String,
    /// What is to be done.
    pub command: String,
    /// With what.
    pub params: Map<String, Value>,
    /// Where it is on its way.
    pub state: CommandState,
    /// How often the device may be told.
    pub delivery: Delivery,
    /// When it was given.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it is of no use any more.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// When the device was last told.
    #[schema(value_type = Option<String>)]
    pub sent_at: Option<Timestamp>,
    /// How often the device was told.
    pub attempts: u32,
    /// When it was acknowledged, failed or expired.
    #[schema(value_type = Option<String>)]
    pub finished_at: Option<Timestamp>,
    /// What the device answered, or `{error}`.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
}

/// A command that is to be given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCommand {
    /// What is to be done: 1 to 64 bytes.
    pub command: String,
    /// With what: at most 8 KiB of JSON.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub params: Option<Map<String, Value>>,
    /// What the caller calls it: given again, it is the same command.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Seconds for which it is of use: 60 unless said, at most 7 days.
    #[serde(default)]
    pub ttl_s: Option<u32>,
    /// How often the device may be told: `at_most_once` unless said.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub delivery: Delivery,
}

/// What may happen to a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Its device is there: it is about to be told.
    Send,
    /// Its device answered.
    Answer(Answer),
    /// Its device did not answer in time, or its connection ended.
    NoAnswer,
    /// The server was away after the device was told.
    Restart,
    /// Time passed.
    Expire,
    /// Somebody takes it back.
    Cancel,
}

/// What a device answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) said: Said,
    pub(super) result: Value,
}

/// What an answer says of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Done,
    Failed,
    /// It is at it: another answer follows.
    InProgress,
}

impl Step {
    /// Whether a device says that it is at it.
    pub(super) fn is_progress(&self) -> bool {
        matches!(self, Self::Answer(Answer { said: Said::InProgress, .. }))
    }
}

impl CommandState {
    /// As it is stored.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::InProgress => "in_progress",
            Self::Acknowledged => "acknowledged",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Queued, Self::Sent, Self::InProgress, Self::Acknowledged, Self::Failed, Self::Expired]
            .into_iter()
            .find(|state| state.name() == name)
    }

    /// The event that tells of it.
    pub(super) const fn event(self) -> &'static str {
        match self {
            Self::Queued => "module_command_queued",
            Self::Sent => "module_command_sent",
            Self::InProgress => "module_command_in_progress",
            Self::Acknowledged => "module_command_acknowledged",
            Self::Failed => "module_command_failed",
            Self::Expired => "module_command_expired",
        }
    }
}

impl Delivery {
    /// As it is stored.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at_most_once",
            Self::AtLeastOnce => "at_least_once",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::AtMostOnce, Self::AtLeastOnce].into_iter().find(|delivery| delivery.name() == name)
    }
}

impl Command {
    /// Whether nothing more is awaited. That nobody knows what became of it is not its last word: see
    /// [`Command::is_unsettled`].
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.is_sent_to_device() && self.state != CommandState::Queued
    }

    /// Whether its device was told and has not said what came of it.
    pub(super) fn is_sent_to_device(&self) -> bool {
        matches!(self.state, CommandState::Sent | CommandState::InProgress)
    }

    /// Whether it failed since nobody knows what became of it: an answer that comes within its time says so after all.
    pub(super) fn is_unsettled(&self) -> bool {
        let unknown = |result: &Value| {
            [NO_ANSWER, UNKNOWN_OUTCOME].iter().any(|error| *result == json!({ "error": error }))
        };
        self.state == CommandState::Failed && self.attempts > 0 && self.result.as_ref().is_some_and(unknown)
    }

    /// Takes a step if it can be taken from where the command is; says whether it was.
    pub(super) fn take(&mut self, step: Step, now: Timestamp) -> bool {
        let (is_sent, repeats) = (self.is_sent_to_device(), self.delivery == Delivery::AtLeastOnce);
        let is_over = now >= self.expires_at;
        match step {
            Step::Answer(answer) if !is_over && self.is_unsettled() => return self.settle(answer, now),
            _ if self.is_finished() => return false,
            Step::Send if is_sent && !repeats => return false,
            Step::Send | Step::Expire if is_over => self.finish(CommandState::Expired, None, now),
            Step::Send => {
                self.state = CommandState::Sent;
                self.sent_at = Some(now);
                self.attempts = self.attempts.saturating_add(1);
            }
            Step::Answer(answer) if is_sent => return self.settle(answer, now),
            Step::NoAnswer if is_sent && !repeats => self.fail(NO_ANSWER, now),
            Step::Restart if is_sent && !repeats => self.fail(UNKNOWN_OUTCOME, now),
            Step::Cancel if !is_sent || repeats => self.fail(CANCELLED, now),
            Step::Answer(_) | Step::NoAnswer | Step::Restart | Step::Expire | Step::Cancel => return false,
        }
        true
    }

    /// Its device answered; says whether that is news.
    fn settle(&mut self, Answer { said, result }: Answer, now: Timestamp) -> bool {
        match said {
            Said::Done => self.finish(CommandState::Acknowledged, Some(result), now),
            Said::Failed => self.finish(CommandState::Failed, Some(result), now),
            Said::InProgress if self.state == CommandState::Sent => {
                (self.state, self.result) = (CommandState::InProgress, Some(result));
            }
            Said::InProgress => return false,
        }
        true
    }

    fn fail(&mut self, error: &str, now: Timestamp) {
        self.finish(CommandState::Failed, Some(json!({ "error": error })), now);
    }

    fn finish(&mut self, state: CommandState, result: Option<Value>, now: Timestamp) {
        (self.state, self.result, self.finished_at) = (state, result, Some(now));
    }

    /// For how long it is still of use.
    pub(super) fn left(&self, now: Timestamp) -> Duration {
        let left_ms = self.expires_at.as_millis() - now.as_millis();
        Duration::from_millis(u64::try_from(left_ms).unwrap_or_default())
    }

    /// What its device is told.
    pub(super) fn frame(&self) -> Value {
        let mut data = self.params.clone();
        data.insert("command".to_owned(), self.command.as_str().into());
        json!({
            "type": "command", "id": self.id, "data": data, "timestamp": self.sent_at, "expiresAt": self.expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL_MS: i64 = 1_000;

    fn command(delivery: Delivery) -> Command {
        Command {
            id: "c".into(),
            module: "m".into(),
            command: "ring".into(),
            params: Map::from_iter([("command".into(), json!("other")), ("times".into(), json!(2))]),
            state: CommandState::Queued,
            delivery,
            created_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(TTL_MS),
            sent_at: None,
            attempts: 0,
            finished_at: None,
            result: None,
        }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn answer(done: bool) -> Step {
        said(if done { Said::Done } else { Said::Failed })
    }

    fn said(said: Said) -> Step {
        Step::Answer(Answer { said, result: json!({ "position": "B" }) })
    }

    #[test]
    fn a_device_is_told_the_parameters_beside_the_command() {
        let mut command = command(Delivery::AtMostOnce);
        assert!(command.take(Step::Send, at(5)));
        let data = json!({ "command": "ring", "times": 2 });
        let expected = json!({
            "type": "command", "id": "c", "data": data, "timestamp": at(5), "expiresAt": at(TTL_MS),
        });
        assert_eq!(command.frame(), expected);
    }

    #[test]
    fn each_step_leads_where_it_should() {
        use CommandState::{Acknowledged, Expired, Failed, InProgress, Queued, Sent};
        use Delivery::{AtLeastOnce, AtMostOnce};
        for (delivery, sent, step, now, expected) in [
            (AtMostOnce, false, Step::Send, 0, Sent),
            (AtMostOnce, false, Step::Send, TTL_MS, Expired),
            (AtMostOnce, false, answer(true), 0, Queued),
            (AtMostOnce, false, Step::NoAnswer, 0, Queued),
            (AtMostOnce, false, Step::Restart, 0, Queued),
            (AtMostOnce, false, Step::Expire, TTL_MS - 1, Queued),
            (AtMostOnce, false, Step::Expire, TTL_MS, Expired),
            (AtMostOnce, false, Step::Cancel, 0, Failed),
            (AtMostOnce, true, answer(true), 0, Acknowledged),
            (AtMostOnce, true, answer(false), 0, Failed),
            (AtMostOnce, true, said(Said::InProgress), 0, InProgress),
            (AtMostOnce, false, said(Said::InProgress), 0, Queued),
            (AtMostOnce, true, Step::NoAnswer, 0, Failed),
            (AtMostOnce, true, Step::Restart, 0, Failed),
            (AtMostOnce, true, Step::Expire, TTL_MS, Expired),
            (AtMostOnce, true, Step::Cancel, 0, Sent),
            (AtLeastOnce, true, Step::Send, 0, Sent),
            (AtLeastOnce, true, Step::NoAnswer, 0, Sent),
            (AtLeastOnce, true, Step::Restart, 0, Sent),
            (AtLeastOnce, true, Step::Cancel, 0, Failed),
            (AtLeastOnce, true, answer(true), 0, Acknowledged),
        ] {
            let mut command = command(delivery);
            assert!(!sent || command.take(Step::Send, at(0)));
            command.take(step.clone(), at(now));
            assert_eq!(command.state, expected, "{delivery:?}, sent: {sent}, {step:?} at {now}");
            assert_eq!(command.finished_at.is_some(), command.is_finished());
        }
    }

    #[test]
    fn progress_ends_nothing_and_what_ends_a_command_ends_one_in_progress() {
        use CommandState::{Acknowledged, Expired, Failed, InProgress, Sent};
        for (step, now, expected) in [
            (answer(true), 1, Acknowledged),
            (answer(false), 1, Failed),
            (said(Said::InProgress), 1, InProgress),
            (Step::NoAnswer, 1, Failed),
            (Step::Restart, 1, Failed),
            (Step::Send, 1, InProgress),
            (Step::Expire, TTL_MS, Expired),
        ] {
            let mut command = command(Delivery::AtMostOnce);
            assert!(command.take(Step::Send, at(0)) && command.take(said(Said::InProgress), at(1)));
            assert!(!command.is_finished() && command.finished_at.is_none());
            command.take(step.clone(), at(now));
            assert_eq!(command.state, expected, "{step:?}");
        }
        let mut again = command(Delivery::AtLeastOnce);
        assert!(again.take(Step::Send, at(0)) && again.take(said(Said::InProgress), at(1)));
        assert!(
            again.take(Step::Send, at(2)) && again.state == Sent,
            "its device came back and is told again"
        );
    }

    #[test]
    fn an_answer_within_its_time_settles_what_nobody_knew_and_nothing_else() {
        use CommandState::{Acknowledged, Failed};
        for (end, late, now, expected) in [
            (Step::NoAnswer, answer(true), TTL_MS - 1, Acknowledged),
            (Step::Restart, answer(true), TTL_MS - 1, Acknowledged),
            (Step::NoAnswer, answer(true), TTL_MS, Failed),
            (Step::NoAnswer, said(Said::InProgress), 2, Failed),
            (answer(false), answer(true), 2, Failed),
        ] {
            let mut command = command(Delivery::AtMostOnce);
            assert!(command.take(Step::Send, at(0)) && command.take(end.clone(), at(1)));
            let settled = command.take(late, at(now));
            assert_eq!((command.state, settled), (expected, expected == Acknowledged), "{end:?} at {now}");
        }
        let mut taken_back = command(Delivery::AtMostOnce);
        assert!(taken_back.take(Step::Cancel, at(0)) && !taken_back.take(answer(true), at(1)));
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Send),
            any::<bool>().prop_map(answer),
            Just(said(Said::InProgress)),
            Just(Step::NoAnswer),
            Just(Step::Restart),
            Just(Step::Expire),
            Just(Step::Cancel),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_a_command_ends_once_and_is_told_as_often_as_it_may(
            repeats in any::<bool>(),
            steps in prop::collection::vec((any_step(), 0i64..300), 0..30),
        ) {
            let delivery = if repeats { Delivery::AtLeastOnce } else { Delivery::AtMostOnce };
            let (mut command, mut now) = (command(delivery), 0);
            let mut told = 0;
            for (step, passed) in steps {
                now += passed;
                let before = command.clone();
                let taken = command.take(step.clone(), at(now));
                prop_assert_eq!(taken, before != command, "a step that is not taken changes nothing");
                let settles = before.is_unsettled() && matches!(step, Step::Answer(_));
                prop_assert!(!taken || !before.is_finished() || settles, "what is finished stays");
                prop_assert!(!before.is_finished() || command.is_finished());
                told += u32::from(taken && step == Step::Send && command.state == CommandState::Sent);
                prop_assert_eq!(command.attempts, told);
                prop_assert!(repeats || told <= 1);
                prop_assert!(command.state != CommandState::Acknowledged || told > 0);
                prop_assert!(command.state != CommandState::Expired || now >= TTL_MS);
                if command.is_finished() && !before.is_finished() {
                    prop_assert_eq!(command.finished_at, Some(at(now)));
                }
            }
            command.take(Step::Expire, at(TTL_MS + now));
            prop_assert!(command.is_finished(), "time ends every command");
        }
    }
}
