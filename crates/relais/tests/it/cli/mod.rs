//! The commands that talk to a server: the built binary against a server of the built binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commanding;
mod guarding;
mod jobs;
mod listening;
mod mirroring;
mod output;
mod passwords;
mod secrets;
mod sending;
mod skipping;
mod watching;

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything that has to happen may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder of a test's own with a server, its data, and room for files to send and to receive.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    pub(crate) address: String,
    server: Option<Live>,
    mode: &'static str,
}

impl Desk {
    /// A desk with a running server that asks nobody who they are.
    pub(crate) fn new() -> Self {
        Self::with_mode("open")
    }

    /// A desk with a running server whose `auth.mode` is `mode`.
    fn with_mode(mode: &'static str) -> Self {
        let address = "127.0.0.1:0".to_owned();
        let mut desk = Self { folder: tempfile::tempdir().unwrap(), address, server: None, mode };
        desk.start();
        desk
    }

    /// Starts the server, at first on any port that is free. It comes back to the same, which another program may have
    /// taken for a moment meanwhile.
    fn start(&mut self) {
        let began = Instant::now();
        loop {
            let mut command = self.bare(&["serve", "--listen", &self.address]);
            let server = Live::start(command.env("RELAIS_AUTH_MODE", self.mode));
            match server.listens_on() {
                Ok(address) => {
                    if self.address.ends_with(":0") {
                        self.address = address;
                    }
                    self.server = Some(server);
                    return;
                }
                Err(said) => {
                    let is_taken = said.contains("cannot listen on");
                    assert!(is_taken && began.elapsed() < DEADLINE, "the server does not start: {said}");
                }
            }
        }
    }

    fn stop(&mut self) {
        assert!(self.server.take().unwrap().finish(), "the server ends well");
    }

    /// What the server has resident.
    pub(crate) fn resident_bytes(&self) -> usize {
        let server = self.server.as_ref().unwrap().child.id();
        let status = std::fs::read_to_string(format!("/proc/{server}/status")).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kilobytes.unwrap().trim().parse::<usize>().unwrap() * 1024
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a file of the desk.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    /// What the server has, from its folder of plain files.
    fn stored(&self, societe: &str, filename: &str) -> Option<String> {
        self.read(&format!("data/payloads_societes/{societe}/{filename}"))
    }

    /// The binary in the desk's folder, without what the environment of the tests says.
    fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relais"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("RELAIS_")
                || name_text.starts_with("RELAY_")
                || name_text == "BASE_FILES_DIR"
            {
                command.env_remove(name);
            }
        }
        command.env("RELAIS_DATA", self.path("data"));
        command
    }

    /// A command with its server in the environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare(arguments);
        command.env("RELAIS_SERVER", self.url());
        command
    }

    /// What the server says of the relay, once it answers.
    fn status(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let request = format!("GET /api/files/status HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Starts a command whose lines are read as they come.
    fn spawn(&self, arguments: &[&str]) -> Live {
        Live::start(&mut self.command(arguments))
    }
}

/// A command that has ended.
pub(crate) struct Run {
    ok: bool,
    out: String,
    err: String,
}

impl Run {
    fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = text(child.stdout.take().unwrap());
        let err = text(child.stderr.take().unwrap());
        let ok = ended(&mut child).success();
        Self { ok, out: out.join().unwrap(), err: err.join().unwrap() }
    }

    /// The same, having succeeded.
    pub(crate) fn good(self) -> Self {
        assert!(self.ok, "failed: {}{}", self.out, self.err);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// A command that runs.
struct Live {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    /// What a server said before it listened.
    said: RefCell<Vec<String>>,
}

impl Live {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = lines(child.stdout.take().unwrap());
        let err = lines(child.stderr.take().unwrap());
        Self { child, out, err, said: RefCell::default() }
    }

    fn out(&self) -> String {
        self.out.recv_timeout(DEADLINE).expect("a line of output in time")
    }

    fn err(&self) -> String {
        self.err.recv_timeout(DEADLINE).expect("a line of standard error in time")
    }

    /// Where a server says that it listens; all that it said if it ended instead.
    fn listens_on(&self) -> Result<String, String> {
        let mut said = self.said.borrow_mut();
        loop {
            match self.err.recv_timeout(DEADLINE) {
                Ok(line) => {
                    if let Some((_, address)) = line.split_once("listening on http://") {
                        return Ok(address.split('"').next().unwrap_or(address).to_owned());
                    }
                    said.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => return Err(said.join("\n")),
                Err(RecvTimeoutError::Timeout) => panic!("the server does not listen: {said:?}"),
            }
        }
    }

    /// Asks it to finish and waits for the end; whether it ended well.
    fn finish(mut self) -> bool {
        terminate(&self.child);
        ended(&mut self.child).success()
    }

    /// Asks it to finish, which it does well; what it said before it listened, and the lines of standard
    /// error that nobody has read yet.
    fn finish_saying(mut self) -> Vec<String> {
        terminate(&self.child);
        assert!(ended(&mut self.child).success());
        let mut said = self.said.take();
        said.extend(self.err.iter());
        said
    }

    /// Waits for the end; whether it ended well.
    fn end(mut self) -> bool {
        ended(&mut self.child).success()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    })
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(10_000);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Waits for the end.
fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("the command ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn terminate(child: &Child) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
}

/// Waits until `condition` holds; fails when it does not in time.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Files below a folder, without hidden ones, as `societe/file`.
fn files_in(folder: &Path) -> Vec<String> {
    let visible = |path: &Path| !path.file_name().unwrap().to_string_lossy().starts_with('.');
    let mut found = Vec::new();
    for societe in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if societe.is_dir() && visible(&societe) {
            for file in std::fs::read_dir(&societe).unwrap().map(|entry| entry.unwrap().path()) {
                let name = file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                assert!(visible(&file), "{name} is left over");
                found.push(name);
            }
        }
    }
    found.sort();
    found
}
