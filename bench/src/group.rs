//! `group`: one member of a group sends, the others hear; each message until the last of them has it.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};

use crate::Target;
use crate::chat::{come_in, command};
use crate::error::BenchError;
use crate::http::find;
use crate::measure::{Rate, Times};
use crate::process::ProcessTree;
use crate::websocket::Listener;

const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);

/// Arguments of `relais-bench group`.
#[derive(clap::Args)]
pub(crate) struct GroupArgs {
    #[command(flatten)]
    target: Target,
    /// A line for each member: a token, and the group
    #[arg(long)]
    people: PathBuf,
    /// Messages that the first sends, one after the other
    #[arg(long, default_value_t = 100)]
    messages: usize,
}

#[derive(Serialize)]
pub(crate) struct GroupReport {
    scenario: &'static str,
    members: usize,
    /// Events of presence that the member heard to whom most were told, while all connected.
    presence_max: usize,
    #[serde(flatten)]
    rate: Rate,
    #[serde(flatten)]
    times: Times,
}

/// What the members have heard.
#[derive(Default)]
struct Heard {
    messages: Cell<usize>,
    presence_max: Cell<usize>,
    progress: Notify,
}

pub(crate) async fn run(args: GroupArgs) -> Result<GroupReport, BenchError> {
    LocalSet::new().run_until(measure(args)).await
}

async fn measure(args: GroupArgs) -> Result<GroupReport, BenchError> {
    let server = ProcessTree::of(args.target.pid);
    let people = std::fs::read_to_string(&args.people)?;
    let lines: Vec<(&str, &str)> = people.lines().filter_map(|line| line.split_once(' ')).collect();
    let [(sender, group), members @ ..] = &lines[..] else {
        return Err(BenchError::wrong("nobody is in the group"));
    };
    let heard = Rc::new(Heard::default());
    let mut listening = JoinSet::new();
    for (token, _) in members {
        let listener = come_in(args.target.address, token).await?;
        listening.spawn_local(listen(listener, Rc::clone(&heard)));
    }
    let mut sender = come_in(args.target.address, sender).await?;
    server.wait_until_quiet().await?;
    let (cpu_before, began) = (server.cpu_s()?, Instant::now());
    let mut times = Vec::with_capacity(args.messages);
    for number in 0..args.messages {
        let at = Instant::now();
        sender.say(command(group, 0, number as u64).as_bytes())?;
        let wanted = (number + 1) * members.len();
        let all = async {
            while heard.messages.get() < wanted {
                heard.progress.notified().await;
            }
            Ok(())
        };
        let arrived = async {
            tokio::select! {
                done = all => done,
                failed = read(&mut sender) => failed,
                Some(ended) = listening.join_next() => {
                    ended.map_err(|e| BenchError::wrong(e.to_string()))?
                }
            }
        };
        tokio::time::timeout(ARRIVAL_LIMIT, arrived)
            .await
            .map_err(|_| BenchError::wrong(format!("message {number} did not reach everybody")))??;
        times.push(at.elapsed().as_micros() as u32);
    }
    let wall_s = began.elapsed().as_secs_f64();
    Ok(GroupReport {
        scenario: "group",
        members: lines.len(),
        presence_max: heard.presence_max.get(),
        rate: Rate::new(args.messages as u64, wall_s, server.cpu_s()? - cpu_before),
        times: Times::of_micros(times),
    })
}

/// Reads what the sender is told, until something is refused.
async fn read(sender: &mut Listener) -> Result<(), BenchError> {
    let mut refused = None;
    loop {
        sender
            .next_frames(|text| {
                if find(text, b"\"type\":\"error\"").is_some() {
                    refused = Some(String::from_utf8_lossy(text).into_owned());
                }
            })
            .await?;
        if let Some(refused) = refused {
            return Err(BenchError::wrong(refused));
        }
    }
}

async fn listen(mut listener: Listener, heard: Rc<Heard>) -> Result<(), BenchError> {
    let mut presence = 0;
    loop {
        listener
            .next_frames(|text| {
                if find(text, b"\"type\":\"new_message\"").is_some() {
                    heard.messages.set(heard.messages.get() + 1);
                } else if find(text, b"_presence\"").is_some() {
                    presence += 1;
                }
            })
            .await?;
        heard.presence_max.set(heard.presence_max.get().max(presence));
        heard.progress.notify_one();
    }
}
