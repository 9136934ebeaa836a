//! The progress bar, and sizes in words.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over bytes on a terminal; nothing at all when output is piped or meant for programs.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Starts a bar of `bytes_total` bytes in `files` files.
    pub(crate) fn start(bytes_total: u64, files: usize, json: bool) -> Self {
        let seen = !json && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(bytes_total), target);
        let template = "{bar:24} {bytes}/{total_bytes} {bytes_per_sec}  {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(format!("{files} file(s)"));
        Self(bar)
    }

    /// `bytes` more are done; `name` is shown.
    pub(crate) fn advance(&self, bytes: u64, name: &str) {
        self.0.inc(bytes);
        self.0.set_message(name.to_owned());
    }

    /// Prints a line above the bar, or plainly to standard error without one.
    pub(crate) fn note(&self, text: &str) {
        self.0.suspend(|| crate::cli::out::note(text));
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A size in words: `512 B`, `12.3 KB`, `4.0 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1000, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Seconds with one decimal, for summaries.
pub(crate) fn seconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_those_of_a_file_manager() {
        let read = [0, 999, 1000, 12_345, 999_999, 1_000_000, 4_000_000_000].map(size);
        assert_eq!(read, ["0 B", "999 B", "1.0 KB", "12.3 KB", "999.9 KB", "1.0 MB", "4.0 GB"]);
    }
}
