"""The example program that serves the echo contracts of the Engine.IO and Socket.IO protocol documents."""

import os
import subprocess
from pathlib import Path

from process import ROOT, eventually

PAYLOAD_BYTES = 1_000_000
# Nothing happens in a test unless the test makes it happen.
CALM = {"ping-interval": 300_000, "ping-timeout": 200_000, "connect-timeout": 300_000}
# Clients are asked for a sign of life again and again, and have time to give it.
ASKING = CALM | {"ping-interval": 300, "ping-timeout": 5000}
# Clients have to join something soon.
IMPATIENT = CALM | {"connect-timeout": 1000}
# Clients have to be quick, as in the suites of the protocol documents.
HASTY = {"ping-interval": 300, "ping-timeout": 200, "connect-timeout": 1000}


def program():
    """The program to test: RELAIS_CONFORMANCE, else the release build, else the debug build."""
    named = os.environ.get("RELAIS_CONFORMANCE")
    builds = [ROOT / f"target/{profile}/examples/conformance" for profile in ("release", "debug")]
    for path in [Path(named)] if named else builds:
        if path.is_file():
            return path.resolve()
    raise AssertionError("no conformance program; run `cargo build --example conformance` or set RELAIS_CONFORMANCE")


class Conformance:
    """The program on a port of its own, with these times in milliseconds."""

    def __init__(self, times, *options):
        options += tuple(f"--{name}={milliseconds}" for name, milliseconds in times.items())
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
