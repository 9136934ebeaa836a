//! `downloads`: how many files the server gives out, every byte compared.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use crate::error::BenchError;
use crate::http::{self, Connection, Upload};
use crate::measure::{Rate, Times};
use crate::process::ProcessTree;
use crate::{Target, content};

/// Arguments of `relais-bench downloads`.
#[derive(clap::Args)]
pub(crate) struct DownloadsArgs {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How many files are asked for in turn
    #[arg(long, default_value_t = 64)]
    files: usize,
    /// Bytes of one file
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Seconds of load, after a second of warming up
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// What stands before `SOCIETE/FILE` in the path
    #[arg(long, default_value = "/api/files/download/")]
    prefix: String,
    /// Upload the files first
    #[arg(long)]
    fill: bool,
}

#[derive(Serialize)]
pub(crate) struct DownloadsReport {
    scenario: &'static str,
    #[serde(flatten)]
    rate: Rate,
    #[serde(flatten)]
    times: Times,
}

/// A request and the body that has to come back.
struct Exchange {
    request: Vec<u8>,
    body: Vec<u8>,
}

pub(crate) async fn run(args: DownloadsArgs) -> Result<DownloadsReport, BenchError> {
    if args.fill {
        fill(&args).await?;
    }
    let exchanges: Rc<[Exchange]> = (0..args.files)
        .map(|number| Exchange {
            request: http::get(&format!(
                "{}{}/{}",
                args.prefix,
                content::SOCIETE,
                content::corpus_name(number)
            )),
            body: content::document(args.size, number as u64),
        })
        .collect();
    let server = ProcessTree::of(args.target.pid);
    LocalSet::new().run_until(load(&args, &exchanges, Duration::from_secs(1))).await?;
    server.wait_until_quiet().await?;
    let cpu_before = server.cpu_s()?;
    let began = Instant::now();
    let times = LocalSet::new().run_until(load(&args, &exchanges, Duration::from_secs(args.seconds))).await?;
    let wall_s = began.elapsed().as_secs_f64();
    server.wait_until_quiet().await?;
    let cpu_s = server.cpu_s()? - cpu_before;
    Ok(DownloadsReport {
        scenario: "downloads",
        rate: Rate::new(times.len() as u64, wall_s, cpu_s),
        times: Times::of_micros(times),
    })
}

async fn fill(args: &DownloadsArgs) -> Result<(), BenchError> {
    let mut connection = Connection::open(args.target.address).await?;
    for number in 0..args.files {
        let mut upload = Upload::new(content::corpus_name(number), args.size);
        let reply = connection.exchange(upload.renew(number as u64)).await?;
        if reply.status != 200 {
            return Err(BenchError::wrong(format!("{} for an upload", reply.status)));
        }
    }
    Ok(())
}

async fn load(
    args: &DownloadsArgs,
    exchanges: &Rc<[Exchange]>,
    duration: Duration,
) -> Result<Vec<u32>, BenchError> {
    let end = Instant::now() + duration;
    let mut connections = JoinSet::new();
    for number in 0..args.connections {
        connections.spawn_local(download_until(args.target.address, Rc::clone(exchanges), number, end));
    }
    let mut times = Vec::new();
    while let Some(connection) = connections.join_next().await {
        times.extend(connection.map_err(|e| BenchError::wrong(e.to_string()))??);
    }
    Ok(times)
}

async fn download_until(
    address: std::net::SocketAddr,
    exchanges: Rc<[Exchange]>,
    first: usize,
    end: Instant,
) -> Result<Vec<u32>, BenchError> {
    let mut connection = Connection::open(address).await?;
    let mut times = Vec::new();
    let mut turn = first;
    loop {
        let began = Instant::now();
        if began >= end {
            return Ok(times);
        }
        let exchange = &exchanges[turn % exchanges.len()];
        let reply = connection.exchange(&exchange.request).await?;
        if reply.status != 200 || reply.body != exchange.body {
            return Err(BenchError::wrong(format!(
                "{} and {} bytes for a file",
                reply.status,
                reply.body.len()
            )));
        }
        times.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        turn += 1;
    }
}
