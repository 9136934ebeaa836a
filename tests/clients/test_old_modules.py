"""The pages, the simulator and the firmware of the existing system, as they are."""

import base64
import hashlib
import json
import os
import socket
import struct
from pathlib import Path

import pytest
import requests

from chat import WAIT_S, node_modules
from field import Device, Field
from old_pages import OldHost
from process import eventually
from town import PASSWORD

STATION, LIGHT = "MC-1001-STN", "MC-1002-LFX"
FIRMWARE_PASSWORD = "F674iaRftVsHGKOA"


@pytest.fixture
def field(make_server):
    field = Field(make_server, RELAIS_LIVE_OFFLINE_DELAY_S="1")
    yield field
    field.close()


def given(field, module_id=STATION):
    """Adds a module whose firmware has its password already; its claim code."""
    reply = field.server.post("/api/v1/modules", json={"id": module_id, "password": FIRMWARE_PASSWORD},
                              headers=field.admin)
    assert reply.status_code == 201 and "credential" not in reply.json(), reply.text
    return reply.json()["claim_code"]


# ---- The firmware ----

class Firmware:
    """An ESP32 with the usual WebSocket library: its handshake byte for byte, and masked text frames."""

    def __init__(self, port, module_id, password):
        self.who = {"moduleId": module_id, "password": password}
        self.line = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self.line.sendall(f"GET /esp32 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
                          f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                          "Sec-WebSocket-Protocol: arduino\r\nOrigin: file://\r\n"
                          "User-Agent: arduino-WebSocket-Client\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        status, *lines = head.decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        assert status.split()[1] == "101", head
        assert (headers["upgrade"].lower(), headers["connection"].lower()) == ("websocket", "upgrade")
        assert headers["sec-websocket-accept"] == accept

    def read(self, count):
        found = b""
        while len(found) < count:
            some = self.line.recv(count - len(found))
            assert some, f"the connection ended after {found!r}"
            found += some
        return found

    def send(self, text):
        mask, text = os.urandom(4), text.encode()
        size = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(text))
        self.line.sendall(b"\x81" + size + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(text)))

    def say(self, kind, **fields):
        self.send(json.dumps({"type": kind, **self.who, **fields}, separators=(",", ":")))

    def hear(self):
        """The next message; pings are answered on the way."""
        while True:
            first, size = self.read(2)
            size = struct.unpack(">H", self.read(2))[0] if size == 126 else size
            payload = self.read(size)
            if first == 0x89:
                self.line.sendall(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)
            else:
                assert first == 0x81, (first, payload)
                return json.loads(payload)


def test_the_firmware_is_let_in_reports_and_obeys(field):
    lea = field.person("Lea")
    code = given(field)
    page = field.page(lea, "modules").is_open()
    assert page.ask("module_claim", {"moduleId": STATION, "code": code})["success"] is True
    device = Firmware(field.server.port, STATION, FIRMWARE_PASSWORD)
    device.say("module_identify", moduleType="Station", uptime=1, position="A1")
    connected = device.hear()
    assert (connected["type"], connected["status"]) == ("connected", "authenticated")
    assert set(connected["initialState"]) == {"uptime", "position"}
    assert device.hear()["type"] == "auth_success"
    page.hear_of("rt_module_online", STATION)
    # What printf of C makes of a sensor that is not there, and the NUL behind its text.
    device.send('{"type":"telemetry","moduleId":"MC-1001-STN","password":"x","uptime":10,"position":"A1",'
                '"status":"idle","humidity":nan,"temperature":21.5}\0')
    told = page.hear_of("rt_telemetry_updated", STATION, lambda data: "temperature" in data["telemetry"])
    assert told["telemetry"] == {"uptime": 10, "position": "A1", "status": "idle", "temperature": 21.5}
    device.say("heartbeat", uptime=30, position="A1", wifiRSSI=-61, freeHeap=182000)
    page.hear_of("rt_telemetry_updated", STATION, lambda data: data["telemetry"].get("wifiRSSI") == -61)
    assert page.ask("send_module_command", {"moduleId": STATION, "command": "left", "params": {}})["success"] is True
    command = device.hear()
    assert (command["type"], command["data"]) == ("command", {"command": "left"})
    device.say("command_response", command="left", status="success", position="B1")
    answer = page.hear("module_command_response")
    assert (answer["moduleId"], answer["command"], answer["position"]) == (STATION, "left", "B1")
    named = [line for line in field.server.log_tail().splitlines() if "not_a_number" in line]
    assert len(named) == 1 and STATION in named[0], "one line names the module"


def test_firmware_with_a_password_of_its_own_is_set_up_by_the_command_line(field):
    binary = field.server.command("module", "add", LIGHT, "--password-stdin")
    done = binary(input=f"{FIRMWARE_PASSWORD}\n")
    assert done.returncode == 0 and FIRMWARE_PASSWORD not in done.stdout + done.stderr, done
    eventually(lambda: field.server.get(f"/api/v1/modules/{LIGHT}/state", headers=field.admin).ok,
               "the server knows what the command line did", WAIT_S)
    Device(field.server.url, LIGHT, FIRMWARE_PASSWORD).identify()
    assert field.server.command("module", "rotate", LIGHT, "--password-stdin")(input="autre\n").returncode == 0
    Device(field.server.url, LIGHT, "autre").identify()
    assert "standard input" in field.server.command("module", "rotate", LIGHT, "--password-stdin")(input="").stderr


# ---- The simulator ----

class Simulator:
    """A device that answers as the simulator does: under other names, or not at all."""

    def __init__(self, device):
        self.device, self.position, self.done = device, "0", []

    def obey(self):
        """Takes the next command and says what the simulator would."""
        self.answer(self.device.hear("command")["data"])

    def answer(self, data):
        command = data["command"]
        self.done.append(data)
        if command == "get_status":
            self.device.say("status_response", status="ok", position=self.position)
        elif command == self.position:
            return
        else:
            self.position = command
            self.device.say("command_response", command="switch", success=True, position=self.position)


def test_a_simulator_that_answers_under_other_names_is_told_every_click_at_once(field):
    lea = field.person("Lea")
    credential = field.module(STATION, lea)
    page = field.page(lea, "modules").is_open()
    device = field.device(STATION, credential)
    page.hear_of("rt_module_online", STATION)
    clicks = ["left", "right", "right", "left", "right"]
    for command in clicks:
        assert page.ask("send_module_command", {"moduleId": STATION, "command": command})["success"] is True
    # All of them arrive, in order, before it has answered any.
    told = [device.hear("command")["data"]["command"] for _ in clicks]
    assert told == clicks
    simulator = Simulator(device)
    for command in told:
        simulator.answer({"command": command})
    page.hear("module_command_response", 4)
    assert {answer["command"] for answer in page.all("module_command_response")} == {"switch"}
    asked = page.ask("send_module_command", {"moduleId": STATION, "command": "get_status"})
    simulator.obey()
    assert page.hear("module_status_response")["position"] == "right"
    assert page.hear("module_command_acknowledged")["id"] == asked["id"], "the answer to get_status is named status"
    assert len(page.all("command_sent")) == 6 and page.all("command_error") == []


def test_a_page_does_not_move_what_is_away(field):
    lea = field.person("Lea")
    credential = field.module(STATION, lea)
    page = field.page(lea, "modules").is_open()
    refused = page.ask("send_module_command", {"moduleId": STATION, "command": "left"})
    assert (refused["success"], refused["code"]) == (False, "module_offline")
    error = page.hear("command_error")
    assert (error["moduleId"], error["command"]) == (STATION, "left") and error["error"]
    kept = page.ask("send_module_command", {"moduleId": STATION, "command": "right", "ttl_s": 600})
    assert (kept["success"], kept["state"]) == (True, "queued")
    device = field.device(STATION, credential)
    assert device.hear("command")["data"] == {"command": "right"}, "what nobody asked to keep is not done later"


def test_two_devices_with_one_password_are_told_of(field):
    lea = field.person("Lea")
    credential = field.module(STATION, lea)
    page = field.page(lea, "modules", ("websocket",)).is_open()
    for _ in range(4):
        first = field.device(STATION, credential)
        second = field.device(STATION, credential)
        assert first.close_code() == 1000
    trouble = page.hear_of("module_trouble", STATION)["trouble"]
    assert (trouble["code"], trouble["count"]) == ("connections_replaced", 5) and trouble["message"]
    state = field.server.get(f"/api/v1/modules/{STATION}/state", headers=lea.headers).json()
    assert state["trouble"] == trouble
    second.socket.close()


# ---- The pages ----

SIGN_IN = """
    const [email, password, done] = arguments;
    const body = JSON.stringify({ email, password });
    const headers = { "Content-Type": "application/json" };
    fetch("/api/connexion", { method: "POST", headers, body }).then(({ status }) => done(status));
"""
DELETE = """
    const [id, done] = arguments;
    fetch(`/modules/delete/${id}`, { method: "POST" }).then((reply) => reply.json()).then(done);
"""


def test_the_old_page_works_in_a_browser(field, browser):
    lea, code = field.person("Lea"), given(field)
    host = OldHost(field.server.port)
    browser.set_script_timeout(WAIT_S)
    browser.get(f"{host.url}/healthz")
    assert browser.execute_async_script(SIGN_IN, lea.email, PASSWORD) == 200

    def lines():
        return browser.execute_script("return [...document.querySelectorAll('li')].map((line) => line.textContent)")

    def sees(*expected):
        eventually(lambda: lines() == list(expected), f"the page shows {expected}; it shows {lines()}", WAIT_S)

    def heard(name):
        return browser.execute_script("return heard.filter(([name]) => name === arguments[0]).map(([, data]) => data)",
                                      name)

    def claim():
        browser.get(f"{host.url}/old/modules")
        eventually(lambda: heard("module_states_sync"), "the page is live", WAIT_S)
        assert lines() == []
        browser.execute_script("""
            const form = document.getElementById('claim');
            [form.module_id.value, form.module_code.value, form.name.value] = arguments;
            form.requestSubmit();
        """, STATION, code, "Quai d'été")
        # The server's page tells what is in `flash`, and takes it out of the address.
        outcome = "return document.querySelector('#outcome:not([hidden])')?.textContent ?? ''"
        eventually(lambda: browser.execute_script(outcome).startswith("Module"), "the outcome is told", WAIT_S)
        assert browser.current_url == f"{host.url}/modules"
        browser.get(f"{host.url}/old/modules")

    claim()
    sees(f"{STATION} Quai d'été offline")
    browser.execute_script("send(arguments[0], 'left')", STATION)
    eventually(lambda: heard("command_error"), "the module is away", WAIT_S)
    device = Device(field.server.url, STATION, FIRMWARE_PASSWORD).identify()
    sees(f"{STATION} Quai d'été online")
    for _ in range(5):
        browser.execute_script("send(arguments[0], 'left')", STATION)
    assert [device.hear("command")["data"]["command"] for _ in range(5)] == ["left"] * 5
    eventually(lambda: len(heard("command_sent")) == 5, "all are sent", WAIT_S)
    counts = browser.execute_async_script("fetch('/dashboard/stats').then((reply) => reply.json()).then(arguments[0])")
    assert counts["modules"] == {"online": 1, "offline": 0, "total": 1}

    deleted = browser.execute_async_script(DELETE, STATION)
    assert deleted["success"] is True
    sees()
    claim()
    sees(f"{STATION} Quai d'été online")
    wrong = [entry["message"] for entry in browser.get_log("browser")
             if ("Uncaught" in entry["message"] or "404" in entry["message"]) and "favicon" not in entry["message"]]
    assert wrong == []
    browser.get("about:blank")
    host.close()


def test_administrators_of_old_pages_see_each_change(field):
    lea = field.person("Lea")
    admin = field.page(None, "admin").is_open()
    credential = field.module(STATION, lea)
    field.device(STATION, credential)
    counted = {"online": 1, "total": 1}
    eventually(lambda: any(data["modules"] == counted for data in admin.all("simple_stats_update")),
               "the counters moved without being asked for", WAIT_S)


@pytest.mark.parametrize("name", ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"])
def test_pages_load_the_official_client_from_the_server(server, name):
    official = Path(node_modules()) / "socket.io-client/dist"
    for file in (name, f"{name}.map"):
        plain = server.get(f"/socket.io/{file}", headers={"Accept-Encoding": "identity"})
        assert plain.content == (official / file).read_bytes()
        assert "Content-Encoding" not in plain.headers and plain.headers["Cache-Control"] == "no-cache"
        small = server.get(f"/socket.io/{file}", headers={"Accept-Encoding": "gzip"})
        assert small.content == plain.content and small.headers["Content-Encoding"] == "gzip"
        assert int(small.headers["Content-Length"]) < len(plain.content) / 2
        assert small.headers["ETag"] != plain.headers["ETag"]
        again = server.get(f"/socket.io/{file}", headers={"If-None-Match": small.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert server.get(f"/socket.io/{name}").headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert server.get("/socket.io/LICENSE").text == (official.parent / "LICENSE").read_text()
    assert requests.post(f"{server.url}/socket.io/{name}").status_code == 405
