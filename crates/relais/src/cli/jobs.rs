//! `relais jobs`: pending, running and failed jobs, and operations on them.

use relais_protocol::time::Timestamp;
use relais_store::jobs::inspect::{self, Changed, Filter, JobRow, ScheduleRow};
use relais_store::jobs::{JobId, JobState};
use relais_store::{Store, StoreError, WriteTx};
use serde_json::json;

use super::{CliError, Globals, database, out};

/// Jobs read at a time.
const PAGE: usize = 200;

/// Arguments of `relais jobs`.
#[derive(Debug, clap::Args)]
pub struct JobsArgs {
    #[command(subcommand)]
    command: JobsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum JobsCommand {
    /// List jobs, the latest first
    List {
        /// Only jobs in this state: scheduled, pending, running, done, dead, cancelled
        #[arg(long, value_parser = state)]
        state: Option<JobState>,
        /// Only jobs of this kind
        #[arg(long)]
        kind: Option<String>,
        /// Jobs at most
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
        /// List the schedules instead
        #[arg(long, conflicts_with_all = ["state", "kind"])]
        schedules: bool,
    },
    /// Show everything about a job, its payload included
    Show {
        /// The number of the job
        id: JobId,
    },
    /// Try jobs again that are dead or cancelled; one that waits for its time is run at once
    Retry(Chosen),
    /// Discard jobs: those that wait or are dead are cancelled, those that run are asked to stop
    Discard(Chosen),
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// The numbers of the jobs
    #[arg(required_unless_present = "all_dead", conflicts_with = "all_dead")]
    ids: Vec<JobId>,
    /// Every dead letter
    #[arg(long)]
    all_dead: bool,
    /// With --all-dead: only those of this kind
    #[arg(long, requires = "all_dead")]
    kind: Option<String>,
}

fn state(text: &str) -> Result<JobState, String> {
    text.parse().map_err(|error: StoreError| error.to_string())
}

/// Works on the database directly, also while the server runs; a server notices within a second.
pub async fn run(args: JobsArgs, globals: &Globals) -> Result<(), CliError> {
    let opened = database::open(globals).await?;
    let (store, as_json) = (&opened.store, globals.json);
    let outcome = match args.command {
        JobsCommand::List { schedules: true, .. } => list_schedules(store, as_json).await,
        JobsCommand::List { state, kind, limit, .. } => list(store, state, kind, limit, as_json).await,
        JobsCommand::Show { id } => show(store, id, as_json).await,
        JobsCommand::Retry(chosen) => change(store, chosen, as_json, RETRY).await,
        JobsCommand::Discard(chosen) => change(store, chosen, as_json, DISCARD).await,
    };
    opened.close(outcome).await
}

async fn list(
    store: &Store,
    state: Option<JobState>,
    kind: Option<String>,
    limit: usize,
    as_json: bool,
) -> Result<(), CliError> {
    let (mut before, mut left) = (None, limit);
    while left > 0 {
        let filter = Filter { state, kind: kind.clone(), before, limit: left.min(PAGE) };
        let asked = filter.limit;
        let page = store.read(move |tx| inspect::list(tx, &filter)).await?;
        for job in &page {
            if as_json { out::json_line(job)? } else { out::line(&line(job))? }
        }
        left -= page.len();
        match page.last() {
            Some(last) if page.len() == asked => before = Some(last.id),
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn line(job: &JobRow) -> String {
    let state = match job.state {
        Some(state) => state.as_str(),
        None => &job.stored_state,
    };
    let when = match job.state {
        Some(JobState::Scheduled) => format!("due {}", job.run_at),
        Some(JobState::Running) => format!("held by {}", job.holder.as_deref().unwrap_or("?")),
        Some(JobState::Done | JobState::Dead | JobState::Cancelled) => dated("ended", job.ended_at),
        Some(JobState::Pending) | None => format!("since {}", job.run_at),
    };
    let attempts = format!("{}/{}", job.attempt, job.attempts_max);
    let error = job.error.as_ref().filter(|_| job.state != Some(JobState::Done));
    let error = error.map(|error| format!("  {}", error.escape_debug())).unwrap_or_default();
    format!("{}  {state}  {}  {attempts}  {when}{error}", job.id, job.kind.escape_debug())
}

fn dated(word: &str, at: Option<Timestamp>) -> String {
    at.map_or_else(|| word.to_owned(), |at| format!("{word} {at}"))
}

async fn list_schedules(store: &Store, as_json: bool) -> Result<(), CliError> {
    for row in store.read(|tx| inspect::schedules(tx)).await? {
        if as_json {
            out::json_line(&row)?;
            continue;
        }
        let ScheduleRow { kind, name, rule, zone, catch_up, next_run, error, .. } = row;
        let next = next_run.map_or_else(|| "rests".to_owned(), |at| format!("due {at}"));
        let error = error.map(|error| format!("  {error}")).unwrap_or_default();
        out::line(&format!("{kind}  {name}  {rule}  {zone}  {catch_up}  {next}{error}"))?;
    }
    Ok(())
}

async fn show(store: &Store, id: JobId, as_json: bool) -> Result<(), CliError> {
    let Some(job) = store.read(move |tx| inspect::show(tx, id)).await? else { return Err(absent(id)) };
    if as_json {
        return out::json(&job);
    }
    out::line(&line(&job))?;
    let optional = [
        ("unique key", job.unique_key.clone()),
        ("started", job.started_at.map(|at| at.to_string())),
        ("held until", job.lease_until.map(|at| at.to_string())),
        ("error", job.error.clone()),
    ];
    out::line(&format!("enqueued: {}", job.enqueued_at))?;
    out::line(&format!("priority: {}, fence: {}", job.priority, job.fence))?;
    for (name, value) in optional {
        if let Some(value) = value {
            out::line(&format!("{name}: {}", value.escape_debug()))?;
        }
    }
    out::line(&format!("payload: {}", job.payload.as_deref().unwrap_or("(cannot be read)")))
}

fn absent(id: JobId) -> CliError {
    CliError::new(format!("there is no job {id}: it was never there, or its retention is over"))
}

/// What is done to a job, and what that is called when it is done.
type Change = (fn(&mut WriteTx<'_>, JobId) -> Result<Changed, StoreError>, &'static str);

const RETRY: Change = (inspect::retry, "waits for a worker");
const DISCARD: Change = (inspect::discard, "is cancelled");

async fn change(store: &Store, chosen: Chosen, as_json: bool, change: Change) -> Result<(), CliError> {
    let mut refused = 0u64;
    if !chosen.all_dead {
        for id in chosen.ids {
            refused += u64::from(!change_one(store, id, as_json, change).await?);
        }
        return after(refused);
    }
    // Those that are refused stay dead: the next page begins behind them.
    let mut before = None;
    loop {
        let kind = chosen.kind.clone();
        let filter = Filter { state: Some(JobState::Dead), kind, before, limit: PAGE };
        let page = store.read(move |tx| inspect::list(tx, &filter)).await?;
        for job in &page {
            refused += u64::from(!change_one(store, job.id, as_json, change).await?);
        }
        match page.last() {
            Some(last) => before = Some(last.id),
            None => return after(refused),
        }
    }
}

fn after(refused: u64) -> Result<(), CliError> {
    match refused {
        0 => Ok(()),
        count => Err(CliError::after_result(format!("{count} of the jobs stayed as they were"))),
    }
}

/// Returns whether it was done.
async fn change_one(
    store: &Store,
    id: JobId,
    as_json: bool,
    (apply, done): Change,
) -> Result<bool, CliError> {
    let changed = store.write(move |tx| apply(tx, id)).await?;
    let (result, words, is_done) = match changed {
        Changed::Done => ("done", done.to_owned(), true),
        Changed::Asked => ("asked", "runs, and is asked to stop".to_owned(), true),
        Changed::Duplicate(other) => {
            ("duplicate", format!("stays: job {other} has the same unique key"), false)
        }
        Changed::Not(state) => ("unchanged", format!("stays: it is {state}"), false),
        Changed::Absent => ("absent", "is not there, or not any more".to_owned(), false),
    };
    if as_json {
        out::json_line(&json!({ "id": id, "result": result, "message": words }))?;
    } else {
        out::line(&format!("{id}  {words}"))?;
    }
    Ok(is_done)
}
