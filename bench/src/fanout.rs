//! `fanout`: what one client says, every subscriber hears, each message once and in order.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::Target;
use crate::audience::Audience;
use crate::dialect::Dialect;
use crate::error::BenchError;
use crate::measure::{Rate, Times};
use crate::message::{Kind, MESSAGE_BYTES, write_message};
use crate::notify::connect;
use crate::process::ProcessTree;
use crate::stalled::{Stalled, StalledReport};
use crate::websocket::Listener;

/// How long the last messages may take to arrive everywhere.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);
/// How long the first message may take to arrive everywhere.
const WARM_UP_LIMIT: Duration = Duration::from_secs(60);
const WARM_UP_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `relais-bench fanout`.
#[derive(clap::Args)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    target: Target,
    #[arg(long, value_enum)]
    dialect: Dialect,
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Messages that may be under way: said, and not yet heard by everybody
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=64))]
    under_way: u64,
    /// Messages per second; as many as are heard if absent. With it, times are measured
    #[arg(long)]
    rate: Option<u32>,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// One more client that never reads, which the server has to drop
    #[arg(long)]
    stalled: bool,
}

#[derive(Serialize)]
pub(crate) struct FanoutReport {
    scenario: &'static str,
    subscribers: usize,
    message_bytes: usize,
    messages: u64,
    /// Deliveries that came after a later message.
    out_of_order: u64,
    kb_per_connection: f64,
    #[serde(flatten)]
    rate: Rate,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    times: Option<Times>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled: Option<StalledReport>,
}

pub(crate) async fn run(args: FanoutArgs) -> Result<FanoutReport, BenchError> {
    LocalSet::new().run_until(measure(args)).await
}

async fn measure(args: FanoutArgs) -> Result<FanoutReport, BenchError> {
    let server = ProcessTree::of(args.target.pid);
    let mut speaker = Listener::open(args.target.address, args.dialect).await?;
    server.wait_until_quiet().await?;
    let resident_before = server.resident_kb()?;
    let audience = Audience::new(args.subscribers, args.rate.is_some());
    let mut listening = JoinSet::new();
    for (place, listener) in
        connect(args.target.address, args.dialect, args.subscribers).await?.into_iter().enumerate()
    {
        listening.spawn_local(listen(listener, args.dialect, audience.clone(), place));
    }
    server.wait_until_quiet().await?;
    let resident = server.resident_kb()?.saturating_sub(resident_before);
    let stalled = match args.stalled {
        true => Some(Stalled::open(args.target.address, args.dialect).await?),
        false => None,
    };
    let said = speak(&args, &server, &mut speaker, &audience);
    let (messages, wall_s, cpu_s) = tokio::select! {
        said = said => said?,
        Some(ended) = listening.join_next() => {
            let reason = ended.map_err(|e| BenchError::wrong(e.to_string()))?;
            return Err(reason.err().unwrap_or_else(|| BenchError::wrong("a subscriber ended")));
        }
    };
    Ok(FanoutReport {
        scenario: "fanout",
        subscribers: args.subscribers,
        message_bytes: MESSAGE_BYTES,
        messages,
        out_of_order: audience.out_of_order(),
        kb_per_connection: resident as f64 / args.subscribers as f64,
        rate: Rate::new(messages * args.subscribers as u64, wall_s, cpu_s),
        times: args.rate.map(|_| Times::of_micros(audience.take_times())),
        stalled: match stalled {
            Some(stalled) => Some(stalled.read_to_the_end(messages).await?),
            None => None,
        },
    })
}

async fn listen(
    mut listener: Listener,
    dialect: Dialect,
    audience: Audience,
    place: usize,
) -> Result<(), BenchError> {
    loop {
        let mut wrong = None;
        listener
            .next_frames(|text| {
                if let Some(message) = dialect.message(text) {
                    wrong = wrong.take().or(audience.hears(place, message).err());
                }
            })
            .await?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
    }
}

/// Says messages for as long as asked and waits until all have heard them. How many, how long it took, and what
/// processor time the server took for it.
async fn speak(
    args: &FanoutArgs,
    server: &ProcessTree,
    speaker: &mut Listener,
    audience: &Audience,
) -> Result<(u64, f64, f64), BenchError> {
    let warm_up = tokio::time::timeout(WARM_UP_LIMIT, warm_up(args, speaker, audience)).await;
    warm_up.map_err(|_| BenchError::wrong("not every subscriber hears what is said"))??;
    server.wait_until_quiet().await?;
    let cpu_before = server.cpu_s()?;
    let began = Instant::now();
    match args.rate {
        None => as_many_as_are_heard(args, speaker, audience, began).await?,
        Some(rate) => at_rate(args, rate, speaker, audience).await?,
    }
    let last =
        tokio::time::timeout(ARRIVAL_LIMIT, until(speaker, audience, || audience.under_way() == 0)).await;
    last.map_err(|_| BenchError::wrong(format!("messages are missing: {}", audience.missing())))??;
    let wall_s = began.elapsed().as_secs_f64();
    server.wait_until_quiet().await?;
    Ok((audience.said(), wall_s, server.cpu_s()? - cpu_before))
}

/// Until everybody is there; what was said before does not count.
async fn warm_up(args: &FanoutArgs, speaker: &mut Listener, audience: &Audience) -> Result<(), BenchError> {
    while !audience.all_are_there() {
        say(args.dialect, speaker, Kind::WarmUp, [0])?;
        let heard = until(speaker, audience, || audience.all_are_there());
        if let Ok(outcome) = tokio::time::timeout(WARM_UP_EVERY, heard).await {
            outcome?;
        }
    }
    Ok(())
}

async fn as_many_as_are_heard(
    args: &FanoutArgs,
    speaker: &mut Listener,
    audience: &Audience,
    began: Instant,
) -> Result<(), BenchError> {
    while began.elapsed() < Duration::from_secs(args.seconds) {
        let room = args.under_way - audience.under_way();
        if room > 0 {
            say(args.dialect, speaker, Kind::Counted, audience.say(room))?;
        }
        until(speaker, audience, || audience.under_way() < args.under_way).await?;
    }
    Ok(())
}

async fn at_rate(
    args: &FanoutArgs,
    rate: u32,
    speaker: &mut Listener,
    audience: &Audience,
) -> Result<(), BenchError> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..args.seconds * u64::from(rate) {
        loop {
            tokio::select! {
                _ = tick.tick() => break,
                heard = speaker.next_frames(|_| {}) => heard?,
            }
        }
        say(args.dialect, speaker, Kind::Counted, audience.say(1))?;
    }
    Ok(())
}

/// A write for each, as clients do.
fn say(
    dialect: Dialect,
    speaker: &Listener,
    kind: Kind,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<(), BenchError> {
    for number in numbers {
        let (mut message, mut text) = (Vec::new(), Vec::new());
        write_message(kind, number, &mut message);
        dialect.say(&message, &mut text);
        speaker.say(&text)?;
    }
    Ok(())
}

/// Reads what the speaker hears of itself until something has become true of the audience.
async fn until(
    speaker: &mut Listener,
    audience: &Audience,
    done: impl Fn() -> bool,
) -> Result<(), BenchError> {
    while !done() {
        tokio::select! {
            () = audience.progress() => {}
            heard = speaker.next_frames(|_| {}) => heard?,
        }
    }
    Ok(())
}
