//! `start`: from exec to the first answer, and the memory of a server at rest.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::error::BenchError;
use crate::process::ProcessTree;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const REST: Duration = Duration::from_secs(1);

/// Arguments of `relais-bench start`.
#[derive(clap::Args)]
pub(crate) struct StartArgs {
    /// Where the server will listen
    #[arg(long, value_name = "ADDR:PORT")]
    address: SocketAddr,
    /// What to ask for
    #[arg(long, default_value = "/healthz")]
    path: String,
    /// Starts that are measured, after one that makes what a first start has to make
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The command that starts the server
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Serialize)]
pub(crate) struct StartReport {
    scenario: &'static str,
    start_ms: f64,
    resident_kb: u64,
}

pub(crate) fn run(args: &StartArgs) -> Result<StartReport, BenchError> {
    measure_once(args)?;
    let mut rounds = (0..args.rounds).map(|_| measure_once(args)).collect::<Result<Vec<_>, _>>()?;
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let start_ms = rounds.get(rounds.len() / 2).map_or(0.0, |round| round.0);
    let resident_kb = rounds.iter().map(|round| round.1).max().unwrap_or(0);
    Ok(StartReport { scenario: "start", start_ms, resident_kb })
}

fn measure_once(args: &StartArgs) -> Result<(f64, u64), BenchError> {
    let began = Instant::now();
    let mut server = Command::new(&args.command[0])
        .args(&args.command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let outcome = wait_for_answer(args, began, &mut server).and_then(|start_ms| {
        std::thread::sleep(REST);
        Ok((start_ms, ProcessTree::of(server.id()).resident_kb()?))
    });
    stop(&mut server)?;
    outcome
}

fn wait_for_answer(args: &StartArgs, began: Instant, server: &mut Child) -> Result<f64, BenchError> {
    while began.elapsed() < ANSWER_LIMIT {
        if answers(args) {
            return Ok(began.elapsed().as_secs_f64() * 1000.0);
        }
        if let Some(status) = server.try_wait()? {
            return Err(BenchError::wrong(format!("it ended with {status} at its start")));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Err(BenchError::TooLong(ANSWER_LIMIT))
}

fn answers(args: &StartArgs) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(args.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", args.path)?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

fn stop(server: &mut Child) -> Result<(), BenchError> {
    let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself, which the loop below sees.
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + STOP_LIMIT;
    while server.try_wait()?.is_none() {
        if Instant::now() > deadline {
            server.kill()?;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
