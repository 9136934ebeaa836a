//! `stalls`: thousands of clients that do not do their part, each in one of thirteen ways, kept at their number for as
//! long as it takes, while health is asked for, somebody signs in and one client works as every client does.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;

use crate::Target;
use crate::content::SOCIETE;
use crate::dialect::Dialect;
use crate::error::BenchError;
use crate::http::{Connection, Upload, find, get, post};
use crate::measure::Times;
use crate::process::ProcessTree;
use crate::websocket::Listener;

/// More than the buffers of both systems hold.
const LARGE_BYTES: usize = 16 * 1024 * 1024;
/// Clients of one address: loopback has many.
const PER_ADDRESS: usize = 250;
/// Connections opened in a second, and opened again when the server has ended them.
const OPENED_PER_S: usize = 2_000;
const HEALTH_EVERY: Duration = Duration::from_millis(50);
const SIGN_IN_EVERY: Duration = Duration::from_secs(1);
const WORK_EVERY: Duration = Duration::from_millis(200);
const TRICKLE_EVERY: Duration = Duration::from_secs(5);
/// Nothing that works takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `relais-bench stalls`.
#[derive(clap::Args)]
pub(crate) struct StallsArgs {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How long they are kept at their number
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Who signs in
    #[arg(long)]
    email: String,
    #[arg(long)]
    password: String,
}

#[derive(Serialize)]
pub(crate) struct StallsReport {
    scenario: &'static str,
    connections: usize,
    kinds: usize,
    /// Connections that the server has ended, and that were opened again.
    ended: u64,
    health_answers: usize,
    health_p50_ms: f64,
    health_p99_ms: f64,
    health_max_ms: f64,
    sign_ins: usize,
    sign_in_p99_ms: f64,
    /// Uploads of the client that works, each downloaded again and heard of.
    client_rounds: usize,
    client_p99_ms: f64,
    resident_before_kb: u64,
    resident_peak_kb: u64,
    resident_after_kb: u64,
    cpu_share: f64,
}

/// A way not to do one's part: what is said, what is said again and again, and whether what comes is read.
struct Kind {
    said: String,
    trickle: &'static [u8],
    reads: bool,
}

impl Kind {
    fn new(said: impl Into<String>) -> Self {
        Self { said: said.into(), trickle: b"", reads: true }
    }

    fn trickling(self, trickle: &'static [u8]) -> Self {
        Self { trickle, ..self }
    }

    fn unread(self) -> Self {
        Self { reads: false, ..self }
    }
}

fn kinds() -> Vec<Kind> {
    let ask = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let login = |headers: &str| {
        format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n\r\n"
        )
    };
    let form = |rest: &str| {
        format!(
            "POST /api/files/upload/{SOCIETE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\
             Content-Type: multipart/form-data; boundary=b\r\n\r\n{rest}"
        )
    };
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: cmVsYWlzLWJlbmNoLWtleQ==\r\n";
    let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"stall.json\"\r\n\r\n";
    vec![
        Kind::new(""),
        Kind::new("GET /healthz HTTP/1.1\r\nHost: local"),
        Kind::new("GET /healthz HTTP/1.1\r\nX: ").trickling(b"x"),
        Kind::new(login("Content-Length: 1000") + "{"),
        Kind::new(login("Content-Length: 100000") + "{").trickling(b" "),
        Kind::new(login("Transfer-Encoding: chunked") + "40\r\n{\"em"),
        Kind::new(form(&"x".repeat(1000))),
        Kind::new(form("--b\r\nContent-Disposition: form-data; na")),
        Kind::new(form(&format!("{file}[{}", " ".repeat(30_000)))),
        Kind::new(ask(&format!("/api/files/download/{SOCIETE}/large.json"), "")).unread(),
        Kind::new(ask("/api/files/events", "Accept: text/event-stream\r\n")).unread(),
        Kind::new(ask("/api/files/ws", websocket)).unread(),
        Kind::new(ask("/socket.io/?EIO=4&transport=polling", "")).unread(),
    ]
}

#[derive(Default)]
struct Counts {
    ended: Cell<u64>,
    is_over: Cell<bool>,
}

pub(crate) async fn run(args: StallsArgs) -> Result<StallsReport, BenchError> {
    LocalSet::new().run_until(measure(args)).await
}

async fn measure(args: StallsArgs) -> Result<StallsReport, BenchError> {
    let (address, server) = (args.target.address, ProcessTree::of(args.target.pid));
    upload_large(address).await?;
    // What is made once in a server's life is there before the first measurement.
    let mut worker = Worker::new(address).await?;
    for _ in 0..10 {
        worker.round().await?;
    }
    server.wait_until_quiet().await?;
    let resident_before_kb = server.resident_kb()?;
    let cpu_before = server.cpu_s()?;

    let (kinds, counts) = (Rc::new(kinds()), Rc::new(Counts::default()));
    let began = Instant::now();
    let mut stalled = tokio::task::JoinSet::new();
    for number in 0..args.connections {
        stalled.spawn_local(keep_stalling(address, number, Rc::clone(&kinds), Rc::clone(&counts)));
        if number % (OPENED_PER_S / 100) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let health = tokio::task::spawn_local(ask(address, get("/healthz"), HEALTH_EVERY, until));
    let credentials = serde_json::json!({ "email": args.email, "password": args.password }).to_string();
    let sign_in = post("/api/auth/login", &credentials);
    let sign_ins = tokio::task::spawn_local(ask(address, sign_in, SIGN_IN_EVERY, until));
    let peak = tokio::task::spawn_local(watch_memory(server, until));
    let mut rounds = Vec::new();
    while Instant::now() < until {
        rounds.push(worker.round().await?);
        tokio::time::sleep(WORK_EVERY).await;
    }
    let failed = |error: tokio::task::JoinError| BenchError::wrong(error.to_string());
    let health = health.await.map_err(failed)??;
    let sign_ins = sign_ins.await.map_err(failed)??;
    let resident_peak_kb = peak.await.map_err(failed)??;
    let cpu_share = (server.cpu_s()? - cpu_before) / began.elapsed().as_secs_f64();
    counts.is_over.set(true);
    stalled.shutdown().await;
    server.wait_until_quiet().await?;
    let (health_answers, sign_in_answers, client_rounds) = (health.len(), sign_ins.len(), rounds.len());
    let [health, sign_ins, client] = [health, sign_ins, rounds].map(Times::of_micros);
    Ok(StallsReport {
        scenario: "stalls",
        connections: args.connections,
        kinds: kinds.len(),
        ended: counts.ended.get(),
        health_answers,
        health_p50_ms: health.p50_ms,
        health_p99_ms: health.p99_ms,
        health_max_ms: health.max_ms,
        sign_ins: sign_in_answers,
        sign_in_p99_ms: sign_ins.p99_ms,
        client_rounds,
        client_p99_ms: client.p99_ms,
        resident_before_kb,
        resident_peak_kb,
        resident_after_kb: server.resident_kb()?,
        cpu_share,
    })
}

async fn upload_large(address: SocketAddr) -> Result<(), BenchError> {
    let mut connection = Connection::open(address).await?;
    let mut upload = Upload::new("large.json".into(), LARGE_BYTES);
    match connection.exchange(upload.renew(1)).await?.status {
        200 => Ok(()),
        status => Err(BenchError::wrong(format!("{status} for a large upload"))),
    }
}

/// Stalls, and does it again on a new connection whenever the server has ended the one before.
async fn keep_stalling(address: SocketAddr, number: usize, kinds: Rc<Vec<Kind>>, counts: Rc<Counts>) {
    let kind = &kinds[number % kinds.len()];
    while !counts.is_over.get() {
        if let Ok(stream) = connect(address, number).await {
            stall(stream, kind).await;
            counts.ended.set(counts.ended.get() + 1);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connect(address: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if address.ip().is_loopback() {
        let host = u8::try_from(2 + number / PER_ADDRESS % 250).unwrap_or(2);
        socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
    }
    socket.set_recv_buffer_size(4096)?;
    socket.connect(address).await
}

/// Until the server ends it.
async fn stall(mut stream: TcpStream, kind: &Kind) {
    if stream.write_all(kind.said.as_bytes()).await.is_err() {
        return;
    }
    let (mut incoming, mut outgoing) = stream.split();
    let trickling = async {
        if kind.trickle.is_empty() {
            return std::future::pending().await;
        }
        while outgoing.write_all(kind.trickle).await.is_ok() {
            tokio::time::sleep(TRICKLE_EVERY).await;
        }
    };
    let reading = async {
        let mut bytes = [0; 1024];
        if kind.reads {
            while matches!(incoming.read(&mut bytes).await, Ok(read) if read > 0) {}
        } else {
            // A reset, or an end behind what is not read.
            let _ = incoming.as_ref().ready(tokio::io::Interest::ERROR).await;
        }
    };
    tokio::select! {
        () = trickling => {}
        () = reading => {}
    }
}

/// How long the answers to a request take, each on a new connection: it is about being let in.
async fn ask(
    address: SocketAddr,
    request: Vec<u8>,
    every: Duration,
    until: Instant,
) -> Result<Vec<u32>, BenchError> {
    let mut micros = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let asked =
            async { Connection::open(address).await?.exchange(&request).await.map(|reply| reply.status) };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(200)) => micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)),
            Ok(Ok(status)) => return Err(BenchError::wrong(format!("{status} for {}", asked_for(&request)))),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let what = asked_for(&request);
                return Err(BenchError::wrong(format!("no answer within {PATIENCE:?} to {what}")));
            }
        }
        tokio::time::sleep(every).await;
    }
    Ok(micros)
}

/// The first line of a request.
fn asked_for(request: &[u8]) -> String {
    String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned()
}

async fn watch_memory(server: ProcessTree, until: Instant) -> Result<u64, BenchError> {
    let mut peak = 0;
    while Instant::now() < until {
        peak = peak.max(server.resident_kb()?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(peak)
}

/// A client that uploads, hears of it and downloads it.
struct Worker {
    address: SocketAddr,
    listener: Listener,
    upload: Upload,
    serial: u64,
}

impl Worker {
    async fn new(address: SocketAddr) -> Result<Self, BenchError> {
        let listener = Listener::open(address, Dialect::Relay).await?;
        Ok(Self { address, listener, upload: Upload::new("work.json".into(), 10_240), serial: 0 })
    }

    /// Microseconds that it took.
    async fn round(&mut self) -> Result<u32, BenchError> {
        let began = Instant::now();
        match tokio::time::timeout(PATIENCE, self.work()).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(BenchError::wrong(format!("a client was not served within {PATIENCE:?}"))),
        }
        Ok(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX))
    }

    async fn work(&mut self) -> Result<(), BenchError> {
        self.serial += 1;
        let mut connection = Connection::open(self.address).await?;
        let status = connection.exchange(self.upload.renew(self.serial)).await?.status;
        if status != 200 {
            return Err(BenchError::wrong(format!("{status} for an upload")));
        }
        let path = format!("/api/files/download/{SOCIETE}/work.json");
        let reply = connection.exchange(&get(&path)).await?;
        if reply.status != 200 || reply.body != self.upload.content() {
            return Err(BenchError::wrong("a download is not what was uploaded"));
        }
        let mut is_heard = false;
        while !is_heard {
            self.listener.next_frames(|text| is_heard |= find(text, b"work.json").is_some()).await?;
        }
        Ok(())
    }
}
