"""An MQTT broker of the test's own, Mosquitto, and devices on it with paho-mqtt."""

import json
import os
import shutil
import socket
import subprocess
import threading

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from process import START_TIMEOUT_S, STOP_TIMEOUT_S, eventually, free_port

WAIT_S = 20
USER, PASSWORD = "relais", "le mot de passe du courtier"
VERSIONS = {3: paho.MQTTv311, 5: paho.MQTTv5}
# As docs/guides/devices.md writes them: every device speaks for itself only, and hears its own commands only.
RULES = """\
user relais
topic read relais/+/telemetry
topic read relais/+/heartbeat
topic read relais/+/status
topic read relais/+/response
topic write relais/+/command

pattern write relais/%u/telemetry
pattern write relais/%u/heartbeat
pattern write relais/%u/status
pattern write relais/%u/response
pattern read relais/%u/command
"""


def program(name):
    """Debian has the broker where only the system's own programs are looked for."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


class Broker:
    """Mosquitto on a free port, with users and rules; it keeps what waits when it is started again."""

    def __init__(self, folder, certificate=None, rules=RULES):
        self.folder, self.port, self.certificate = folder, free_port(), certificate
        self.process, self.users = None, {USER: PASSWORD}
        self.url = f"{'mqtts' if certificate else 'mqtt'}://localhost:{self.port}"
        folder.mkdir()
        folder.joinpath("rules").write_text(rules)
        lines = [f"listener {self.port} 127.0.0.1", "user root", "allow_anonymous false", "persistence true",
                 f"persistence_location {folder}/", f"password_file {folder}/users", f"acl_file {folder}/rules",
                 "max_queued_messages 10000", "log_type all"]
        if certificate:
            lines += [f"certfile {certificate}.pem", f"keyfile {certificate}.key"]
        folder.joinpath("mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self):
        users = self.folder / "users"
        users.write_text("".join(f"{name}:{password}\n" for name, password in self.users.items()))
        subprocess.run([program("mosquitto_passwd"), "-U", users], check=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([program("mosquitto"), "-c", self.folder / "mosquitto.conf"],
                                            stdout=log, stderr=log)
        eventually(self.listens, "the broker listens", START_TIMEOUT_S)
        return self

    def listens(self):
        assert self.process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def admit(self, name, password="x"):
        """Another user, known from the next start on."""
        self.users[name] = password

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(STOP_TIMEOUT_S)

    def log(self):
        path = self.folder / "log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-40:]) if path.exists() else ""

    def settings(self, version=5, **more):
        """How a server finds it."""
        named = {"URL": self.url, "USER": USER, "PASSWORD": PASSWORD, "VERSION": str(version)} | more
        return {f"RELAIS_LIVE_MQTT_{name}": value for name, value in named.items()}


class MqttDevice:
    """A device: its user is its id, and its last will says that it went."""

    def __init__(self, broker, module_id, version=5, credential=None, retain=False):
        self.module_id, self.credential = module_id, credential
        self.commands, self.connected = [], threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"{module_id}-{id(self)}",
                                  protocol=VERSIONS[version])
        self.client.username_pw_set(module_id, broker.users[module_id])
        self.client.will_set(self.topic("status"), self.text(status="offline"), qos=1, retain=retain)
        self.client.on_connect = self.on_connect
        self.client.on_message = lambda client, userdata, message: self.commands.append(json.loads(message.payload))
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", broker.port, keepalive=20)
        self.client.loop_start()
        assert self.connected.wait(WAIT_S), broker.log()

    def on_connect(self, client, userdata, flags, reason, properties):
        assert not reason.is_failure, reason
        client.subscribe(self.topic("command"), qos=2)
        self.connected.set()

    def topic(self, what):
        return f"relais/{self.module_id}/{what}"

    def text(self, **fields):
        return json.dumps(fields | ({"password": self.credential} if self.credential else {}))

    def publish(self, what, payload, retain=False, topic=None):
        """Publishes and waits until the broker has it."""
        sent = self.client.publish(topic or self.topic(what), payload, qos=1, retain=retain)
        sent.wait_for_publish(WAIT_S)
        assert sent.is_published(), payload[:100]

    def say(self, what, retain=False, **fields):
        self.publish(what, self.text(**fields), retain)

    def die(self):
        """The network is gone: no goodbye, so the broker speaks its last will."""
        self.client.loop_stop()
        self.client.socket().close()

    def leave(self):
        """A goodbye: no last will."""
        self.client.disconnect()
        self.client.loop_stop()


def expiring(seconds):
    """What an MQTT 5 device says when it connects, to be remembered for so long."""
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = seconds
    return properties
