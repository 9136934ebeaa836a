"""The rules of the Socket.IO protocol documents, versions 5 and 4, against the echo of the conformance program."""

import json
import time

import pytest
from websockets.exceptions import ConnectionClosed

from bare_engineio import WAIT_S, Polling, closing, handshake, next_packet, open_socket

PATH = "/socket.io/"


class Connection:
    """A WebSocket connection that has not joined anything yet."""

    def __init__(self, conformance, version=4, **query):
        self.socket = open_socket(conformance.ws_url, version, PATH, **query)
        self.handshake = handshake(self.socket)

    def say(self, *packets):
        for packet in packets:
            try:
                self.socket.send(packet)
            except ConnectionClosed:
                # It ended at an earlier packet; whoever listens learns why.
                return

    def hear(self, count=1):
        return [next_packet(self.socket) for _ in range(count)]

    def join(self, namespace="/"):
        """Joins as the document says, and returns the id it was given."""
        place = "" if namespace == "/" else f"{namespace},"
        self.say(f"40{place}")
        reply, auth = self.hear(2)
        assert reply.startswith(f"40{place}{{") and auth == f'42{place}["auth",{{}}]'
        said = json.loads(reply.removeprefix(f"40{place}"))
        assert said.keys() == {"sid"}
        return said["sid"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@pytest.fixture
def connection(conformance):
    with Connection(conformance) as one:
        yield one


@pytest.fixture
def joined(connection):
    connection.join()
    return connection


# ---- Joining and leaving ----

def test_a_client_joins_the_main_namespace(connection):
    assert connection.join() != connection.handshake["sid"], "the id that others see is not the connection's secret"


def test_a_client_joins_with_a_payload(connection):
    connection.say('40{"token":"123"}')
    reply, auth = connection.hear(2)
    assert reply.startswith('40{"sid":') and auth == '42["auth",{"token":"123"}]'


def test_a_client_joins_several_namespaces(connection):
    assert connection.join("/custom") != connection.join()
    connection.say('42["message","main"]', '42/custom,["message","custom"]')
    assert connection.hear(2) == ['42["message-back","main"]', '42/custom,["message-back","custom"]']


def test_a_query_behind_a_namespace_is_left_out(connection):
    connection.say('40/custom?token=abc,{"a":1}')
    reply, auth = connection.hear(2)
    assert reply.startswith("40/custom,") and auth == '42/custom,["auth",{"a":1}]'


def test_an_unknown_namespace_is_refused_and_the_connection_goes_on(connection):
    connection.say("40/random")
    assert connection.hear() == ['44/random,{"message":"Invalid namespace"}']
    connection.join()


def test_a_connection_that_joins_nothing_is_closed(impatient):
    came = time.monotonic()
    with Connection(impatient) as connection:
        code, _ = closing(connection.socket)
    assert code == 4001 and time.monotonic() - came >= 0.8


def test_leaving_the_main_namespace_leaves_the_connection(joined):
    joined.say("41")
    joined.join()


def test_leaving_one_namespace_leaves_the_others(joined):
    joined.join("/custom")
    joined.say("41/custom", '42["message","still here"]')
    assert joined.hear() == ['42["message-back","still here"]']


@pytest.mark.parametrize("said", ["4abc", "4", "49", '42["message"]', '42/custom,["message"]', "41", "43[]",
                                  '44{"message":"no"}', "40[]", '40/,5{}', "451-", '4240"x"'])
def test_what_breaks_a_rule_before_joining_ends_the_connection(connection, said):
    connection.say(said)
    assert closing(connection.socket)[0] == 1002


@pytest.mark.parametrize("said", ["40", "42{}", "42[]", "42[true]", '42["connect"]', '42["disconnecting",1]', '42["message"',
                                  "43[1]", '42abc["message-with-ack",1]', '42/custom,["message"]', '42["message",1]x', '42["message", \ud83d]'])
def test_what_breaks_a_rule_after_joining_ends_the_connection(joined, said):
    joined.say(said.encode("utf-8", "replace").decode())
    code, reason = closing(joined.socket)
    assert code == 1002 and reason


def test_text_that_is_not_utf_8_ends_the_connection(joined):
    joined.socket.send(b'42["message","\xff"]', text=True)
    assert closing(joined.socket)[0] == 1007


# ---- Events and acknowledgements ----

def test_an_event_comes_back(joined):
    joined.say('42["message",1,"2",{"3":[true]}]')
    assert joined.hear() == ['42["message-back",1,"2",{"3":[true]}]']


def test_numbers_and_texts_come_back_as_they_went(joined):
    arguments = r'12345678901234567890,1.50,"é\u20ac\n😀",{"b":1,"a":2}'
    joined.say(f'42["message",{arguments}]')
    assert joined.hear() == [f'42["message-back",{arguments}]']


def test_an_event_is_acknowledged(joined):
    joined.say('42456["message-with-ack",1,"2",{"3":[false]}]')
    assert joined.hear() == ['43456[1,"2",{"3":[false]}]']


def test_an_event_that_nobody_knows_is_acknowledged_all_the_same(joined):
    joined.say('427["what is this"]')
    assert joined.hear() == ["437[]"]


def test_an_event_with_binary_comes_back(joined):
    event = '["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    joined.say("452-" + event, b"\x01\x02\x03", b"\x04\x05\x06")
    assert joined.hear(3) == ["452-" + event.replace("message", "message-back"), b"\x01\x02\x03", b"\x04\x05\x06"]


def test_an_event_with_binary_is_acknowledged(joined):
    places = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    joined.say(f'452-789["message-with-ack",{places}]', b"\x01\x02\x03", b"\x04\x05\x06")
    assert joined.hear(3) == [f"462-789[{places}]", b"\x01\x02\x03", b"\x04\x05\x06"]


# ---- Binary that is not what it says ----

@pytest.mark.parametrize("said, code", [
    (['451-["message",{"_placeholder":true,"num":1}]', b"x"], 1002),
    (['451-["message",{"_placeholder":true,"num":-1}]', b"x"], 1002),
    (['451-["message",{"_placeholder":true,"num":"0"}]', b"x"], 1002),
    (['452-["message",{"_placeholder":true,"num":0}]', b"x", b"y"], 1002),
    (['451-["message",{"_placeholder":true,"num":0}]', '42["message"]'], 1002),
    ([b"nobody announced this"], 1002),
    (["4599999-[]"], 1009),
    (['4517-["message"]'], 1009),
    (["45999999999999999999999-[]"], 1002),
    (['42["message",' + "[" * 200 + "]" * 200 + "]"], 1009),
    (['42["message"' + ",1" * 200 + "]"], 1009),
    (["40/" + "x" * 300], 1009),
])
def test_a_packet_beyond_a_limit_ends_the_connection_with_its_code(joined, said, code):
    joined.say(*said)
    found, reason = closing(joined.socket)
    assert found == code and reason


def test_attachments_that_never_come_hold_nothing_up_for_others(conformance, joined):
    joined.say('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"only one")
    with Connection(conformance) as other:
        other.join()
        other.say('42["message",1]')
        assert other.hear() == ['42["message-back",1]']


def test_too_many_namespaces_end_the_connection(connection):
    connection.say(*(f"40/n{i}" for i in range(17)))
    assert closing(connection.socket)[0] == 1008


# ---- Polling, and protocol 4 ----

def test_everything_works_by_polling(conformance):
    polling = Polling(conformance.url, path=PATH)
    polling.say("40", '42["message",1]', '421["message-with-ack","x"]')
    reply, *rest = polling.poll_until(4)
    assert reply.startswith('40{"sid":')
    assert rest == ['42["auth",{}]', '42["message-back",1]', '431["x"]']
    polling.say('451-["message",{"_placeholder":true,"num":0}]', "bAQID")
    assert polling.poll_until(2) == ['451-["message-back",{"_placeholder":true,"num":0}]', "bAQID"]


def test_a_rule_broken_by_polling_is_told_and_ends_the_session(conformance):
    polling = Polling(conformance.url, path=PATH)
    response = polling.post("4abc")
    assert response.status_code == 400 and "type" in response.json()["message"]
    assert polling.get().status_code == 400


def test_a_client_of_protocol_4_is_in_the_main_namespace_at_once(conformance):
    with Connection(conformance, version=3) as connection:
        assert connection.hear(2) == ["40", '42["auth",{}]']
        connection.say('42["message","hello"]', "40/custom")
        assert connection.hear(3) == ['42["message-back","hello"]', "40/custom,", '42/custom,["auth",{}]']
        connection.say("40/random")
        assert connection.hear() == ['44/random,"Invalid namespace"']
        connection.say("41")
        assert closing(connection.socket)[0] == 1000


def test_a_client_of_protocol_4_has_the_type_before_binary(conformance):
    with Connection(conformance, version=3) as connection:
        connection.hear(2)
        event = '["message",{"_placeholder":true,"num":0}]'
        connection.say("451-" + event, b"\x04\x01\x02")
        assert connection.hear(2) == ["451-" + event.replace("message", "message-back"), b"\x04\x01\x02"]


def test_a_client_of_protocol_4_works_by_polling(conformance):
    polling = Polling(conformance.url, 3, PATH)
    polling.say("2")
    assert polling.poll() == ["40", '42["auth",{}]', "3"]


# ---- Half packets ----

def test_a_packet_that_arrives_byte_by_byte_is_one_packet(conformance):
    import base64
    import os
    import socket as sockets
    host, port = conformance.url.removeprefix("http://").split(":")
    with sockets.create_connection((host, int(port)), timeout=WAIT_S) as raw:
        key = base64.b64encode(os.urandom(16)).decode()
        raw.sendall(f"GET {PATH}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
                    f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        for byte in bytes([0x81, 0x80 | 2, 0, 0, 0, 0]) + b"40":
            raw.sendall(bytes([byte]))
        found = b""
        while b'42["auth",{}]' not in found:
            chunk = raw.recv(4096)
            assert chunk, found
            found += chunk
        # Half a frame, and gone.
        raw.sendall(bytes([0x81, 0x80 | 100, 0, 0, 0, 0]) + b"42[")
    with Connection(conformance) as other:
        other.join()
