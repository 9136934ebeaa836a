//! `idle`: what a listener costs while nothing happens.

use serde::Serialize;

use crate::Target;
use crate::dialect::Dialect;
use crate::error::BenchError;
use crate::notify::connect;
use crate::process::ProcessTree;

/// Listeners that are there before the first measurement, so that what is made once is not counted.
const FIRST: usize = 16;

/// Arguments of `relais-bench idle`.
#[derive(clap::Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    target: Target,
    #[arg(long, value_enum, default_value_t = Dialect::Relay)]
    dialect: Dialect,
    #[arg(long, default_value_t = 5000)]
    listeners: usize,
}

#[derive(Serialize)]
pub(crate) struct IdleReport {
    scenario: &'static str,
    listeners: usize,
    resident_before_kb: u64,
    resident_after_kb: u64,
    kb_per_listener: f64,
    connects_per_cpu_s: f64,
}

pub(crate) async fn run(args: IdleArgs) -> Result<IdleReport, BenchError> {
    let server = ProcessTree::of(args.target.pid);
    let first = connect(args.target.address, args.dialect, FIRST).await?;
    server.wait_until_quiet().await?;
    let before = server.resident_kb()?;
    let cpu_before = server.cpu_s()?;
    let rest = connect(args.target.address, args.dialect, args.listeners).await?;
    server.wait_until_quiet().await?;
    let after = server.resident_kb()?;
    let cpu_s = server.cpu_s()? - cpu_before;
    drop((first, rest));
    Ok(IdleReport {
        scenario: "idle",
        listeners: args.listeners,
        resident_before_kb: before,
        resident_after_kb: after,
        kb_per_listener: after.saturating_sub(before) as f64 / args.listeners as f64,
        connects_per_cpu_s: args.listeners as f64 / cpu_s,
    })
}
