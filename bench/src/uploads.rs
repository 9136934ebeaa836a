//! `uploads`: how many files the server takes in, each an acknowledged new version.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::http::{self, Connection, Upload};
use crate::measure::{Rate, Times};
use crate::process::ProcessTree;
use crate::{Target, content};

/// Names that one connection takes in turn.
const NAMES_PER_CONNECTION: usize = 16;

/// Arguments of `relais-bench uploads`.
#[derive(clap::Args)]
pub(crate) struct UploadsArgs {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Bytes of one file
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Seconds of load, after a second of warming up
    #[arg(long, default_value_t = 6)]
    seconds: u64,
}

#[derive(Serialize)]
pub(crate) struct UploadsReport {
    scenario: &'static str,
    #[serde(flatten)]
    rate: Rate,
    #[serde(flatten)]
    times: Times,
    verified_files: usize,
}

pub(crate) async fn run(args: UploadsArgs) -> Result<UploadsReport, BenchError> {
    let server = ProcessTree::of(args.target.pid);
    let warm = load(&args, Duration::from_secs(1), 1).await?;
    server.wait_until_quiet().await?;
    let cpu_before = server.cpu_s()?;
    let began = Instant::now();
    let done = load(&args, Duration::from_secs(args.seconds), 1 + warm.times.len() as u64).await?;
    let wall_s = began.elapsed().as_secs_f64();
    server.wait_until_quiet().await?;
    let cpu_s = server.cpu_s()? - cpu_before;
    let verified_files = verify(&args.target, &done.last).await?;
    Ok(UploadsReport {
        scenario: "uploads",
        rate: Rate::new(done.times.len() as u64, wall_s, cpu_s),
        times: Times::of_micros(done.times),
        verified_files,
    })
}

/// What a load did: how long each upload took, and the last upload of every name.
struct Load {
    times: Vec<u32>,
    last: Vec<Upload>,
}

async fn load(args: &UploadsArgs, duration: Duration, first_serial: u64) -> Result<Load, BenchError> {
    let end = Instant::now() + duration;
    let mut connections = JoinSet::new();
    for number in 0..args.connections {
        // Serial numbers of the connections never meet, nor those of two loads.
        let serial = (first_serial * args.connections as u64 + number as u64) * 1_000_000;
        connections.spawn(upload_until(args.target.address, number, args.size, serial, end));
    }
    let mut load = Load { times: Vec::new(), last: Vec::new() };
    while let Some(connection) = connections.join_next().await {
        let one = connection.map_err(|e| BenchError::wrong(e.to_string()))??;
        load.times.extend(one.times);
        load.last.extend(one.last);
    }
    Ok(load)
}

async fn upload_until(
    address: std::net::SocketAddr,
    number: usize,
    size: usize,
    mut serial: u64,
    end: Instant,
) -> Result<Load, BenchError> {
    let mut connection = Connection::open(address).await?;
    let name = |file: usize| format!("comptes_{number:03}_{file:02}.json");
    let mut uploads: Vec<Upload> =
        (0..NAMES_PER_CONNECTION).map(|file| Upload::new(name(file), size)).collect();
    let mut times = Vec::new();
    let mut turn = 0;
    while Instant::now() < end || turn < NAMES_PER_CONNECTION {
        let upload = &mut uploads[turn % NAMES_PER_CONNECTION];
        let began = Instant::now();
        let reply = connection.exchange(upload.renew(serial)).await?;
        if reply.status != 200 {
            let text = String::from_utf8_lossy(reply.body);
            return Err(BenchError::wrong(format!("{} for an upload: {text}", reply.status)));
        }
        times.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        serial += 1;
        turn += 1;
    }
    Ok(Load { times, last: uploads })
}

/// Every file must be the last one that was acknowledged.
async fn verify(target: &Target, last: &[Upload]) -> Result<usize, BenchError> {
    let mut connection = Connection::open(target.address).await?;
    for upload in last {
        let path = format!("/api/files/download/{}/{}", content::SOCIETE, upload.filename);
        let reply = connection.exchange(&http::get(&path)).await?;
        if reply.status != 200 || reply.body != upload.content() {
            return Err(BenchError::wrong(format!("{path} is not what was acknowledged last")));
        }
    }
    Ok(last.len())
}
