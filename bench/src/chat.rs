//! `chat`: messages of many senders over `/ws/chat`, each acknowledged when it is durable, and heard by the partner.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};

use crate::Target;
use crate::dialect::Dialect;
use crate::error::BenchError;
use crate::http::find;
use crate::measure::{Rate, Times};
use crate::process::ProcessTree;
use crate::websocket::Listener;

const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);

/// Arguments of `relais-bench chat`.
#[derive(clap::Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    target: Target,
    /// A line for each person: a token, and the conversation with the one on the line before or after
    #[arg(long)]
    people: PathBuf,
    /// How many of them send, one message under way each; all hear
    #[arg(long, default_value_t = 64)]
    senders: usize,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[derive(Serialize)]
pub(crate) struct ChatReport {
    scenario: &'static str,
    senders: usize,
    #[serde(flatten)]
    rate: Rate,
    #[serde(flatten)]
    times: Times,
}

/// What all of them have sent and heard.
struct Talk {
    until: Instant,
    /// Microseconds between sending and acknowledgement.
    times: RefCell<Vec<u32>>,
    heard: Cell<usize>,
    sending: Cell<usize>,
    progress: Notify,
}

pub(crate) async fn run(args: ChatArgs) -> Result<ChatReport, BenchError> {
    LocalSet::new().run_until(measure(args)).await
}

async fn measure(args: ChatArgs) -> Result<ChatReport, BenchError> {
    let server = ProcessTree::of(args.target.pid);
    let people = std::fs::read_to_string(&args.people)?;
    let mut all = Vec::new();
    for line in people.lines() {
        let (token, conversation) =
            line.split_once(' ').ok_or_else(|| BenchError::wrong(format!("{line:?} is not a person")))?;
        all.push((come_in(args.target.address, token).await?, conversation.to_owned()));
    }
    server.wait_until_quiet().await?;
    let cpu_before = server.cpu_s()?;
    let began = Instant::now();
    let talk = Rc::new(Talk {
        until: began + Duration::from_secs(args.seconds),
        times: RefCell::default(),
        heard: Cell::new(0),
        sending: Cell::new(args.senders.min(all.len())),
        progress: Notify::new(),
    });
    let mut talking = JoinSet::new();
    for (number, (listener, conversation)) in all.into_iter().enumerate() {
        let sends = number < args.senders;
        talking.spawn_local(converse(listener, conversation, number, sends, Rc::clone(&talk)));
    }
    let done = tokio::time::timeout(Duration::from_secs(args.seconds) + ARRIVAL_LIMIT, talk.finished());
    let outcome = tokio::select! {
        done = done => done,
        Some(ended) = talking.join_next() => {
            let reason = ended.map_err(|e| BenchError::wrong(e.to_string()))?;
            return Err(reason.err().unwrap_or_else(|| BenchError::wrong("somebody left")));
        }
    };
    let wall_s = began.elapsed().as_secs_f64();
    let (sent, heard) = (talk.times.borrow().len(), talk.heard.get());
    if outcome.is_err() || sent != heard {
        return Err(BenchError::wrong(format!("{sent} messages were acknowledged, {heard} were heard")));
    }
    server.wait_until_quiet().await?;
    Ok(ChatReport {
        scenario: "chat",
        senders: args.senders,
        rate: Rate::new(sent as u64, wall_s, server.cpu_s()? - cpu_before),
        times: Times::of_micros(talk.times.take()),
    })
}

impl Talk {
    /// Waits until nobody sends any more and everything acknowledged was heard.
    async fn finished(&self) {
        while self.sending.get() > 0 || self.heard.get() < self.times.borrow().len() {
            self.progress.notified().await;
        }
    }
}

pub(crate) async fn come_in(address: std::net::SocketAddr, token: &str) -> Result<Listener, BenchError> {
    let mut listener = Listener::open(address, Dialect::Chat).await?;
    listener.say(format!("{{\"type\":\"authenticate\",\"token\":\"{token}\"}}").as_bytes())?;
    let mut welcomed = false;
    while !welcomed {
        listener.next_frames(|text| welcomed |= find(text, b"\"authenticated\"").is_some()).await?;
    }
    Ok(listener)
}

/// Sends one message after the other, if it sends, and counts what it hears.
async fn converse(
    mut listener: Listener,
    conversation: String,
    number: usize,
    sends: bool,
    talk: Rc<Talk>,
) -> Result<(), BenchError> {
    let mut sent = 0;
    let mut under_way: Option<Instant> = None;
    let mut sending = sends;
    loop {
        if sending && under_way.is_none() {
            if Instant::now() >= talk.until {
                sending = false;
                talk.sending.set(talk.sending.get() - 1);
                talk.progress.notify_one();
            } else {
                under_way = Some(Instant::now());
                listener.say(command(&conversation, number, sent).as_bytes())?;
                sent += 1;
            }
        }
        let mut acknowledged = false;
        let mut refused = None;
        listener
            .next_frames(|text| {
                if find(text, b"\"type\":\"message_sent\"").is_some() {
                    acknowledged = true;
                } else if find(text, b"\"type\":\"new_message\"").is_some() {
                    talk.heard.set(talk.heard.get() + 1);
                } else if find(text, b"\"type\":\"error\"").is_some() {
                    refused = Some(String::from_utf8_lossy(text).into_owned());
                }
            })
            .await?;
        if let Some(refused) = refused {
            return Err(BenchError::wrong(refused));
        }
        if let Some(at) = under_way.take_if(|_| acknowledged) {
            talk.times.borrow_mut().push(at.elapsed().as_micros() as u32);
        }
        talk.progress.notify_one();
    }
}

pub(crate) fn command(conversation: &str, number: usize, sent: u64) -> String {
    let content = "x".repeat(128);
    format!(
        "{{\"type\":\"send_message\",\"conversation_id\":\"{conversation}\",\"content\":\"{content}\",\
         \"client_id\":\"{number}-{sent}\"}}"
    )
}
