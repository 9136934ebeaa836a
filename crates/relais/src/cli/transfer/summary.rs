//! What came of a transfer, for people and for programs.

use serde::Serialize;

use crate::cli::CliError;
use crate::cli::client::{ClientError, names, progress};

/// The outcome of one command.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Files sent, or with `--dry-run` to be sent.
    pub sent: Vec<Item>,
    /// Files removed from the other side, or with `--dry-run` to be removed.
    pub deleted: Vec<Item>,
    /// Files that were the same on both sides.
    pub unchanged: u64,
    /// Files that could not be handled.
    pub failed: Vec<Failure>,
    /// Bytes moved.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Nothing was done.
    pub dry_run: bool,
    /// Stopped before the end.
    pub interrupted: bool,
}

/// A file that was moved or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    /// Whose it is.
    pub societe: String,
    /// Its name.
    pub filename: String,
}

impl Item {
    /// A file by its société and name.
    pub(crate) fn new(societe: impl Into<String>, filename: impl Into<String>) -> Self {
        Self { societe: societe.into(), filename: filename.into() }
    }

    /// `société/file`, fit for a terminal; the société alone if it is about all of it, nothing if it is about no file.
    pub(crate) fn shown(&self) -> String {
        match (self.societe.as_str(), self.filename.as_str()) {
            (name, "") | ("", name) => names::printable(name),
            (societe, filename) => names::printable(&format!("{societe}/{filename}")),
        }
    }
}

/// A file that could not be handled, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// Which one.
    #[serde(flatten)]
    pub item: Item,
    /// The HTTP status, if the server refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The reason in words.
    pub error: String,
    /// Where invalid JSON begins, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Where invalid JSON begins, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// It stays so until somebody does something about it.
    #[serde(skip)]
    pub is_lasting: bool,
}

impl Failure {
    /// A file and the error it met.
    pub(crate) fn new(item: Item, error: &ClientError) -> Self {
        let body = error.body();
        Self {
            item,
            status: error.status().map(|status| status.as_u16()),
            error: error.to_string(),
            line: body.and_then(|body| body.line),
            column: body.and_then(|body| body.column),
            is_lasting: matches!(error, ClientError::Usage(_)),
        }
    }

    /// Whether a follower should try again soon.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        !self.is_lasting
    }

    /// One line for the terminal.
    pub(crate) fn line(&self) -> String {
        let (shown, error) = (self.item.shown(), names::printable(&self.error));
        if shown.is_empty() { error } else { format!("{shown}: {error}") }
    }
}

impl Summary {
    /// Notes that something is left out, and says so at once.
    pub(crate) fn leave_out(&mut self, item: Item, error: &ClientError) {
        let failure = Failure::new(item, error);
        crate::cli::out::note(&failure.line());
        self.failed.push(failure);
    }

    /// The closing line: `12 sent, 3 unchanged, 0 failed, 1.2 MB in 0.31 s`.
    pub(crate) fn line(&self, verb: &str) -> String {
        let planned = if self.dry_run { "to be " } else { "" };
        let mut text = format!("{} {planned}{verb}, {} unchanged", self.sent.len(), self.unchanged);
        if !self.deleted.is_empty() {
            text.push_str(&format!(", {} {planned}deleted", self.deleted.len()));
        }
        let size = progress::size(self.bytes);
        text.push_str(&format!(", {} failed, {size} in {:.2} s", self.failed.len(), self.seconds));
        text
    }

    /// Prints the outcome; an error if anything failed, so that the exit code says so.
    pub(crate) fn report(&self, verb: &str, json: bool) -> Result<(), CliError> {
        if json {
            crate::cli::out::json(self)?;
        } else {
            crate::cli::out::line(&self.line(verb))?;
        }
        if self.interrupted {
            let text = "interrupted before the end; run the same command again to go on";
            return Err(CliError::after_result(text));
        }
        match self.failed.len() {
            0 => Ok(()),
            n => Err(CliError::after_result(format!(
                "{n} file(s) failed; the rest is done, so run it again once mended"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_names_every_number() {
        let mut summary = Summary { unchanged: 3, bytes: 12_345, seconds: 0.5, ..Summary::default() };
        summary.sent.push(Item::new("s", "a.json"));
        assert_eq!(summary.line("sent"), "1 sent, 3 unchanged, 0 failed, 12.3 KB in 0.50 s");
        summary.deleted.push(Item::new("s", "b.json"));
        summary.dry_run = true;
        assert_eq!(
            summary.line("sent"),
            "1 to be sent, 3 unchanged, 1 to be deleted, 0 failed, 12.3 KB in 0.50 s"
        );
    }
}
