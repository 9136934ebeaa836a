"""`relais sandbox devices`: simulated devices against a real server, as an operator runs them."""

import json
import os
import stat
import subprocess
import threading

import pytest
import requests
from websockets.sync.server import serve

from field import Field
from process import binary, eventually

COUNT = 50
WAIT_S = 60


class Devices:
    """A running fleet; `told` is what it said last."""

    def __init__(self, url, *options, key=None, count=COUNT):
        command = [binary(), "--json", "sandbox", "devices", "--url", url.replace("http", "ws"), "--count", str(count),
                   "--interval", "1", "--heartbeat", "2", *options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
        if key:
            environment["RELAIS_KEY"] = key
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.told = {}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.told = json.loads(line)

    def until(self, wanted, what):
        return eventually(lambda: self.told and wanted(self.told), f"{what}; it told {self.told}", WAIT_S)

    def end(self):
        """As Ctrl-C does; its exit status."""
        self.process.terminate()
        status = self.process.wait(WAIT_S)
        self.reader.join(WAIT_S)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


@pytest.fixture
def field(make_server):
    field = Field(make_server, RELAIS_LIVE_OFFLINE_DELAY_S="1")
    yield field
    field.close()


@pytest.fixture
def fleet(request):
    started = []

    def start(*arguments, **options):
        started.append(Devices(*arguments, **options))
        return started[-1]

    yield start
    for devices in started:
        if devices.process.poll() is None:
            devices.process.kill()
            devices.process.wait(WAIT_S)


def test_fifty_devices_report_and_come_back_after_a_restart_of_the_server(field, fleet, tmp_path):
    lea, file = field.person("Lea"), tmp_path / "fleet.json"
    key = field.admin["Authorization"].split()[1]
    url, options = field.server.url, ("--credentials", str(file), "--owner", lea.email)
    page = field.page(lea, "modules").is_open()

    devices = fleet(url, *options, key=key)
    devices.until(lambda told: told["online"] == COUNT and told["reports"] >= COUNT, "all are online and report")
    seen = lambda name: {data["moduleId"] for data in page.all(name)}
    eventually(lambda: len(seen("rt_module_online")) == COUNT, "the owner sees all come", WAIT_S)
    measured = lambda data: isinstance(data["telemetry"].get("temperature"), float)
    told = page.hear_of("rt_telemetry_updated", "MC-0049-LFX", measured)
    assert {"uptime", "position", "status", "voltage"} <= told["telemetry"].keys()
    assert not {"password", "moduleId"} & told["telemetry"].keys()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    place = f"{field.server.url}/api/v1/modules/MC-0049-LFX/commands"
    for command, state in (("start", "acknowledged"), ("dance", "failed")):
        given = requests.post(place, json={"command": command}, headers=field.admin, timeout=WAIT_S)
        assert given.status_code == 202, given.text
        became = lambda: requests.get(f"{place}/{given.json()['id']}", headers=field.admin, timeout=WAIT_S).json()
        eventually(lambda: became()["state"] == state, f"{command} is {state}: {became()}", WAIT_S)
    devices.until(lambda told: told["commands_answered"] == 2, "it counts its answers")

    field.server.restart()
    devices.until(lambda told: told["reconnects"] >= COUNT and told["online"] == COUNT, "all are back")
    assert devices.end() == 0

    # Without a key the file is enough, and with one nothing is issued anew that is known.
    known = file.read_text()
    again = fleet(url, "--credentials", str(file))
    again.until(lambda told: told["online"] == COUNT, "the file is enough")
    assert again.end() == 0
    once_more = fleet(url, *options, "--add-only", key=key)
    assert once_more.process.wait(WAIT_S) == 0 and file.read_text() == known

    # Who has lost the file gets other credentials.
    file.unlink()
    rotated = fleet(url, *options, key=key)
    rotated.until(lambda told: told["online"] == COUNT, "with other credentials")
    assert rotated.end() == 0 and file.read_text() != known


def test_without_the_right_credentials_it_says_what_to_do(field, fleet, tmp_path):
    url, file = field.server.url, tmp_path / "fleet.json"
    for key, words in ((None, "--key"), ("no token", "administrator")):
        devices = fleet(url, "--credentials", str(file), key=key)
        assert devices.process.wait(WAIT_S) == 1
        assert words in devices.process.stderr.read()
    file.write_text(json.dumps({"MC-0000-STN": "wrong"}))
    refused = fleet(url, "--credentials", str(file), count=1)
    refused.until(lambda told: told["errors"].get("refused", 0) >= 2, "it is refused, and tries again")
    assert refused.told["online"] == 0 and "MC-0000-STN" in refused.told["last_error"]
    assert refused.end() == 0


def test_a_device_answers_commands_and_pings(fleet, tmp_path):
    answers, ponged = [], threading.Event()

    def server(socket):
        who = json.loads(socket.recv())
        for kind in ("connected", "auth_success"):
            socket.send(json.dumps({"type": kind, "moduleId": who["moduleId"]}))
        for command in ({"command": "move", "position": 42}, {"command": "dance"}):
            socket.send(json.dumps({"type": "command", "data": command, "timestamp": "2026-11-21T10:00:00.000Z"}))
        if socket.ping().wait(WAIT_S):
            ponged.set()
        for text in socket:
            message = json.loads(text)
            if message["type"] == "command_response":
                answers.append((who["type"], message["command"], message["status"], message["position"]))

    file = tmp_path / "fleet.json"
    file.write_text(json.dumps({"MC-0000-STN": "secret"}))
    with serve(server, "127.0.0.1", 0) as stub:
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        port = stub.socket.getsockname()[1]
        device = fleet(f"http://127.0.0.1:{port}", "--credentials", str(file), count=1)
        device.until(lambda told: told["commands_answered"] == 2, "both commands are answered")
        expected = [("module_identify", "move", "success", 42), ("module_identify", "dance", "unknown_command", 42)]
        eventually(lambda: answers == expected, f"the answers: {answers}", WAIT_S)
        assert ponged.wait(WAIT_S)
        assert device.end() == 0
        stub.shutdown()
