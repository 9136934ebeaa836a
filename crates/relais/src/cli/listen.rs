//! `relais listen`: events as they come.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::client::model::Frame;
use super::client::{Backoff, ClientError, Remote, ServerArgs, SseParser, Stop, backoff, names, progress};
use super::{CliError, Globals, out};

/// A stream without even a heartbeat for this long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// Arguments of `relais listen`.
#[derive(Debug, clap::Args)]
pub(super) struct ListenArgs {
    /// Only this société (repeatable) [default: all that the key may read]
    #[arg(long, value_name = "S")]
    societe: Vec<String>,
    /// Begin after this cursor, with what was missed since
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// End after this many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Run this shell command for each event: the event is on its standard input as JSON, and in
    /// RELAIS_EVENT, RELAIS_SOCIETE and RELAIS_FILENAME
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints events until `--count` or a signal, across lost connections.
pub(super) async fn run(args: ListenArgs, globals: &Globals) -> Result<(), CliError> {
    let remote = args.server.remote(globals)?;
    let stop = Stop::on_signals();
    let mut listener = Listener {
        remote: &remote,
        cursor: args.since.clone(),
        left: args.count.unwrap_or(u64::MAX),
        announced: false,
        json: globals.json,
        args: &args,
    };
    let mut backoff = backoff();
    while listener.left > 0 && !stop.is_asked() {
        let mut pause = None;
        match stop.until(listener.connection(&mut backoff, &mut pause)).await {
            None => break,
            Some(Ok(())) => {}
            Some(Err(Ending::Failed(error))) => return Err(error),
            Some(Err(Ending::Lost(error))) => listener.lost(&error, &mut backoff, &stop, pause).await?,
        }
    }
    Ok(())
}

/// How a connection ended that has not simply been closed.
enum Ending {
    /// The connection: it may work again.
    Lost(ClientError),
    /// The output or the command: it goes no further.
    Failed(CliError),
}

impl From<CliError> for Ending {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

impl From<ClientError> for Ending {
    fn from(error: ClientError) -> Self {
        Self::Lost(error)
    }
}

struct Listener<'a> {
    remote: &'a Remote,
    cursor: Option<String>,
    left: u64,
    announced: bool,
    json: bool,
    args: &'a ListenArgs,
}

impl Listener<'_> {
    /// One connection, from opening the stream to its end or the last event wanted.
    async fn connection(
        &mut self,
        backoff: &mut Backoff,
        pause: &mut Option<Duration>,
    ) -> Result<(), Ending> {
        let mut stream = self.remote.events(self.cursor.as_deref(), &self.args.societe).await?;
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        while self.left > 0 {
            let piece = tokio::time::timeout(SILENCE_MAX, stream.chunk()).await;
            let piece = piece.map_err(|_| self.remote.silent())?;
            let Some(piece) = piece.map_err(|e| self.remote.unreachable(&e))? else {
                return Err(Ending::Lost(self.remote.closed()));
            };
            let read = parser.feed(&piece, &mut events);
            *pause = parser.retry_ms().map(Duration::from_millis);
            for event in events.drain(..) {
                backoff.reset();
                if self.left > 0 {
                    self.take(&event.event, &event.data).await?;
                }
                if !event.id.is_empty() {
                    self.cursor = Some(event.id);
                }
            }
            read.map_err(|e| self.unreadable(&e))?;
        }
        Ok(())
    }

    async fn take(&mut self, kind: &str, data: &str) -> Result<(), Ending> {
        let frame: Frame = serde_json::from_str(data).map_err(|e| self.unreadable(&e))?;
        match kind {
            "connection" => {
                self.connected(&frame);
                return Ok(());
            }
            "close" => return Err(self.dismissed(&frame)),
            _ => {}
        }
        self.left -= 1;
        if self.json {
            out::line(data)?;
        } else {
            out::line(&human(&frame))?;
        }
        match &self.args.exec {
            Some(command) => Ok(execute(command, &frame, data).await?),
            None => Ok(()),
        }
    }

    fn connected(&mut self, frame: &Frame) {
        if !std::mem::replace(&mut self.announced, true) {
            out::note(&format!("listening to {}", self.remote.server()));
        }
        if frame.recovered == Some(false) && self.cursor.is_some() {
            out::note("some events are no longer kept: list the files again to see what changed meanwhile");
        }
    }

    /// The server closes the stream: for its own reasons, then the client should reconnect, or for the client's.
    fn dismissed(&self, frame: &Frame) -> Ending {
        let reason = frame.reason.as_deref().unwrap_or("no reason given");
        if frame.reconnect == Some(false) {
            let text = format!("the server ended the connection: {}", names::printable(reason));
            return Ending::Failed(CliError::new(text));
        }
        Ending::Lost(self.remote.closed())
    }

    fn unreadable(&self, reason: &impl ToString) -> ClientError {
        ClientError::Unexpected { place: self.remote.server().to_owned(), reason: reason.to_string() }
    }

    /// Waits before the next attempt, or gives up on an error that does not pass.
    async fn lost(
        &mut self,
        error: &ClientError,
        backoff: &mut Backoff,
        stop: &Stop,
        asked: Option<Duration>,
    ) -> Result<(), CliError> {
        if let Some(current) = error.body().and_then(|body| body.cursor.clone()) {
            out::note("that cursor cannot be continued: list the files again; going on from now");
            self.cursor = Some(current);
            return Ok(());
        }
        // A server that was never there is a mistake to report; one that went away comes back.
        let hope = match self.announced {
            true => error.may_pass_for_a_follower(),
            false => error.is_passing() && backoff.failures() < self.args.server.retries(),
        };
        if !hope {
            return Err(CliError::new(error.to_string()));
        }
        if backoff.failures() == 0 {
            out::note(&format!("{error}; trying again"));
        }
        stop.sleep(backoff.next(error.retry_after().or(asked))).await;
        Ok(())
    }
}

/// `14:03:22  rsp-bgs  comptes_global_annee_2023.json  12.3 KB`
fn human(frame: &Frame) -> String {
    let time = frame.timestamp.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let time = time.map_or_else(
        || "--:--:--".to_owned(),
        |moment| moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string(),
    );
    let societe = frame.societe.as_deref().unwrap_or("-");
    let rest = match (frame.kind.as_str(), &frame.filename, frame.size) {
        ("file_uploaded", Some(name), Some(size)) => format!("{name}  {}", progress::size(size)),
        ("file_uploaded", Some(name), None) => name.clone(),
        ("file_deleted", Some(name), _) => format!("{name}  deleted"),
        ("sync_completed", ..) => format!("synchronised, {} file(s)", frame.files_count.unwrap_or(0)),
        (kind, name, _) => format!("{kind} {}", name.as_deref().unwrap_or("")),
    };
    names::printable(&format!("{time}  {societe}  {rest}"))
}

/// Runs the command to its end, so that commands run in the order of the events.
async fn execute(command: &str, frame: &Frame, data: &str) -> Result<(), CliError> {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut process = Command::new(shell);
    process.args([flag, command]).stdin(Stdio::piped());
    process.env("RELAIS_EVENT", &frame.kind);
    process.env("RELAIS_SOCIETE", frame.societe.as_deref().unwrap_or(""));
    process.env("RELAIS_FILENAME", frame.filename.as_deref().unwrap_or(""));
    let input = format!("{data}\n");
    let finished = tokio::task::spawn_blocking(move || {
        let mut child = process.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input closes it: that is its right.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait()
    });
    let status = finished.await.map_err(|e| CliError::new(e.to_string()))?;
    let status = status.map_err(|e| CliError::new(format!("--exec {command}: {e}; check the command")))?;
    if !status.success() {
        out::note(&format!("--exec {command}: ended with {status}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> String {
        let text = human(&serde_json::from_str(json).unwrap());
        text.split_once("  ").unwrap().1.to_owned()
    }

    #[test]
    fn each_kind_of_event_reads_as_one_line() {
        let json = r#"{"type":"file_uploaded","societe":"s","filename":"a.json","size":12345,
            "timestamp":"2026-11-21T10:00:00.000Z"}"#;
        assert_eq!(line(json), "s  a.json  12.3 KB");
        assert_eq!(
            line(r#"{"type":"file_deleted","societe":"s","filename":"a.json"}"#),
            "s  a.json  deleted"
        );
        assert_eq!(
            line(r#"{"type":"sync_completed","societe":"s","files_count":4}"#),
            "s  synchronised, 4 file(s)"
        );
    }

    #[test]
    fn an_event_cannot_write_to_the_terminal_what_it_wants() {
        assert!(!line(r#"{"type":"x","societe":"\u001b[2J"}"#).contains('\u{1b}'));
    }
}
