"""The server under test as a process of its own, and waiting for conditions with a deadline."""

import os
import re
import signal
import socket
import subprocess
import time
from functools import partial
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
REQUEST_TIMEOUT_S = 60


def eventually(check, what, timeout_s=60):
    """Calls `check` until it returns something true, and returns that."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.005)


def metric(server, name):
    """A value of /metrics without labels; 0 if it is not there."""
    values = [line.split()[1] for line in server.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(values[0]) if values else 0


def assert_nothing_stays(a_round, memory_kb, slack_kb, rounds_max=8):
    """What stays of every round makes the memory grow in every one. What an allocator keeps does not: it grows for a
    while and then no more."""
    a_round()
    found = [memory_kb()]
    while len(found) <= rounds_max:
        a_round()
        found.append(memory_kb())
        if found[-1] - found[-2] < slack_kb:
            return
    raise AssertionError(f"resident after each round: {found} KB")


def binary():
    """The server to test: RELAIS_BIN, else the release build, else the debug build."""
    named = os.environ.get("RELAIS_BIN")
    choices = [Path(named)] if named else [ROOT / "target/release/relais", ROOT / "target/debug/relais"]
    for path in choices:
        if path.is_file():
            return path.resolve()
    raise AssertionError(f"no server binary at {choices}; run `cargo build -p relais` or set RELAIS_BIN")


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server on a port and a folder of its own, which it keeps when it is started again."""

    def __init__(self, folder, env=None, data=None):
        self.folder = Path(folder)
        self.data = Path(data) if data else self.folder / "data"
        self.files = self.data / "payloads_societes"
        # Until it has started, any port that is free.
        self.port = 0
        self.log = self.folder / "server.log"
        self.env = env or {}
        self.process = None

    # ---- The process ----

    def start(self):
        """Starts it and waits until it answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.launch():
            # While it was down, another program had its port for a moment.
            assert time.monotonic() < deadline, f"its port stays taken:\n{self.log_tail()}"
        eventually(self.is_healthy, "the server answers on /healthz", START_TIMEOUT_S)
        return self

    def launch(self):
        """Starts the process; whether it got its port."""
        command = [binary(), "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            logged = log.tell()
            self.process = subprocess.Popen(command, env=self.environment(), cwd=self.folder, stdout=log, stderr=log)

        def outcome():
            has_ended = self.process.poll() is not None
            said = self.log.read_bytes()[logged:].decode(errors="replace")
            listening = re.search(r"listening on http://127\.0\.0\.1:(\d+)", said)
            return listening or (has_ended and (said or "nothing was said"))

        found = eventually(outcome, "the server listens", START_TIMEOUT_S)
        if isinstance(found, re.Match):
            self.port = int(found[1])
            return True
        if "cannot listen on" not in found:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{found}")
        return False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self):
        return f"ws://127.0.0.1:{self.port}/api/files/ws"

    def environment(self):
        """The environment of this server: its own settings, and none that happen to be around."""
        ours = ("RELAIS_", "RELAY_PORT", "BASE_FILES_DIR", "ALLOWED_ORIGINS", "REALTIME_")
        return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | self.env

    def run(self, *arguments):
        """Runs another command of the binary beside the server, on the same data; returns what it prints."""
        command = [binary(), "--data", self.data, *arguments]
        done = subprocess.run(command, check=True, env=self.environment(), timeout=START_TIMEOUT_S, text=True,
                              capture_output=True)
        return done.stdout

    def command(self, *arguments):
        """Another command of the binary, on the same data, to be run with an input."""
        command = [binary(), "--data", self.data, *arguments]
        return partial(subprocess.run, command, env=self.environment(), timeout=START_TIMEOUT_S, text=True,
                       capture_output=True)

    def is_healthy(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log_tail()}")
        try:
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        except requests.RequestException:
            return False

    def kill9(self):
        """Ends it at once, without any chance to finish something."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def terminate(self):
        """Asks it to end, waits for that, and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def restart(self):
        """Ends it in good order and starts it again."""
        assert self.terminate() == 0, self.log_tail()
        return self.start()

    def clean_up(self):
        if self.process and self.process.poll() is None:
            self.kill9()

    def log_tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:]) if self.log.exists() else ""

    def memory_kb(self):
        """The memory that it has resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def memory_peak_kb(self):
        """The most memory that it ever had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    # ---- Calls ----

    def call(self, method, path, **options):
        return requests.request(method, self.url + path, **{"timeout": REQUEST_TIMEOUT_S} | options)

    def get(self, path, **options):
        return self.call("GET", path, **options)

    def post(self, path, **options):
        return self.call("POST", path, **options)

    def delete(self, path, **options):
        return self.call("DELETE", path, **options)

    def upload(self, societe, filename, content, **options):
        files = {"file": (filename, content, "application/json")}
        return self.post(f"/api/files/upload/{societe}", files=files, **options)

    def download(self, societe, filename, **options):
        return self.get(f"/api/files/download/{societe}/{filename}", **options)

    def put(self, societe, filename, content, **options):
        """An upload that has to succeed; returns the reply."""
        response = self.upload(societe, filename, content, **options)
        assert response.status_code == 200, response.text
        return response.json()
