//! What the server costs, read from `/proc`: processor time and resident memory of a process and all below it.

use std::collections::HashMap;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::BenchError;

/// The kernel counts processor time for `/proc` in hundredths of a second on every Linux architecture.
const TICKS_PER_SECOND: f64 = 100.0;
const QUIET_FOR: Duration = Duration::from_millis(500);
const QUIET_WITHIN: Duration = Duration::from_secs(20);

/// A process and all processes below it.
#[derive(Clone, Copy)]
pub(crate) struct ProcessTree {
    root: u32,
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl ProcessTree {
    pub(crate) fn of(root: u32) -> Self {
        Self { root }
    }

    /// Seconds of processor time, user and system, since the processes began.
    pub(crate) fn cpu_s(self) -> Result<f64, BenchError> {
        let stats = all_stats()?;
        let members = self.members(&stats)?;
        Ok(members.iter().map(|pid| stats[pid].ticks).sum::<u64>() as f64 / TICKS_PER_SECOND)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kb(self) -> Result<u64, BenchError> {
        let stats = all_stats()?;
        self.members(&stats)?.into_iter().map(resident_kb).sum()
    }

    /// Waits until the processes rest, so that work left over from a load is counted with that load.
    pub(crate) async fn wait_until_quiet(self) -> Result<(), BenchError> {
        let deadline = tokio::time::Instant::now() + QUIET_WITHIN;
        let mut before = self.cpu_s()?;
        loop {
            tokio::time::sleep(QUIET_FOR).await;
            let now = self.cpu_s()?;
            if now - before <= 1.0 / TICKS_PER_SECOND {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(BenchError::wrong(format!("it does not come to rest within {QUIET_WITHIN:?}")));
            }
            before = now;
        }
    }

    fn members(self, stats: &HashMap<u32, Stat>) -> Result<Vec<u32>, BenchError> {
        if !stats.contains_key(&self.root) {
            return Err(BenchError::wrong(format!("process {} has ended", self.root)));
        }
        let mut members = vec![self.root];
        let mut next = 0;
        while let Some(&parent) = members.get(next) {
            members.extend(stats.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        Ok(members)
    }
}

fn all_stats() -> Result<HashMap<u32, Stat>, BenchError> {
    let mut stats = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while the list is read.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(stat) = parse_stat(&text) {
            stats.insert(pid, stat);
        }
    }
    Ok(stats)
}

/// Fields 4 (parent), 14 and 15 (user and system ticks); the name in field 2 may hold spaces and brackets.
fn parse_stat(text: &str) -> Option<Stat> {
    let after_name = &text[text.rfind(')')? + 2..];
    let fields: Vec<&str> = after_name.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat { parent: u32::try_from(number(4)?).ok()?, ticks: number(14)? + number(15)? })
}

fn resident_kb(pid: u32) -> Result<u64, BenchError> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .ok_or_else(|| BenchError::wrong(format!("process {pid} has no resident memory")))
}

/// Lets this process hold as many connections as the system allows it.
pub(crate) fn raise_file_limit() -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|e| BenchError::Io(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "7 (a) b) c) S 3 7 7 0 -1 4194560 1 2 0 0 11 31 5 6 20 0 1 0 99";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 42));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(ProcessTree::of(std::process::id()).resident_kb().unwrap() > 100);
    }
}
