//! What `relais doctor` finds out.

use serde::Serialize;

/// Things of one kind that are named at most.
const NAMED_MAX: usize = 50;

/// One test and its outcome.
#[derive(Debug, Serialize)]
pub struct Finding {
    what: &'static str,
    /// Whether all is well.
    pub ok: bool,
    detail: String,
}

impl Finding {
    /// How a test of something ended: well, or with what to do.
    #[must_use]
    pub fn new(what: &'static str, outcome: Result<String, String>) -> Self {
        let ok = outcome.is_ok();
        let (Ok(detail) | Err(detail)) = outcome;
        Self { what, ok, detail }
    }

    /// For people.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}: {}", if self.ok { "✓" } else { "✗" }, self.what, self.detail)
    }
}

/// The first of some things, one a line, and how many more there are.
#[must_use]
pub fn named(things: &[String]) -> String {
    let mut text: String = things.iter().take(NAMED_MAX).map(|thing| format!("\n    {thing}")).collect();
    if things.len() > NAMED_MAX {
        text.push_str(&format!("\n    and {} more", things.len() - NAMED_MAX));
    }
    text
}
