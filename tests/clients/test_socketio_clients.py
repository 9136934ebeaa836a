"""The real Socket.IO clients for Python and JavaScript against the echo of the conformance program."""

import json
import os
import queue
import subprocess
from pathlib import Path

import pytest
import socketio

from bare_engineio import Cable
from conformance import ASKING

WAIT_S = 60
HERE = Path(__file__).parent
TRANSPORTS = pytest.mark.parametrize("transports", ["websocket", "polling", "polling,websocket"])


# ---- JavaScript ----

def run_node(script, *arguments):
    """Runs a script with the pinned packages, and returns what it printed."""
    modules = os.environ.get("RELAIS_NODE_MODULES")
    if not modules:
        pytest.fail("RELAIS_NODE_MODULES is not set; run the tests with scripts/test clients")
    done = subprocess.run(["node", HERE / "node" / script, *arguments], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"NODE_PATH": modules})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@TRANSPORTS
@pytest.mark.parametrize("parser", ["default", "msgpack"])
def test_socket_io_client_for_javascript(conformance, transports, parser):
    check_echo(run_node("echo.cjs", conformance.url, transports, parser), transports)


@TRANSPORTS
@pytest.mark.parametrize("parser", ["default", "msgpack"])
def test_socket_io_client_for_javascript_with_compression(compressing, transports, parser):
    check_echo(run_node("echo.cjs", compressing.url, transports, parser), transports)


@TRANSPORTS
def test_socket_io_client_for_javascript_answers_heartbeats(asking, transports):
    # So many in a row take longer than a client may be silent.
    pings = (ASKING["ping-interval"] + ASKING["ping-timeout"]) // ASKING["ping-interval"] + 2
    found = run_node("echo.cjs", asking.url, transports, "default", str(pings))
    assert found["pings"] >= pings
    check_echo(found, transports)


def check_echo(found, transports):
    assert found["auth"] == {"token": "123"}
    assert len(set(found["ids"])) == 2
    assert found["plain"] == [1, "é😀", {"deep": [True, None, 1.5]}]
    assert found["custom"] == ["custom"]
    assert found["binary"] == [[0, 1, 254, 255], "x", [0, 1, 254, 255]]
    assert found["ack"] == {"ok": True}
    assert found["binaryAck"] == [0, 1, 254, 255]
    assert found["unknown"] == "Invalid namespace"
    assert found["inOrder"]
    assert found["transport"] == transports.split(",")[-1]
    assert found["lost"] in ("forced close", "transport close")
    assert found["afterReconnect"] == ["again"]
    assert found["afterLeaving"] == ["alone"]
    assert found["afterQuiet"] == ["alive"]


# ---- Python ----

class PythonClient:
    """A `python-socketio` client that keeps what it hears."""

    def __init__(self, url, transports, namespaces=("/", "/custom"), **options):
        self.client = socketio.Client(reconnection_delay=0.01, reconnection_delay_max=0.05)
        self.heard = queue.Queue()
        for namespace in namespaces:
            for event in ("auth", "message-back", "connect", "disconnect"):
                self.client.on(event, self.keep(namespace, event), namespace=namespace)
        self.client.connect(url, transports=transports.split(","), namespaces=list(namespaces), wait_timeout=WAIT_S,
                            **options)

    def keep(self, namespace, event):
        return lambda *values: self.heard.put((namespace, event, list(values)))

    def next(self, wanted):
        """The values of the next event of that namespace and name."""
        while True:
            namespace, event, values = self.heard.get(timeout=WAIT_S)
            if (namespace, event) == wanted:
                return values


@pytest.fixture
def python_client(conformance):
    clients = []

    def make(transports, url=conformance.url, **options):
        clients.append(PythonClient(url, transports, **options))
        return clients[-1]

    yield make
    for made in clients:
        made.client.disconnect()


@TRANSPORTS
def test_python_socketio(python_client, transports):
    # Its upgrade reuses the order of the list: polling first means polling, then WebSocket.
    one = python_client(transports, auth={"token": "123"})
    assert one.next(("/", "auth")) == [{"token": "123"}]
    one.client.emit("message", (1, "é😀", {"deep": [True, None]}))
    assert one.next(("/", "message-back")) == [1, "é😀", {"deep": [True, None]}]
    one.client.emit("message", "custom", namespace="/custom")
    assert one.next(("/custom", "message-back")) == ["custom"]
    one.client.emit("message", {"file": b"\x00\x01\xff"})
    assert one.next(("/", "message-back")) == [{"file": b"\x00\x01\xff"}]
    assert one.client.call("message-with-ack", {"ok": True}, timeout=WAIT_S) == {"ok": True}
    assert one.client.call("message-with-ack", b"\x00\xff", timeout=WAIT_S) == b"\x00\xff"
    assert one.client.transport() == transports.split(",")[-1]


def test_python_socketio_is_told_of_an_unknown_namespace(python_client):
    with pytest.raises(socketio.exceptions.ConnectionError, match="namespaces failed"):
        python_client("websocket", namespaces=("/", "/unknown"))


@TRANSPORTS
def test_python_socketio_comes_back_when_the_network_was_lost(conformance, python_client, transports):
    with Cable(conformance.url) as cable:
        one = python_client(transports, url=cable.url)
        one.next(("/", "auth"))
        cable.cut()
        one.next(("/", "disconnect"))
        cable.mend()
        one.next(("/", "connect"))
        one.client.emit("message", "again")
        assert one.next(("/", "message-back")) == ["again"]
        one.client.disconnect()
