"""The example program that serves the echo contracts of the Engine.IO and Socket.IO protocol documents."""

import os
import subprocess
from pathlib import Path

from process import ROOT, eventually

PING_INTERVAL_S = 0.3
PING_TIMEOUT_S = 0.2
PAYLOAD_BYTES = 1_000_000


def program():
    """The program to test: RELAIS_CONFORMANCE, else the release build, else the debug build."""
    named = os.environ.get("RELAIS_CONFORMANCE")
    builds = [ROOT / f"target/{profile}/examples/conformance" for profile in ("release", "debug")]
    for path in [Path(named)] if named else builds:
        if path.is_file():
            return path.resolve()
    raise AssertionError("no conformance program; run `cargo build --example conformance` or set RELAIS_CONFORMANCE")


class Conformance:
    """The program on a port of its own."""

    def __init__(self, *options):
        self.process = subprocess.Popen([program(), "--port", "0", *options], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = line.rpartition(" ")[2].strip()
        assert self.url.startswith("http://"), f"it said {line!r} instead of where it listens"
        self.ws_url = self.url.replace("http", "ws", 1)

    def is_running(self):
        return self.process.poll() is None

    def memory_kb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def open_files(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def wait_until_idle(self, files):
        eventually(lambda: self.open_files() <= files, f"at most {files} open files, the connections are gone")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()
