"""A bare Engine.IO client: requests and frames as the protocol document has them, nothing by itself."""

import json
import socket as sockets
import struct
import threading

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

WAIT_S = 60
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
    return connect(f"{url}{path}?{pairs}", max_size=None, open_timeout=WAIT_S, compression=None, ping_interval=None,
                   legacy=True)


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


class Cable:
    """A way to the server that can be cut: every connection on it is lost at once, and none gets through until it
    is mended."""

    def __init__(self, url):
        self.target = url.removeprefix("http://").split(":")
        self.listener = sockets.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.ends = []
        self.whole = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.whole:
                near.close()
                continue
            try:
                far = sockets.create_connection((self.target[0], int(self.target[1])), timeout=WAIT_S)
            except OSError:
                # Nobody listens there at the moment.
                near.close()
                continue
            far.settimeout(None)
            self.ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def carry(source, sink):
        try:
            while chunk := source.recv(65536):
                sink.sendall(chunk)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(sockets.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.whole = False
        ends, self.ends = self.ends, []
        for end in ends:
            # With a reset, as a network that is gone.
            end.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                end.shutdown(sockets.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def mend(self):
        self.whole = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.cut()
