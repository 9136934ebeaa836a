"""What docs/guides/devices.md promises of MQTT: modules on a real broker, with a real client library."""

import json
import re
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest
from websockets.sync.client import connect

from broker import PASSWORD, USER, WAIT_S, Broker, MqttDevice
from field import Field
from process import eventually

STATION, LIGHT, FLOOD = "MC-1001-STN", "MC-1002-LFX", "MC-1003-AP"
NOBODY = "MC-9999-STN"
ALL_VERSIONS = pytest.mark.parametrize("version", [3, 5], ids=["3.1.1", "5"])


class Watcher:
    """An administrator who listens to everything of modules."""

    def __init__(self, field):
        token = field.admin["Authorization"].removeprefix("Bearer ")
        self.socket = connect(f"{field.server.url.replace('http', 'ws', 1)}/api/v1/ws", open_timeout=WAIT_S,
                              legacy=True)
        self.heard = []
        self.next()
        self.socket.send(json.dumps({"type": "authenticate", "token": token}))
        assert self.next()["type"] == "authenticated"
        for channel in ("module:*", "telemetry:*"):
            self.socket.send(json.dumps({"type": "subscribe", "channel": channel}))
            while self.next()["type"] != "subscribed":
                pass

    def next(self):
        frame = json.loads(self.socket.recv(timeout=WAIT_S))
        if "name" in frame:
            self.heard.append((frame["name"], frame["data"]))
        return frame

    def hear(self, name, module_id=STATION, wanted=lambda _: True):
        """The next event of that name, about that module, for which `wanted` is true."""
        while True:
            frame = self.next()
            if frame.get("name") == name and frame["data"]["moduleId"] == module_id and wanted(frame["data"]):
                return frame["data"]

    def turns(self, module_id=STATION):
        """How often it came and went, of what was heard so far."""
        return [name for name, data in self.heard
                if name in ("rt_module_online", "rt_module_offline") and data["moduleId"] == module_id]

    def close(self):
        self.socket.close()


class Plant(Field):
    """A server, its broker, and modules on it."""

    def __init__(self, make_server, broker, version=5, **settings):
        self.broker = broker
        defaults = {"RELAIS_LIVE_OFFLINE_DELAY_S": "1", "RELAIS_LIVE_TIME_ZONE": "UTC"}
        super().__init__(make_server, **broker.settings(version) | defaults | settings)
        self.credentials = {}
        self.eventually_connected()

    def watcher(self):
        return self.client(Watcher, self)

    def mqtt(self, module_id=STATION, version=5, show=True, **options):
        """A module's device on the broker."""
        if module_id not in self.credentials:
            self.credentials[module_id] = self.module(module_id)
        credential = self.credentials[module_id] if show else None
        return MqttDevice(self.broker, module_id, version, credential, **options)

    def metric(self, name):
        text = self.server.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\d+(\.\d+)?)$", text, re.MULTILINE)
        return float(found[1]) if found else 0

    def outcome(self, name):
        return self.metric(f'relais_mqtt_messages_total{{outcome="{name}"}}')

    def eventually_connected(self):
        eventually(lambda: self.metric("relais_mqtt_connected") == 1, "connected to the broker", WAIT_S)

    def is_known(self, what, count):
        eventually(lambda: self.outcome(what) >= count, f"{what}: {count}", WAIT_S)


@pytest.fixture
def broker(tmp_path):
    """A broker that knows the devices of these tests."""
    broker = Broker(tmp_path / "broker")
    for module_id in (STATION, LIGHT, FLOOD, NOBODY):
        broker.admit(module_id)
    yield broker.start()
    broker.stop()
    print(f"---- log of the broker\n{broker.log()}")


@pytest.fixture
def plant(make_server, broker):
    plants = []

    def make(version=5, **settings):
        plants.append(Plant(make_server, broker, version, **settings))
        return plants[-1]

    yield make
    for plant in plants:
        plant.close()


@ALL_VERSIONS
def test_a_module_appears_reports_answers_goes_and_returns(plant, version):
    plant = plant(version)
    watcher = plant.watcher()
    device = plant.mqtt(version=version)
    device.say("status", status="online")
    online = watcher.hear("rt_module_online")
    assert online["online"] is True
    device.say("telemetry", moduleId=STATION, uptime=12, position="A3", status="idle", temperature=21.5)
    told = watcher.hear("rt_telemetry_updated")
    assert told["telemetry"] == {"uptime": 12, "position": "A3", "status": "idle", "temperature": 21.5}
    device.say("heartbeat", uptime=42, wifiRSSI=-60)
    watcher.hear("rt_telemetry_updated", wanted=lambda data: data["telemetry"].get("wifiRSSI") == -60)
    device.say("response", command="ring", success=True)
    answer = watcher.hear("module_command_response")
    assert answer["command"] == "ring" and "password" not in answer

    device.die()
    offline = watcher.hear("rt_module_offline")
    assert offline["online"] is False and offline["disconnectedAt"]
    plant.mqtt(version=version).say("heartbeat", uptime=1)
    watcher.hear("rt_module_online")
    assert watcher.turns() == ["rt_module_online", "rt_module_offline", "rt_module_online"]


def test_a_module_that_says_goodbye_or_nothing_is_gone_in_time(plant):
    plant = plant(RELAIS_LIVE_OFFLINE_AFTER_S="2")
    watcher = plant.watcher()
    device = plant.mqtt()
    device.say("heartbeat", uptime=1)
    watcher.hear("rt_module_online")
    device.leave()
    watcher.hear("rt_module_offline")


def test_where_the_broker_vouches_its_rules_decide_who_speaks_for_whom(plant):
    plant = plant(RELAIS_LIVE_MQTT_REQUIRE_PASSWORD="false")
    watcher = plant.watcher()
    plant.module(LIGHT)
    device = plant.mqtt(show=False)
    device.publish("telemetry", '{"forged": 1}', topic=f"relais/{LIGHT}/telemetry")
    device.publish("status", "online")
    watcher.hear("rt_module_online")
    device.publish("telemetry", '{"uptime": 1}')
    watcher.hear("rt_telemetry_updated")
    device.publish("status", "offline")
    watcher.hear("rt_module_offline")
    assert watcher.turns(LIGHT) == []


def test_what_is_not_the_modules_or_nothing_at_all_is_refused_and_told(plant):
    plant = plant(RELAIS_LIVE_REPORTS_PER_S="100")
    device, light = plant.mqtt(), plant.mqtt(LIGHT)
    stranger = MqttDevice(plant.broker, NOBODY)
    for count, payload, outcome in [
        (1, '{"uptime": 1}', "wrong_password"),
        (2, '{"uptime": 1, "password": "wrong"}', "wrong_password"),
        (3, '{"uptime": 1, "password": 5}', "wrong_password"),
        (4, json.dumps({"uptime": 1, "password": light.credential}), "wrong_password"),
        (1, "no json", "not_json"),
        (2, "[1]", "not_json"),
        (3, "", "not_json"),
        (4, '{"t": 5', "not_json"),
        (1, device.text(text="x" * 20_000), "too_large"),
        (1, device.text(moduleId=LIGHT), "foreign_module"),
    ]:
        device.publish("telemetry", payload)
        plant.is_known(outcome, count)
    for payload in ("offline", "perhaps", device.text(status="idle")):
        device.publish("status", payload)
    plant.is_known("wrong_password", 5)
    plant.is_known("not_json", 6)
    stranger.publish("telemetry", device.text(uptime=1))
    plant.is_known("unknown_module", 1)
    assert plant.outcome("taken") == 0 and state(plant)["online"] is False

    device.say("telemetry", **{f"f{number}": number for number in range(200)})
    plant.is_known("refused", 1)
    device.say("telemetry", uptime=1)
    eventually(lambda: state(plant)["telemetry"] == {"uptime": 1}, "the right one is taken", WAIT_S)
    complaints = [line for line in plant.server.log.read_text().splitlines() if "was not taken" in line]
    assert len(complaints) == 2, "one for the module and one for those that are none"
    assert device.credential not in plant.server.log.read_text()


def test_a_flood_is_slowed_and_others_are_heard(plant):
    plant = plant(RELAIS_LIVE_REPORTS_PER_S="20")
    watcher = plant.watcher()
    flood, calm = plant.mqtt(FLOOD), plant.mqtt()

    def read():
        return plant.outcome("taken") + plant.outcome("too_fast")

    def flooded():
        """Whether a flood is slowed by now: what comes without a pause of a second may have waited at the broker."""
        before = read()
        for number in range(2_000):
            last = flood.client.publish(flood.topic("telemetry"), flood.text(number=number), qos=1)
        last.wait_for_publish(WAIT_S)
        eventually(lambda: read() == before + 2_000, "every message is read", WAIT_S)
        slowed = plant.outcome("too_fast") > 0
        if not slowed:
            time.sleep(1.5)
        return slowed

    eventually(flooded, "a flood that did not wait at the broker is slowed", WAIT_S)
    calm.say("telemetry", uptime=7)
    watcher.hear("rt_telemetry_updated", wanted=lambda data: data["telemetry"] == {"uptime": 7})
    assert sum("was not taken" in line for line in plant.server.log.read_text().splitlines()) == 1


@ALL_VERSIONS
def test_what_is_published_while_the_server_restarts_arrives(plant, version):
    plant = plant(version)
    device = plant.mqtt(version=version)
    device.say("telemetry", number=0)
    plant.is_known("taken", 1)
    for end in (plant.server.terminate, plant.server.kill9):
        end()
        for number in range(1, 51):
            device.say("telemetry", number=number)
        plant.server.start()
        plant.is_known("taken", 50)
        eventually(lambda: state(plant)["telemetry"] == {"number": 50}, "the last one counts", WAIT_S)
        device.say("telemetry", number=0)
        plant.is_known("taken", 51)


@ALL_VERSIONS
@pytest.mark.parametrize("gone", [["server"], ["broker"], ["server", "broker"]], ids="+".join)
def test_after_a_session_that_the_broker_kept_everything_works_as_before(plant, broker, version, gone):
    plant = plant(version)
    device = plant.mqtt(version=version)
    device.say("telemetry", number=0)
    plant.is_known("taken", 1)
    if "server" in gone:
        plant.server.kill9()
    if "broker" in gone:
        device.connected.clear()
        broker.stop()
        broker.start()
        assert device.connected.wait(WAIT_S), broker.log()
    for number in range(1, 21):
        device.say("telemetry", number=number)
    if "server" in gone:
        plant.server.start()
    eventually(lambda: state(plant)["telemetry"] == {"number": 20}, "what waited arrives", WAIT_S)
    plant.eventually_connected()
    for _ in range(2):
        told = give(plant, "ring")
        eventually(lambda: told["id"] in [command["id"] for command in device.commands], "a command goes out", WAIT_S)
    device.say("telemetry", number=21)
    eventually(lambda: state(plant)["telemetry"] == {"number": 21}, "and reports come", WAIT_S)


@ALL_VERSIONS
def test_topics_that_changed_are_subscribed_to_and_those_before_are_left(plant, broker, version):
    broker.stop()
    (broker.folder / "rules").write_text(f"user {USER}\ntopic readwrite #\n\npattern write usine/%u/#\npattern write relais/%u/#\n")
    broker.start()
    plant = plant(version)
    device = plant.mqtt(version=version)
    device.say("telemetry", uptime=1)
    plant.is_known("taken", 1)
    plant.server.env |= {"RELAIS_LIVE_MQTT_TOPICS_REPORT": "usine/{module}/up"}
    plant.server.restart()
    plant.eventually_connected()
    device.say("telemetry", uptime=2)
    device.publish("up", device.text(uptime=3), topic=f"usine/{STATION}/up")
    eventually(lambda: state(plant)["telemetry"] == {"uptime": 3}, "the new topic is heard", WAIT_S)
    assert plant.outcome("other_topic") == 0, "the broker was told to leave the old one"


@ALL_VERSIONS
def test_what_the_broker_sends_again_after_a_lost_connection_counts_once(plant, broker, version):
    plant = plant(version)
    device = plant.mqtt(version=version)
    device.say("telemetry", n=0)
    plant.is_known("taken", 1)
    # Nothing can be written, so nothing has a receipt. Mosquitto sends up to 20 messages without one.
    with closing(sqlite3.connect(plant.server.data / "relais.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        for number in range(1, 16):
            device.say("telemetry", n=number)
        plant.is_known("taken", 16)
        device.connected.clear()
        broker.stop()
        broker.start()
        assert device.connected.wait(WAIT_S), broker.log()
        plant.is_known("repeated", 15)
        database.execute("ROLLBACK")
    device.say("telemetry", n=16)
    eventually(lambda: state(plant)["telemetry"] == {"n": 16}, "the last one counts", WAIT_S)
    chart = plant.server.get(f"/api/v1/modules/{STATION}/history", params={"series": "n"}, headers=plant.admin).json()
    assert sum(bucket["count"] for bucket in chart["series"][0]["buckets"]) == 17, chart


def shown_numbers(plant, begin_s, count):
    """What the history has of `n`, a second for each number from `begin_s` on."""
    found = {}
    for first in range(0, count, 1000):
        asked = {"series": "n", "from": (begin_s + first) * 1000, "to": (begin_s + first + 1000) * 1000, "points": 1000}
        reply = plant.server.get(f"/api/v1/modules/{STATION}/history", params=asked, headers=plant.admin)
        assert reply.ok, reply.text
        chart = reply.json()
        assert chart["step_ms"] == 1000, chart["step_ms"]
        for bucket in chart["series"][0]["buckets"]:
            found[bucket["t"] // 1000 - begin_s] = (bucket["min"], bucket["max"])
    return found


@ALL_VERSIONS
def test_no_report_is_lost_in_ten_kills_of_the_server(plant, version):
    plant = plant(version, RELAIS_LIVE_REPORTS_PER_S="10000")
    device = plant.mqtt(version=version)
    kills, each = 10, 200
    begin_s = int(time.time()) - kills * each - 3600
    sent = []
    for kill in range(kills):
        for number in range(kill * each, (kill + 1) * each):
            text = device.text(n=number, measured_at=begin_s + number)
            sent.append(device.client.publish(device.topic("telemetry"), text, qos=1))
        plant.is_known("taken", 1 + 10 * kill)
        plant.server.kill9()
        plant.server.start()
    for message in sent:
        message.wait_for_publish(WAIT_S)
    device.say("telemetry", n=-1)
    eventually(lambda: state(plant)["telemetry"] == {"n": -1}, "everything came", WAIT_S)
    found = shown_numbers(plant, begin_s, kills * each)
    lost = [number for number in range(kills * each) if found.get(number) != (number, number)]
    assert not lost, lost


def test_a_report_by_a_call_that_was_answered_is_there_after_a_kill(plant):
    plant = plant()
    credential = plant.module(STATION)
    kills, begin_s = 5, int(time.time()) - 3600
    for number in range(kills):
        body = {"n": number, "position": f"P{number}", "measured_at": begin_s + number}
        reply = plant.server.post(f"/api/v1/modules/{STATION}/report", json=body,
                                  headers={"Authorization": f"Bearer {credential}"})
        assert reply.ok, reply.text
        plant.server.kill9()
        plant.server.start()
        assert state(plant)["telemetry"] == {"n": number, "position": f"P{number}"}
    assert shown_numbers(plant, begin_s, kills) == {number: (number, number) for number in range(kills)}


@ALL_VERSIONS
def test_what_the_broker_had_kept_makes_nobody_look_alive(broker, plant, version):
    credential = "of a module that is not added yet"
    early = MqttDevice(broker, STATION, version, credential)
    early.say("status", retain=True, status="online")
    early.say("telemetry", retain=True, uptime=1)
    plant = plant(version, RELAIS_LIVE_MQTT_REQUIRE_PASSWORD="false")
    plant.credentials[STATION] = plant.module(STATION)
    # What a broker sends of its own comes before what is published after the subscription.
    early.publish("telemetry", '{"live": 1}', topic=f"relais/{STATION}/heartbeat")
    plant.is_known("taken", 1)
    assert state(plant)["telemetry"] == {"live": 1}
    assert plant.outcome("retained") == (2 if version == 3 else 0), "MQTT 5 brokers do not even send it"


def test_a_broker_that_is_away_is_no_absence_of_its_modules(plant):
    plant = plant(RELAIS_LIVE_OFFLINE_AFTER_S="2", RELAIS_LIVE_MQTT_OUTAGE_GRACE_S="60")
    watcher = plant.watcher()
    device, other = plant.mqtt(), plant.mqtt(LIGHT)
    for one in (device, other):
        one.say("heartbeat", uptime=1)
    watcher.hear("rt_module_online", LIGHT)
    plant.broker.process.kill()
    plant.broker.process.wait()
    other.client.loop_stop()
    eventually(lambda: plant.metric("relais_mqtt_connected") == 0, "the server noticed", WAIT_S)
    # One that needs no broker, and is silent for less long than the others, is gone in time.
    reply = plant.server.post(f"/api/v1/modules/{FLOOD}/report", json={"uptime": 1},
                              headers={"Authorization": f"Bearer {plant.module(FLOOD)}"})
    assert reply.ok, reply.text
    watcher.hear("rt_module_offline", FLOOD)
    assert (state(plant)["online"], state(plant, LIGHT)["online"]) == (True, True)

    device.connected.clear()
    plant.broker.start()
    plant.eventually_connected()
    assert device.connected.wait(WAIT_S)
    device.say("telemetry", uptime=2)
    watcher.hear("rt_module_offline", LIGHT)
    assert watcher.turns()[:1] == ["rt_module_online"] and state(plant)["telemetry"] == {"uptime": 2}


def test_a_message_that_is_too_long_to_read_does_not_stop_the_others(plant):
    plant = plant(version=3)
    device = plant.mqtt(version=3)
    device.publish("telemetry", "x" * 1_300_000)
    device.say("heartbeat", uptime=1)

    def arrives():
        device.say("telemetry", uptime=2)
        return state(plant)["telemetry"].get("uptime") == 2

    eventually(arrives, "what comes after it is taken", WAIT_S)
    assert "message_size_limit" in plant.server.log.read_text()


def test_a_websocket_goes_on_beside_mqtt_and_neither_end_is_an_absence(plant):
    plant = plant()
    watcher = plant.watcher()
    device = plant.mqtt()
    device.say("telemetry", uptime=1)
    watcher.hear("rt_module_online")
    socket = plant.device(STATION, device.credential)
    device.say("telemetry", uptime=2)
    watcher.hear("rt_telemetry_updated", wanted=lambda data: data["telemetry"]["uptime"] == 2)
    device.die()
    plant.is_known("taken", 3)
    socket.say("telemetry", uptime=3)
    watcher.hear("rt_telemetry_updated", wanted=lambda data: data["telemetry"]["uptime"] == 3)

    device = plant.mqtt()
    device.say("telemetry", uptime=4)
    watcher.hear("rt_telemetry_updated", wanted=lambda data: data["telemetry"]["uptime"] == 4)
    other = plant.device(LIGHT, plant.module(LIGHT))
    sessions = plant.metric("relais_hub_sessions")
    socket.cut()
    eventually(lambda: plant.metric("relais_hub_sessions") < sessions, "the server noticed", WAIT_S)
    # One that had a connection and nothing else is gone in time.
    other.cut()
    watcher.hear("rt_module_offline", LIGHT)
    assert watcher.turns() == ["rt_module_online"] and state(plant)["online"] is True


def test_a_credential_that_was_changed_counts_no_more(plant):
    plant = plant()
    device = plant.mqtt()
    device.say("telemetry", uptime=1)
    plant.is_known("taken", 1)
    old, device.credential = device.credential, plant.rotated(STATION)
    device.publish("telemetry", json.dumps({"uptime": 2, "password": old}))
    plant.is_known("wrong_password", 1)
    device.say("telemetry", uptime=3)
    eventually(lambda: state(plant)["telemetry"] == {"uptime": 3}, "the new one counts", WAIT_S)


@ALL_VERSIONS
def test_commands_reach_a_module_that_is_there_and_wait_for_one_that_is_not(plant, version):
    plant = plant(version)
    watcher = plant.watcher()
    device = plant.mqtt(version=version)
    waiting = give(plant, "ring", volume=3)
    assert waiting["state"] == "queued"
    device.say("status", status="online")
    told = eventually(lambda: device.commands, "the device is told once it is there", WAIT_S)[0]
    assert (told["type"], told["id"], told["data"]) == ("command", waiting["id"], {"volume": 3, "command": "ring"})
    device.say("response", id=told["id"], command="ring", success=True, position="B2")
    eventually(lambda: shown(plant, waiting)["state"] == "acknowledged", "its answer counts", WAIT_S)
    assert state(plant)["telemetry"] == {"position": "B2"}

    device.die()
    watcher.hear("rt_module_offline")
    later = give(plant, "ring", volume=4)
    assert shown(plant, later)["state"] == "queued"
    back = plant.mqtt(version=version)
    back.say("heartbeat", uptime=1)
    told = eventually(lambda: back.commands, "the device is told when it is back", WAIT_S)
    assert [command["id"] for command in told] == [later["id"]]


def test_commands_go_over_the_websocket_while_it_stands_and_over_mqtt_after_it(plant):
    plant = plant()
    device = plant.mqtt()
    device.say("heartbeat", uptime=1)
    plant.is_known("taken", 1)
    socket = plant.device(STATION, device.credential)
    first = give(plant, "ring")
    assert socket.hear("command")["id"] == first["id"]
    socket.say("command_response", id=first["id"], command="ring", success=True)
    eventually(lambda: shown(plant, first)["state"] == "acknowledged", "its answer counts", WAIT_S)
    assert device.commands == []
    socket.cut()
    second = give(plant, "ring", delivery="at_least_once")
    eventually(lambda: second["id"] in [command["id"] for command in device.commands], "told over MQTT", WAIT_S)


def test_a_device_that_reports_by_calls_takes_its_commands_with_it(plant):
    plant = plant()
    credential = plant.module(STATION)
    given = give(plant, "ring")

    def report(**values):
        reply = plant.server.post(f"/api/v1/modules/{STATION}/report", json=values,
                                  headers={"Authorization": f"Bearer {credential}"})
        assert reply.ok, reply.text
        return [command["id"] for command in reply.json()["commands"]]

    assert report(uptime=1) == [given["id"]]
    assert report(uptime=2) == []
    assert report(type="command_response", id=given["id"], command="ring", success=True) == []
    eventually(lambda: shown(plant, given)["state"] == "acknowledged", "its answer counts", WAIT_S)


def test_topics_are_named_as_the_settings_say(plant, broker):
    broker.stop()
    (broker.folder / "rules").write_text(f"user {USER}\ntopic readwrite #\n\npattern write usine/%u/#\npattern write relais/%u/#\n")
    broker.start()
    plant = plant(RELAIS_LIVE_MQTT_TOPICS_REPORT="usine/{module}/up", RELAIS_LIVE_MQTT_TOPICS_STATUS="")
    device = plant.mqtt()
    device.publish("up", device.text(uptime=1), topic=f"usine/{STATION}/up")
    eventually(lambda: state(plant)["telemetry"] == {"uptime": 1}, "the report is taken", WAIT_S)


def test_over_tls_the_certificate_is_checked_and_the_doctor_says_what_is_wrong(tmp_path, make_server):
    certificate = tmp_path / "broker-certificate"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
                    "-keyout", f"{certificate}.key", "-out", f"{certificate}.pem"], check=True, capture_output=True)
    broker = Broker(tmp_path / "safe", certificate).start()
    try:
        plant = Plant(make_server, broker, RELAIS_LIVE_MQTT_CA_FILE=f"{certificate}.pem")
        server, named = plant.server, plant.server.env
        password = tmp_path / "password"
        password.write_text(PASSWORD + "\n")
        without = {name: value for name, value in named.items() if name != "RELAIS_LIVE_MQTT_PASSWORD"}
        assert doctor(server, without | {"RELAIS_LIVE_MQTT_PASSWORD_FILE": str(password)})["ok"]
        for change, remedy in [
            ({"RELAIS_LIVE_MQTT_PASSWORD": "wrong"}, "live.mqtt.user"),
            ({"RELAIS_LIVE_MQTT_CA_FILE": "/etc/ssl/certs/ca-certificates.crt"}, "live.mqtt.ca_file"),
            ({"RELAIS_LIVE_MQTT_URL": broker.url.replace("localhost", "127.0.0.1")}, "live.mqtt.url"),
        ]:
            found = doctor(server, named | change)
            assert not found["ok"] and remedy in found["detail"], found
        broker.stop()
        found = doctor(server, named)
        assert not found["ok"] and "the broker runs" in found["detail"], found
        assert PASSWORD not in server.run("config")
        plant.close()
    finally:
        broker.stop()


def doctor(server, env):
    """What the doctor says of the broker."""
    server.env = env
    try:
        printed = server.run("--json", "doctor")
    except subprocess.CalledProcessError as failed:
        printed = failed.stdout
    return next(found for found in json.loads(printed) if found["what"] == "MQTT broker")


def give(plant, command, delivery="at_most_once", **params):
    """Gives a command to the module."""
    body = {"command": command, "params": params, "delivery": delivery}
    reply = plant.server.post(f"/api/v1/modules/{STATION}/commands", json=body, headers=plant.admin)
    assert reply.status_code == 202, reply.text
    return reply.json()


def shown(plant, command):
    """How a command is now."""
    reply = plant.server.get(f"/api/v1/modules/{STATION}/commands/{command['id']}", headers=plant.admin)
    assert reply.ok, reply.text
    return reply.json()


def state(plant, module_id=STATION):
    """The last known state of a module, as administrators see it."""
    listed = plant.server.get(f"/api/v1/modules/{module_id}/state", headers=plant.admin)
    assert listed.ok, listed.text
    return listed.json()
