"""Modules in the field and the pages that show them, with the real client library and the firmware's messages."""

import json
import socket
import struct
import time

import pytest

from chat import WAIT_S
from field import Field, Page
from process import eventually

HANDSHAKE = (b"GET /esp32 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
STATION, LIGHT = "MC-1001-STN", "MC-1002-LFX"
TRANSPORTS = pytest.mark.parametrize("transports", [("polling",), ("websocket",)], ids=["polling", "websocket"])


@pytest.fixture
def field(make_server):
    field = Field(make_server, RELAIS_LIVE_OFFLINE_DELAY_S="1")
    yield field
    field.close()


def states(page, name="module_states_sync", count=1):
    return page.hear(name, count)["states"]


@TRANSPORTS
def test_a_module_appears_moves_goes_silent_and_returns(field, transports):
    lea, eve = field.person("Lea"), field.person("Eve")
    admin = field.page(None, "admin", transports).is_open()
    owner = field.page(lea, "modules", transports).is_open()
    stranger = field.page(eve, "modules", transports).is_open()

    credential = field.module(STATION, lea, name="Quai 1")
    added = owner.hear("user:module:added")
    assert (added["moduleId"], added["name"], added["type"]) == (STATION, "Quai 1", "Station")
    assert admin.hear("rt_module_added")["module"]["module_id"] == STATION

    device = field.device(STATION, credential)
    for page in (owner, admin):
        online = page.hear_of("rt_module_online", STATION)
        assert online["online"] is True and online["lastSeenFormatted"]
    assert owner.hear("user:module:online")["moduleId"] == STATION
    device.say("telemetry", uptime=10, position="A3", status="idle", battery=87)
    for page in (owner, admin):
        told = page.hear_of("rt_telemetry_updated", STATION, lambda data: "battery" in data["telemetry"])
        assert told["telemetry"] == {"uptime": 10, "position": "A3", "status": "idle", "battery": 87}
        short = page.hear_of("module_telemetry", STATION, lambda data: data["uptime"] == 10)
        assert (short["position"], short["status"]) == ("A3", "idle")

    device.cut()
    for page in (owner, admin):
        offline = page.hear_of("rt_module_offline", STATION)
        assert offline["online"] is False and offline["disconnectedAt"]
    field.device(STATION, credential)
    eventually(lambda: len(owner.all("rt_module_online")) == 2, "it is back", WAIT_S)
    names = [name for name, _ in owner.heard if name.startswith("rt_module_o")]
    assert names == ["rt_module_online", "rt_module_offline", "rt_module_online"], "only when it changes"

    assert stranger.ask("request_module_states")["success"] is True
    assert states(stranger, count=2) == {}
    about_modules = [name for name, _ in stranger.heard if "module" in name and name != "module_states_sync"]
    assert about_modules == [], "a stranger sees nothing"


@TRANSPORTS
def test_who_somebody_is_comes_from_their_session_whatever_a_page_says(field, transports):
    lea, eve = field.person("Lea"), field.person("Eve")
    field.module(STATION, lea)
    forger = field.page(eve, None, transports)
    forger.hear("connect")
    claims = {"userId": lea.id, "userType": "admin", "userName": "Ada", "page": "modules", "isAdmin": True}
    assert forger.ask("client:authenticate", claims)["success"] is True
    assert forger.hear("client:auth:success")["message"]
    assert forger.hear("modules:initial:state") == {}
    answer = forger.ask("register_page", {"page": "admin", "userType": "admin"})
    assert (answer["success"], answer["code"]) == (False, "forbidden")
    for event in ("module_claim", "send_module_command"):
        answer = forger.ask(event, {"moduleId": STATION, "command": "ring"})
        assert (answer["success"], answer["code"]) == (False, "module_not_found"), event
    refused = forger.hear("command_error")
    assert (refused["moduleId"], refused["command"]) == (STATION, "ring") and refused["error"]

    owner = field.page(lea, "modules", transports).is_open()
    assert list(states(owner)) == [STATION]


def test_a_page_without_a_session_is_let_in_by_a_token_and_by_nothing_else(field):
    lea = field.person("Lea")
    field.module(STATION, lea)
    nobody = field.client(Page, field.server.url, None, ("websocket",))
    nobody.hear("connect")
    assert nobody.ask("client:authenticate", {"userId": lea.id})["code"] == "unauthenticated"
    assert nobody.hear("client:auth:error")["message"]
    assert nobody.ask("client:authenticate", {"token": lea.token, "page": "modules"})["success"] is True
    assert list(nobody.hear("modules:initial:state")) == [STATION]

    wrong = field.client(Page, field.server.url, None, ("websocket",))
    wrong.hear("connect")
    wrong.command("say", "client:authenticate", {"token": "no token"})
    assert wrong.hear("client:auth:error")["code"] == "unauthenticated"
    wrong.hear("disconnect")


def test_pages_get_what_they_begin_with(field):
    lea = field.person("Lea")
    field.module(STATION, lea)
    admin = field.page(None, "admin").is_open()
    assert admin.ask("client:sync:request")["success"] is True
    stats = admin.hear("admin:initial:stats")["stats"]
    assert (stats["totalUsers"], stats["modules"]["total"], stats["modules"]["online"]) == (2, 1, 0)
    assert admin.hear("client:sync:success")["timestamp"]
    owner = field.page(lea, "dashboard").is_open()
    assert owner.ask("client:sync:request")["success"] is True
    assert owner.hear("dashboard:initial:summary")["modules"] == {"online": 0, "total": 1}
    owner.ask("request_stats")
    assert owner.hear("simple_stats_update")["users"]["online"] == 2


def test_on_return_a_page_gets_what_changed_since_its_version_or_everything(field):
    lea = field.person("Lea")
    device = field.device(STATION, field.module(STATION, lea))
    field.module(LIGHT, lea)
    owner = field.page(lea, "modules").is_open()
    device.say("telemetry", uptime=1)
    version = owner.hear_of("rt_telemetry_updated", STATION, lambda data: data["telemetry"]["uptime"] == 1)["version"]
    owner.ask("request_state_sync", {"version": version})
    recent = owner.hear("state_sync_response")
    assert (recent["full"], recent["removed"]) == (False, [])
    assert recent["states"][STATION]["telemetry"]["uptime"] == 1, "what changed in the last seconds is told again"
    device.say("telemetry", uptime=2)
    owner.hear_of("rt_telemetry_updated", STATION, lambda data: data["telemetry"]["uptime"] == 2)
    reply = field.server.call("DELETE", f"/api/v1/modules/{LIGHT}", headers=lea.headers)
    assert reply.ok, reply.text
    owner.ask("request_state_sync", {"version": version})
    changed = owner.hear("state_sync_response", 2)
    assert (changed["full"], list(changed["states"]), changed["removed"]) == (False, [STATION], [LIGHT])
    assert changed["states"][STATION]["telemetry"]["uptime"] == 2
    for unknown in (None, {}, {"version": 5}, {"version": 1 << 60}, {"version": "x"}, [1], "x"):
        owner.ask("request_state_sync", unknown)
    eventually(lambda: len(owner.all("state_sync_response")) == 9, "every answer", WAIT_S)
    assert all(sync["full"] and list(sync["states"]) == [STATION] for sync in owner.all("state_sync_response")[2:])

    field.server.restart()
    eventually(lambda: len(owner.all("module_states_sync")) == 2, "the page is back", WAIT_S)
    owner.ask("request_state_sync", {"version": changed["version"]})
    again = owner.hear("state_sync_response", 10)
    assert again["full"] and again["states"][STATION]["telemetry"]["uptime"] == 2


def test_a_page_may_ask_to_be_told_seldomer(field):
    lea = field.person("Lea")
    device = field.device(STATION, field.module(STATION, lea))
    slow, fast = field.page(lea, None, ("websocket",)), field.page(lea, "modules", ("websocket",)).is_open()
    slow.hear("connect")
    assert slow.ask("register_page", {"page": "modules", "interval": 1000})["success"] is True
    began = time.monotonic()
    for uptime in range(1, 16):
        device.say("telemetry", uptime=uptime)
        fast.hear_of("module_telemetry", STATION, lambda data, uptime=uptime: data["uptime"] == uptime)
    slow.hear_of("module_telemetry", STATION, lambda data: data["uptime"] == 15)
    seconds = time.monotonic() - began
    assert len(slow.all("module_telemetry")) <= seconds + 1, "one each second at most, the newest last"


@TRANSPORTS
def test_a_command_reaches_the_device_and_its_answer_the_page(field, transports):
    lea = field.person("Lea")
    credential = field.module(STATION, lea)
    owner = field.page(lea, "modules", transports).is_open()
    ring = {"moduleId": STATION, "command": "ring", "params": {"times": 2}}
    refused = owner.ask("send_module_command", ring)
    assert (refused["success"], refused["code"]) == (False, "module_offline"), "nothing is kept without a word"
    assert owner.hear("command_error")["command"] == "ring"
    waiting = owner.ask("send_module_command", ring | {"ttl_s": 60})
    assert (waiting["success"], waiting["state"]) == (True, "queued"), "the device is away"
    assert owner.hear("command_sent")["command"] == "ring"
    device = field.device(STATION, credential)
    told = device.hear("command")
    assert told["data"] == {"command": "ring", "times": 2} and told["timestamp"]
    device.say("command_response", command="ring", status="success", position="B2")
    answer = owner.hear("module_command_response")
    assert (answer["moduleId"], answer["command"], answer["status"]) == (STATION, "ring", "success")
    done = owner.hear("module_command_acknowledged")
    assert (done["id"], done["state"]) == (waiting["id"], "acknowledged")
    for wrong in ({"moduleId": STATION}, None, {"moduleId": STATION, "command": "x", "params": 5}):
        assert owner.ask("send_module_command", wrong)["code"] == "invalid_value", wrong


def test_claims_over_a_page(field):
    lea, paul = field.person("Lea"), field.person("Paul")
    field.module(STATION, lea)
    owner, claimant = field.page(lea, "modules").is_open(), field.page(paul, "modules").is_open()
    code = owner.ask("module_claim", {"moduleId": STATION})["code"]
    assert owner.hear("claim_ack") == {"success": True, "moduleId": STATION, "code": code}
    assert claimant.ask("module_claim", {"moduleId": STATION, "code": "AAAA-AAAA"})["code"] == "claim_code_unknown"
    assert claimant.ask("module_claim", {"moduleId": STATION, "code": code})["success"] is True
    assert claimant.hear("user:module:added")["moduleId"] == STATION
    assert owner.hear("user:module:removed")["moduleId"] == STATION


def test_administrators_learn_who_signs_in_and_out_and_who_changes(field):
    admin = field.page(None, "admin").is_open()
    lea = field.person("Lea")

    def told(name):
        return eventually(lambda: next((data for data in admin.all(name) if data["id"] == lea.id), None), name, WAIT_S)
    login = told("rt_user_logged_in")
    assert (login["action"], login["name"], login["email"], login["isAdmin"]) == ("login", "Lea Martin", lea.email, False)
    assert login["user"]["id"] == lea.id and login["user"]["lastLogin"]
    reply = field.server.call("PATCH", f"/api/v1/users/{lea.id}", json={"firstname": "Léa"}, headers=field.admin)
    assert reply.ok, reply.text
    assert told("rt_user_profile_updated")["user"]["name"] == "Léa Martin"
    cookie = field.cookie_of(lea.email)
    reply = field.server.post("/api/auth/logout", headers={"Cookie": cookie, "Origin": field.server.url})
    assert reply.ok, reply.text
    assert told("rt_user_logged_out")["logoutTime"]
    stats = eventually(lambda: admin.all("rt_global_stats_updated"), "statistics", WAIT_S)[-1]["stats"]
    assert {"users", "modules", "websocket", "system", "totalUsers", "activeUsers", "lastUpdate"} <= set(stats)


def test_events_are_told_to_whom_they_are_for(field):
    lea, eve = field.person("Lea"), field.person("Eve")
    admin = field.page(None, "admin").is_open()
    owner, other = field.page(lea, "modules").is_open(), field.page(eve, "dashboard").is_open()
    key = field.server.run("key", "add", "--name", "app", "--scope", "events:publish:*").split()[-1]
    for topic, name in [("system", "to_all"), ("role:admin", "to_admins"), ("page:modules", "to_page"),
                        (f"user:{lea.id}", "to_lea")]:
        event = {"topic": topic, "name": name, "data": {"n": 1}}
        reply = field.server.post("/api/v1/events", json=event, headers={"Authorization": f"Bearer {key}"})
        assert reply.ok, reply.text
    last = {"topic": "system", "name": "last", "data": {}}
    field.server.post("/api/v1/events", json=last, headers={"Authorization": f"Bearer {key}"})
    for page, expected in [(admin, {"to_all", "to_admins"}), (owner, {"to_all", "to_page", "to_lea"}), (other, {"to_all"})]:
        page.hear("last")
        assert {name for name, _ in page.heard if name.startswith("to_")} == expected


@TRANSPORTS
def test_what_is_kept_reaches_a_page_that_was_away(field, transports):
    lea = field.person("Lea")
    before = field.page(lea, "modules", transports).is_open()
    witness = field.page(lea, "dashboard", transports).is_open()
    field.module(STATION, lea)
    since = before.hear("user:module:added")["cursor"]
    before.command("cut")
    before.hear("disconnect")
    key = field.server.run("key", "add", "--name", "app", "--scope", "events:publish:*").split()[-1]
    field.device(STATION, field.module(LIGHT, lea) and field.rotated(STATION))
    for number in range(3):
        event = {"topic": "page:modules", "name": "news", "data": {"number": number}}
        field.server.post("/api/v1/events", json=event, headers={"Authorization": f"Bearer {key}"})
    witness.hear("user:module:online")
    after = field.page(lea, "modules", transports, since).is_open()
    after.hear("news", 3)
    kept = [(name, data.get("moduleId", data.get("number"))) for name, data in after.heard
            if name.startswith("user:module") or name == "news"]
    assert sorted(kept, key=str) == sorted([("user:module:added", LIGHT), ("user:module:online", STATION),
                                            ("news", 0), ("news", 1), ("news", 2)], key=str), "each once"
    assert after.hear("page_registered")["recovered"] is True


def test_a_device_that_answers_no_json_pings_stays_online(make_server):
    field = Field(make_server, RELAIS_LIVE_OFFLINE_DELAY_S="0", RELAIS_HUB_PING_INTERVAL_S="1",
                  RELAIS_HUB_IDLE_TIMEOUT_S="3")
    lea = field.person("Lea")
    page = field.page(lea, "modules", ("websocket",)).is_open()
    silent, dead = field.module(STATION, lea), field.module(LIGHT, lea)
    # The library answers control pings by itself; over a connection that nobody reads, nothing is answered.
    quiet = field.device(STATION, silent)
    frozen = socket.create_connection(("127.0.0.1", field.server.port))
    frozen.sendall(HANDSHAKE)
    assert frozen.recv(4096).startswith(b"HTTP/1.1 101")
    frozen.sendall(masked({"type": "module_identify", "moduleId": LIGHT, "password": dead}))
    page.hear_of("rt_module_online", LIGHT)
    page.hear_of("rt_module_offline", LIGHT)
    quiet.say("telemetry", uptime=1)
    page.hear_of("module_telemetry", STATION)
    assert [data["moduleId"] for data in page.all("rt_module_offline")] == [LIGHT]
    frozen.close()
    field.close()


def masked(message):
    """A text frame of a client (RFC 6455 section 5.2), with a mask of zeros."""
    text = json.dumps(message).encode()
    return b"\x81" + bytes([0x80 | 126]) + struct.pack(">H", len(text)) + bytes(4) + text
