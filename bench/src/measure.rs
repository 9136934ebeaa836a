//! Rates and quantiles.

use serde::Serialize;

/// How fast something went, by the clock and by the server's own processor time.
#[derive(Serialize)]
pub(crate) struct Rate {
    pub(crate) count: u64,
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) per_wall_s: f64,
    pub(crate) per_cpu_s: f64,
}

impl Rate {
    pub(crate) fn new(count: u64, wall_s: f64, cpu_s: f64) -> Self {
        Self { count, wall_s, cpu_s, per_wall_s: count as f64 / wall_s, per_cpu_s: count as f64 / cpu_s }
    }
}

/// Quantiles of times in milliseconds.
#[derive(Serialize)]
pub(crate) struct Times {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Times {
    /// Of times in microseconds; all zero if there are none.
    pub(crate) fn of_micros(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
            times.get(index).map_or(0.0, |&micros| f64::from(micros) / 1000.0)
        };
        Self { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let times = Times::of_micros((1..=1000).rev().map(|n| n * 1000).collect());
        assert_eq!((times.p50_ms, times.p99_ms, times.max_ms), (500.0, 990.0, 1000.0));
        assert_eq!(Times::of_micros(vec![7]).p99_ms, 0.007);
        assert_eq!(Times::of_micros(Vec::new()).max_ms, 0.0);
    }
}
