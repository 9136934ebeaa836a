"""How long a command is of use, over MQTT: on a real broker, with a real client library."""

import time
from datetime import datetime

import pytest

from broker import WAIT_S
from process import eventually
from test_mqtt import STATION, broker, give, plant, shown, state  # noqa: F401 (fixtures)


def give_for(plant, seconds, command="ring"):
    """Gives a command that is of use for some seconds."""
    body = {"command": command, "ttl_s": seconds}
    reply = plant.server.post(f"/api/v1/modules/{STATION}/commands", json=body, headers=plant.admin)
    assert reply.status_code == 202, reply.text
    return reply.json()


def is_in(plant, command, wanted):
    eventually(lambda: shown(plant, command)["state"] == wanted, f"the command is {wanted}", WAIT_S)


def test_a_device_of_the_version_before_is_told_until_when_a_command_is_of_use(plant):
    plant = plant(3)
    device = plant.mqtt(version=3)
    device.say("heartbeat", uptime=1)
    given = give_for(plant, 300)
    told = eventually(lambda: device.commands, "the device is told", WAIT_S)[0]
    assert (told["id"], told["expiresAt"]) == (given["id"], given["expires_at"])
    is_in(plant, given, "sent")
    # The device has no other way to know that it is too late; an answer after that settles nothing.
    expired = give_for(plant, 1, "open")
    is_in(plant, expired, "expired")
    eventually(lambda: len(device.commands) == 2, "it was told in time", WAIT_S)
    device.say("response", id=expired["id"], command="open", status="success")
    device.say("response", id=given["id"], command="ring", status="success")
    is_in(plant, given, "acknowledged")
    assert shown(plant, expired)["state"] == "expired"


@pytest.mark.parametrize("seconds", [20, 3_000])
def test_the_broker_keeps_a_command_for_as_long_as_it_is_of_use(plant, seconds):
    plant = plant()
    device = plant.mqtt()
    expiries = []
    take = device.client.on_message

    def note(client, userdata, message):
        expiries.append((message.properties.MessageExpiryInterval, time.time()))
        take(client, userdata, message)

    device.client.on_message = note
    device.say("heartbeat", uptime=1)
    given = give_for(plant, seconds)
    told = eventually(lambda: device.commands, "the device is told", WAIT_S)[0]
    assert (told["id"], told["expiresAt"]) == (given["id"], given["expires_at"])
    expiry, heard_at = expiries[0]
    left = datetime.fromisoformat(given["expires_at"]).timestamp() - heard_at
    assert left - 1 <= expiry <= seconds, "it was of use for no less when it was sent, and never for longer"


def test_while_the_broker_is_away_commands_wait_and_expire_here(plant, broker):
    plant = plant()
    device = plant.mqtt()
    device.say("heartbeat", uptime=1)
    is_in(plant, give(plant, "ring"), "sent")
    eventually(lambda: device.commands, "it is told", WAIT_S)
    broker.stop()
    eventually(lambda: plant.metric("relais_mqtt_connected") == 0, "the broker is away", WAIT_S)
    assert state(plant)["online"] is True, "which says nothing of the module"
    expired = give_for(plant, 1, "open")
    is_in(plant, expired, "expired")
    kept = give_for(plant, 600, "close")
    broker.start()
    plant.eventually_connected()
    # A broker that stops speaks the last wills, so the module has to be heard again.
    device.say("heartbeat", uptime=2)
    eventually(lambda: kept["id"] in [command["id"] for command in device.commands], "it is told", WAIT_S)
    assert expired["id"] not in [command["id"] for command in device.commands]


def test_an_answer_that_comes_after_a_broken_connection_settles_its_command(plant):
    plant = plant()
    credential = plant.module(STATION)
    socket = plant.device(STATION, credential)
    given = give_for(plant, 600)
    assert socket.hear("command")["id"] == given["id"]
    socket.cut()
    is_in(plant, given, "failed")
    back = plant.device(STATION, credential)
    back.say("command_response", id=given["id"], command="ring", status="Done", position="B2")
    is_in(plant, given, "acknowledged")
    assert shown(plant, given)["result"]["position"] == "B2"
    assert shown(plant, given)["attempts"] == 1
