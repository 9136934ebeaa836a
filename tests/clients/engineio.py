"""A bare Engine.IO client: requests and frames as the protocol document has them, nothing by itself."""

import json

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

WAIT_S = 20
RECORD = "\x1e"


class Polling:
    """A connection by HTTP long-polling, of either version."""

    def __init__(self, url, version=4, path="/engine.io/", **query):
        self.base = f"{url}{path}?EIO={version}&transport=polling" + "".join(f"&{k}={v}" for k, v in query.items())
        self.version = version
        response = requests.get(self.base, timeout=WAIT_S)
        assert response.status_code == 200, response.text
        packets = self.decode(response.text)
        assert packets[0][0] == "0", packets
        self.handshake = json.loads(packets[0][1:])
        self.sid = self.handshake["sid"]

    @property
    def address(self):
        return f"{self.base}&sid={self.sid}"

    def decode(self, text):
        """The packets of a body of text."""
        if self.version == 4:
            return text.split(RECORD)
        packets = []
        while text:
            length, _, text = text.partition(":")
            # Lengths count UTF-16 code units.
            units = text.encode("utf-16-le")
            packets.append(units[:2 * int(length)].decode("utf-16-le"))
            text = units[2 * int(length):].decode("utf-16-le")
        return packets

    def encode(self, packets):
        if self.version == 4:
            return RECORD.join(packets)
        return "".join(f"{len(packet.encode('utf-16-le')) // 2}:{packet}" for packet in packets)

    def get(self, **options):
        return requests.get(self.address, **{"timeout": WAIT_S} | options)

    def post(self, *packets, body=None, **options):
        body = self.encode(packets).encode() if body is None else body
        return requests.post(self.address, data=body, **{"timeout": WAIT_S} | options)

    def say(self, *packets):
        response = self.post(*packets)
        assert (response.status_code, response.text) == (200, "ok")

    def poll(self):
        response = self.get()
        assert response.status_code == 200, response.text
        return self.decode(response.text)

    def poll_until(self, count):
        """The next packets, without heartbeats, which are answered."""
        found = []
        while len(found) < count:
            packets = self.poll()
            if "2" in packets and self.version == 4:
                self.say("3")
            found += [packet for packet in packets if packet != "2"]
        return found


def open_socket(url, version=4, path="/engine.io/", sid=None, **query):
    """A WebSocket of a connection, new or with the id of one."""
    query = {"EIO": version, "transport": "websocket"} | ({"sid": sid} if sid else {}) | query
    pairs = "&".join(f"{name}={value}" for name, value in query.items())
    return connect(f"{url}{path}?{pairs}", max_size=None, open_timeout=WAIT_S, compression=None, ping_interval=None)


def handshake(socket):
    packet = socket.recv(timeout=WAIT_S)
    assert packet[0] == "0", packet
    return json.loads(packet[1:])


def next_packet(socket, answer_pings=True):
    """The next packet that is no heartbeat."""
    while True:
        packet = socket.recv(timeout=WAIT_S)
        if packet != "2":
            return packet
        if answer_pings:
            socket.send("3")


def closing(socket):
    """Waits for the end, and returns its close code and reason."""
    try:
        while True:
            socket.recv(timeout=WAIT_S)
    except ConnectionClosed as end:
        return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")


def upgrade(polling, ws_url, path="/engine.io/"):
    """Moves a polling connection to a WebSocket as a client does: probe, pause, upgrade."""
    socket = open_socket(ws_url, polling.version, path, polling.sid)
    socket.send("2probe")
    assert socket.recv(timeout=WAIT_S) == "3probe"
    socket.send("5")
    return socket
