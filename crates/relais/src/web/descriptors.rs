//! The limit on open files: every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Maximum number of files other than connections, including clients being rejected.
const OTHERS_MAX: u64 = 1024;

/// Raises the limit as far as the system allows; returns how many connections fit in it, at most `wanted`.
pub(super) fn connections_that_fit(wanted: usize) -> usize {
    let limit = raise();
    let fitting = fitting(limit, wanted);
    if fitting < wanted {
        tracing::info!(
            connections_max = fitting,
            wanted,
            open_files = limit,
            "fewer connections than server.connections_max: the system allows too few open files (ulimit -n, LimitNOFILE=)"
        );
    }
    fitting
}

fn fitting(limit: Option<u64>, wanted: usize) -> usize {
    let Some(limit) = limit else { return wanted };
    let fitting = limit - (limit / 4).min(OTHERS_MAX);
    usize::try_from(fitting).map_or(wanted, |fitting| fitting.min(wanted)).max(1)
}

fn raise() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        assert_eq!(fitting(None, 100_000), 100_000);
        assert_eq!(fitting(Some(1_048_576), 100_000), 100_000);
        assert_eq!(fitting(Some(65_536), 100_000), 64_512);
        assert_eq!(fitting(Some(256), 100_000), 192);
        assert_eq!(fitting(Some(1), 100_000), 1);
    }
}
