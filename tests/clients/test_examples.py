"""The programs in examples/, run as their reader would run them. The one in Dart is not: the tests have no Dart."""

import os
import queue
import subprocess
import sys
import threading

import pytest

from process import ROOT, eventually

FILE = "comptes_global_annee_2023.json"
OTHER = "comptes_global_annee_2024.json"
CONTENT = '{"periode": "2023", "libellé": "Créances clients"}'.encode()
WAIT_S = 60
PROGRAMS = {
    "python": [sys.executable, "-u", ROOT / "examples/python/relay.py"],
    "javascript": ["node", ROOT / "examples/javascript/cli.js"],
}


class Example:
    """One of the programs, in a folder of its own."""

    def __init__(self, command, server, folder):
        self.command, self.server, self.folder = command, server, folder
        self.running = []

    def environment(self, key=None):
        named = {"RELAIS_SERVER": self.server.url} | ({"RELAIS_KEY": key} if key else {})
        return {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")} | named

    def run(self, *arguments, key=None):
        """Runs it to its end; returns its exit status, and its lines."""
        done = subprocess.run([*self.command, *arguments], cwd=self.folder, env=self.environment(key), text=True,
                              capture_output=True, timeout=WAIT_S)
        return done.returncode, (done.stdout + done.stderr).splitlines()

    def start(self, *arguments):
        """Starts it; what it returns gives a line at a time."""
        process = subprocess.Popen([*self.command, *arguments], cwd=self.folder, env=self.environment(), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = queue.Queue()
        reader = threading.Thread(target=lambda: [lines.put(line.strip()) for line in process.stdout])
        reader.start()
        self.running.append((process, reader))
        return lambda: lines.get(timeout=WAIT_S)

    def stop(self):
        for process, reader in self.running:
            process.kill()
            process.wait(WAIT_S)
            reader.join(WAIT_S)
            process.stdout.close()
        self.running.clear()


@pytest.fixture(params=PROGRAMS)
def example(request, server, tmp_path):
    folder = tmp_path / "reader"
    folder.mkdir()
    program = Example(PROGRAMS[request.param], server, folder)
    yield program
    program.stop()


def test_a_file_is_sent_listed_and_fetched(example, server):
    (example.folder / FILE).write_bytes(CONTENT)
    assert example.run("upload", "rsp-bgs", FILE) == (0, [f"sent {FILE} {len(CONTENT)}"])
    assert (server.files / "rsp-bgs" / FILE).read_bytes() == CONTENT
    assert example.run("upload", "rsp-bgs", FILE) == (0, [f"unchanged {FILE} {len(CONTENT)}"])
    assert example.run("list") == (0, ["rsp-bgs"])
    status, [line] = example.run("list", "rsp-bgs")
    assert status == 0 and line.startswith(f"{FILE} {len(CONTENT)} ")
    (example.folder / FILE).unlink()
    assert example.run("download", "rsp-bgs", FILE)[0] == 0
    assert (example.folder / FILE).read_bytes() == CONTENT


def test_events_come_once_each_also_those_of_an_absence(example, server):
    heard = listen(example, "rsp-bgs")
    server.put("rsp-neg", FILE, CONTENT)
    server.put("rsp-bgs", FILE, CONTENT)
    assert heard() == f"file_uploaded rsp-bgs {FILE}", "what happens elsewhere is not told"
    eventually(lambda: place(example), "it keeps its place")
    example.stop()

    server.put("rsp-bgs", OTHER, CONTENT)
    server.restart()
    heard = example.start("listen", "rsp-bgs")
    assert heard() == f"file_uploaded rsp-bgs {OTHER}"
    server.delete(f"/api/files/delete/rsp-bgs/{FILE}")
    assert heard() == f"file_deleted rsp-bgs {FILE}"


def test_a_lost_connection_is_made_again(example, server):
    heard = listen(example)
    server.put("rsp-bgs", FILE, CONTENT)
    assert heard() == f"file_uploaded rsp-bgs {FILE}"
    server.restart()
    server.put("rsp-bgs", OTHER, CONTENT)
    assert heard() == f"file_uploaded rsp-bgs {OTHER}"


def test_json_that_is_not_valid_is_told_with_its_place(example):
    (example.folder / FILE).write_bytes(b'{\n  "a": x\n}')
    status, lines = example.run("upload", "rsp-bgs", FILE)
    assert status == 1
    assert lines[-1].startswith("relay: JSON invalide") and "line 2, column 8" in lines[-1], lines


def test_a_key_opens_what_is_closed(make_server, example):
    closed = make_server(RELAIS_AUTH_MODE="required")
    example.server = closed
    status, lines = example.run("list")
    assert status == 1 and "401" in lines[-1], lines
    key = closed.run("key", "add", "--name", "reader", "--scope", "relay:read:*").split()[-1]
    assert example.run("list", key=key)[0] == 0


def test_without_a_command_it_says_how_to_use_it(example):
    status, lines = example.run()
    assert status != 0 and any("upload" in line for line in lines)


def listen(example, *societes):
    """Starts to listen, and returns when the server knows of it."""
    heard = example.start("listen", *societes)
    eventually(lambda: "relais_hub_subscriptions 1" in example.server.get("/metrics").text, "the example listens")
    return heard


def place(example):
    file = example.folder / ".relay-cursor"
    return file.exists() and file.read_text().strip()
