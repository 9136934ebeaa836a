//! `notify`: how long after an upload begins every listener knows, each upload told to each exactly once and
//! in order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::Target;
use crate::dialect::Dialect;
use crate::error::BenchError;
use crate::http::{Connection, Upload, find};
use crate::measure::{Rate, Times};
use crate::process::ProcessTree;
use crate::websocket::Listener;

/// Handshakes under way at once.
pub(crate) const CONNECTING_MAX: usize = 64;
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
const WARM_UP_UPLOADS: u64 = 10;
const NAME_PREFIX: &[u8] = b"notify_";
const NAME_DIGITS: usize = 6;

/// Arguments of `relais-bench notify`.
#[derive(clap::Args)]
pub(crate) struct NotifyArgs {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 1000)]
    listeners: usize,
    /// Uploads per second
    #[arg(long, default_value_t = 10)]
    rate: u32,
    #[arg(long, default_value_t = 100)]
    uploads: usize,
    /// Bytes of one file
    #[arg(long, default_value_t = 10_240)]
    size: usize,
}

#[derive(Serialize)]
pub(crate) struct NotifyReport {
    scenario: &'static str,
    listeners: usize,
    #[serde(flatten)]
    rate: Rate,
    #[serde(flatten)]
    times: Times,
}

/// When each upload began, in microseconds since the beginning of the run.
#[derive(Clone)]
struct Departures {
    began: Instant,
    micros: Arc<[AtomicU64]>,
}

impl Departures {
    fn record(&self, number: usize) {
        self.micros[number].store(self.now(), Ordering::Release);
    }

    fn since(&self, number: usize) -> Option<u32> {
        let departure = self.micros.get(number)?.load(Ordering::Acquire);
        u32::try_from(self.now() - departure).ok()
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }
}

/// What the listeners have got so far.
struct Arrivals {
    departures: Departures,
    micros: RefCell<Vec<u32>>,
    out_of_order: Cell<usize>,
    expected: usize,
    complete: Notify,
}

pub(crate) async fn run(args: NotifyArgs) -> Result<NotifyReport, BenchError> {
    LocalSet::new().run_until(measure(args)).await
}

async fn measure(args: NotifyArgs) -> Result<NotifyReport, BenchError> {
    let server = ProcessTree::of(args.target.pid);
    let micros = (0..args.uploads).map(|_| AtomicU64::new(0)).collect();
    let departures = Departures { began: Instant::now(), micros };
    let arrivals = Rc::new(Arrivals {
        departures: departures.clone(),
        micros: RefCell::default(),
        out_of_order: Cell::new(0),
        expected: args.uploads * args.listeners,
        complete: Notify::new(),
    });
    let mut listening = JoinSet::new();
    for listener in connect(args.target.address, Dialect::Relay, args.listeners).await? {
        listening.spawn_local(listen(listener, Rc::clone(&arrivals)));
    }
    warm_up(&args).await?;
    server.wait_until_quiet().await?;
    let cpu_before = server.cpu_s()?;
    let began = Instant::now();
    let address = args.target.address;
    let uploads = std::thread::spawn(move || upload_all(address, &args, &departures).map(|()| args));
    let outcome = tokio::select! {
        all = tokio::time::timeout(ARRIVAL_LIMIT + Duration::from_secs(60), arrivals.complete.notified()) => all,
        Some(ended) = listening.join_next() => {
            let reason = ended.map_err(|e| BenchError::wrong(e.to_string()))?;
            return Err(reason.err().unwrap_or_else(|| BenchError::wrong("a listener ended")));
        }
    };
    let wall_s = began.elapsed().as_secs_f64();
    let args = uploads.join().map_err(|_| BenchError::wrong("the uploading thread failed"))??;
    let got = arrivals.micros.borrow().len();
    if outcome.is_err() || arrivals.out_of_order.get() > 0 {
        return Err(BenchError::wrong(format!(
            "{got} of {} notifications came, {} of them out of order",
            arrivals.expected,
            arrivals.out_of_order.get()
        )));
    }
    server.wait_until_quiet().await?;
    let cpu_s = server.cpu_s()? - cpu_before;
    Ok(NotifyReport {
        scenario: "notify",
        listeners: args.listeners,
        rate: Rate::new(got as u64, wall_s, cpu_s),
        times: Times::of_micros(arrivals.micros.take()),
    })
}

/// Opens so many listeners, all of them greeted.
pub(crate) async fn connect(
    address: std::net::SocketAddr,
    dialect: Dialect,
    count: usize,
) -> Result<Vec<Listener>, BenchError> {
    let slots = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut connecting = JoinSet::new();
    for _ in 0..count {
        let slots = Arc::clone(&slots);
        connecting.spawn(async move {
            let _slot = slots.acquire_owned().await;
            Listener::open(address, dialect).await
        });
    }
    let mut listeners = Vec::with_capacity(count);
    while let Some(listener) = connecting.join_next().await {
        listeners.push(listener.map_err(|e| BenchError::wrong(e.to_string()))??);
    }
    Ok(listeners)
}

/// Uploads that no listener counts, so that what happens once in a server's life is not measured.
async fn warm_up(args: &NotifyArgs) -> Result<(), BenchError> {
    let mut connection = Connection::open(args.target.address).await?;
    for number in 0..WARM_UP_UPLOADS {
        let mut upload = Upload::new(format!("warm_up_{number}.json"), args.size);
        let reply = connection.exchange(upload.renew(number)).await?;
        if reply.status != 200 {
            return Err(BenchError::wrong(format!("{} for an upload", reply.status)));
        }
    }
    Ok(())
}

async fn listen(mut listener: Listener, arrivals: Rc<Arrivals>) -> Result<(), BenchError> {
    let mut next = 0;
    loop {
        listener
            .next_frames(|text| {
                let Some(number) = number_in(text) else { return };
                match arrivals.departures.since(number) {
                    Some(micros) if number == next => arrivals.micros.borrow_mut().push(micros),
                    _ => arrivals.out_of_order.set(arrivals.out_of_order.get() + 1),
                }
                next = number + 1;
                if arrivals.micros.borrow().len() == arrivals.expected {
                    arrivals.complete.notify_one();
                }
            })
            .await?;
    }
}

fn number_in(text: &[u8]) -> Option<usize> {
    let at = find(text, NAME_PREFIX)? + NAME_PREFIX.len();
    std::str::from_utf8(text.get(at..at + NAME_DIGITS)?).ok()?.parse().ok()
}

/// Uploads at a steady rate from a thread of its own, so that its times do not depend on the listeners.
fn upload_all(
    address: std::net::SocketAddr,
    args: &NotifyArgs,
    departures: &Departures,
) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let mut tick = tokio::time::interval(Duration::from_secs(1) / args.rate);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0..args.uploads {
            let mut upload = Upload::new(format!("notify_{number:0NAME_DIGITS$}.json"), args.size);
            // The process id makes the content new although an earlier run used the same names.
            let request = upload.renew(u64::from(std::process::id()) * 1_000_000 + number as u64);
            tick.tick().await;
            departures.record(number);
            let reply = connection.exchange(request).await?;
            if reply.status != 200 {
                return Err(BenchError::wrong(format!("{} for an upload", reply.status)));
            }
        }
        Ok(())
    })
}
