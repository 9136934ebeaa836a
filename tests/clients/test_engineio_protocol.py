"""The rules of the Engine.IO protocol documents, versions 3 and 4, against the echo of the conformance program."""

import concurrent.futures
import os
import socket as sockets
import time
import urllib.parse

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from conformance import ASKING, CALM, PAYLOAD_BYTES
from bare_engineio import WAIT_S, Polling, closing, handshake, next_packet, open_socket, upgrade

VERSIONS = pytest.mark.parametrize("version", [3, 4])


@pytest.fixture
def url(conformance):
    return conformance.url


@pytest.fixture
def ws_url(conformance):
    return conformance.ws_url


def check_handshake(said, upgrades):
    assert said.keys() == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
    assert said["upgrades"] == upgrades
    assert (said["pingInterval"], said["pingTimeout"]) == (CALM["ping-interval"], CALM["ping-timeout"])
    assert said["maxPayload"] == PAYLOAD_BYTES


# ---- Handshake ----

@VERSIONS
def test_polling_opens_a_session(url, version):
    check_handshake(Polling(url, version).handshake, ["websocket"])


@VERSIONS
def test_a_websocket_opens_a_session(ws_url, version):
    with open_socket(ws_url, version) as socket:
        check_handshake(handshake(socket), [])


def test_session_ids_are_long_and_never_the_same(url):
    ids = {Polling(url).sid for _ in range(20)}
    assert len(ids) == 20 and all(len(sid) >= 20 for sid in ids)


@pytest.mark.parametrize("query, code", [
    ("transport=polling", 5), ("EIO=abc&transport=polling", 5), ("EIO=2&transport=polling", 5),
    ("EIO=4", 0), ("EIO=4&transport=abc", 0),
    ("EIO=4&transport=polling&sid=guessed", 1), ("EIO=4&transport=polling&j=0", 3),
])
def test_a_request_that_is_not_served_is_told_why(url, query, code):
    response = requests.get(f"{url}/engine.io/?{query}", timeout=WAIT_S)
    assert response.status_code == 400
    assert response.json()["code"] == code and response.json()["message"]


@pytest.mark.parametrize("method", ["post", "put"])
def test_a_session_begins_with_a_get(url, method):
    response = requests.request(method, f"{url}/engine.io/?EIO=4&transport=polling", timeout=WAIT_S)
    assert response.status_code == 400 and response.json()["code"] == 2


@pytest.mark.parametrize("query", ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc",
                                   "EIO=4&transport=websocket&sid=guessed"])
def test_a_websocket_that_is_not_served_is_refused(ws_url, query):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{ws_url}/engine.io/?{query}", open_timeout=WAIT_S)
    assert refused.value.response.status_code == 400


# ---- Messages ----

@VERSIONS
def test_packets_by_polling_come_back_in_order(url, version):
    polling = Polling(url, version)
    polling.say("4hello")
    assert polling.poll() == ["4hello"]
    polling.say("4test1", "4test2", "4é€😀")
    assert polling.poll() == ["4test1", "4test2", "4é€😀"]


def test_binary_by_polling_is_base64(url):
    polling = Polling(url)
    polling.say("4hello", "bAQIDBA==")
    assert polling.poll() == ["4hello", "bAQIDBA=="]


def test_binary_by_polling_of_version_3_has_a_form_of_its_own(url):
    polling = Polling(url, 3)
    polling.say("4hello", "b4AQIDBA==")
    response = polling.get()
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.content == b"\x00\x06\xff4hello" + b"\x01\x05\xff\x04\x01\x02\x03\x04"
    body = b"\x01\x05\xff\x04\x01\x02\x03\x04"
    polling.post(body=body, headers={"Content-Type": "application/octet-stream"})
    assert polling.get().content == body


def test_a_client_of_version_3_that_reads_text_only_gets_base64(url):
    polling = Polling(url, 3, b64=1)
    polling.say("b4AQIDBA==")
    assert polling.poll() == ["b4AQIDBA=="]


@VERSIONS
def test_packets_by_websocket_come_back(ws_url, version):
    with open_socket(ws_url, version) as socket:
        handshake(socket)
        socket.send("4hello")
        assert next_packet(socket) == "4hello"
        binary = b"\x01\x02\x03" if version == 4 else b"\x04\x01\x02\x03"
        socket.send(binary)
        assert next_packet(socket) == binary


def test_a_get_waits_until_there_is_something(url):
    polling = Polling(url)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        held = pool.submit(polling.get)
        polling.say("4now")
        assert polling.decode(held.result().text) == ["4now"]


# ---- Heartbeats ----

def test_polling_clients_are_asked_for_a_sign_of_life(asking):
    polling = Polling(asking.url)
    for _ in range(3):
        assert polling.poll() == ["2"]
        polling.say("3")


def test_websocket_clients_are_asked_for_a_sign_of_life_but_not_at_once(asking):
    came = time.monotonic()
    with open_socket(asking.ws_url) as socket:
        handshake(socket)
        for _ in range(3):
            assert socket.recv(timeout=WAIT_S) == "2"
            socket.send("3")
        assert time.monotonic() - came >= 2.5 * ASKING["ping-interval"] / 1000


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_clients_of_version_3_ask_themselves(url, ws_url, transport):
    if transport == "polling":
        polling = Polling(url, 3)
        for _ in range(3):
            polling.say("2")
            assert polling.poll() == ["3"]
        return
    with open_socket(ws_url, 3) as socket:
        handshake(socket)
        for ping in ("2", "2probe", "2"):
            socket.send(ping)
            assert socket.recv(timeout=WAIT_S) == "3" + ping[1:]


@VERSIONS
def test_a_silent_session_ends(hasty, version):
    polling = Polling(hasty.url, version)
    with open_socket(hasty.ws_url, version) as socket:
        code, reason = closing(socket)
        assert code == 1012 and "silent" in reason
    # One that was opened later and has ended shows that the time of the polling one has passed.
    with open_socket(hasty.ws_url, version) as socket:
        closing(socket)
    ended = polling.get()
    assert ended.status_code == 400 and ended.json()["close_code"] == 1012


# ---- The end ----

@VERSIONS
def test_a_polling_client_closes(url, version):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # Whichever comes first, and also when both come at once.
        for _ in range(25):
            polling = Polling(url, version)
            held = pool.submit(polling.get)
            polling.say("1")
            assert polling.decode(held.result().text) == ["6"]
            assert polling.get().status_code == 400


@VERSIONS
def test_a_get_that_crosses_the_closing_post_is_answered_as_if_it_had_come_before(url, version):
    polling = Polling(url, version)
    polling.say("1")
    assert polling.poll() == ["6"]
    assert polling.get().status_code == 400


@VERSIONS
def test_a_get_that_its_client_gives_up_ends_the_session(url, version):
    polling = Polling(url, version)
    with pytest.raises(requests.exceptions.ReadTimeout):
        polling.get(timeout=(WAIT_S, 2))
    assert polling.get().status_code == 400


@VERSIONS
def test_a_websocket_client_closes(ws_url, version):
    with open_socket(ws_url, version) as socket:
        handshake(socket)
        socket.send("1")
        assert closing(socket)[0] == 1000


@VERSIONS
@pytest.mark.parametrize("body", [b"abc", b"", b"\xff\xfe"])
def test_a_body_that_cannot_be_read_ends_the_session(url, version, body):
    polling = Polling(url, version)
    assert polling.post(body=body).status_code == 400
    assert polling.get().status_code == 400


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(url):
    polling = Polling(url)
    response = polling.post(body=b"4" + b"x" * PAYLOAD_BYTES)
    assert response.status_code == 413 and "maxPayload" in response.json()["message"]
    assert polling.get().status_code == 400


def test_a_body_that_turns_out_too_large_is_refused(url):
    polling = Polling(url)
    chunks = (b"4" * 100_000 for _ in range(11))
    assert polling.post(body=chunks).status_code == 413
    assert polling.get().status_code == 400


@pytest.mark.parametrize("said, code", [("abc", 1002), ("", 1002), ("0", 1002), ("5", 1002), ("2", 1002),
                                        ("4" + "x" * PAYLOAD_BYTES, 1009)])
def test_a_packet_that_no_client_sends_ends_the_session(ws_url, said, code):
    with open_socket(ws_url) as socket:
        handshake(socket)
        socket.send(said)
        assert closing(socket)[0] == code


@VERSIONS
def test_a_second_get_at_once_ends_the_session(url, version):
    polling = Polling(url, version)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [get.result() for get in [pool.submit(polling.get), pool.submit(polling.get)]]
    first, second = sorted(both, key=lambda response: response.status_code)
    assert (first.status_code, second.status_code) == (200, 400)
    assert polling.decode(first.text) == ["1"] and "two requests" in second.json()["message"]
    later = polling.get()
    assert later.status_code == 400 and "two requests" in later.json()["message"]


def test_a_second_post_at_once_ends_the_session(url):
    polling = Polling(url)

    address = urllib.parse.urlsplit(polling.address)
    with sockets.create_connection((address.hostname, address.port), timeout=WAIT_S) as first:
        head = f"POST {address.path}?{address.query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n"
        first.sendall(head.encode())
        # The server says so when it waits for the body (RFC 9110, section 10.1.1).
        assert first.recv(1000).startswith(b"HTTP/1.1 100 ")
        assert polling.post("4x").status_code == 400
        first.sendall(b"4hello")
        assert first.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert polling.get().status_code == 400


# ---- Upgrade ----

@VERSIONS
def test_polling_is_upgraded_and_nothing_is_lost_or_twice(url, ws_url, version):
    polling = Polling(url, version)
    with open_socket(ws_url, version, sid=polling.sid) as socket:
        socket.send("2probe")
        assert socket.recv(timeout=WAIT_S) == "3probe"
        polling.say("4before")
        assert polling.poll() == ["4before"]
        polling.say("4waits")
        socket.send("5")
        socket.send("4after")
        found = [next_packet(socket) for _ in range(2)]
        assert found == ["4waits", "4after"]
        assert polling.get().status_code == 400, "the WebSocket is the transport now"
        assert polling.post("4x").status_code == 400


@VERSIONS
def test_a_held_get_is_ended_for_the_upgrade(url, ws_url, version):
    polling = Polling(url, version)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # Whether it comes before the probe or after it.
        held = pool.submit(polling.get)
        with open_socket(ws_url, version, sid=polling.sid) as socket:
            socket.send("2probe")
            assert socket.recv(timeout=WAIT_S) == "3probe"
            assert polling.decode(held.result().text) == ["6"]
            socket.send("5")
            socket.send("4hello")
            assert next_packet(socket) == "4hello"


def test_what_the_client_sends_right_behind_the_upgrade_is_heard(url, ws_url):
    polling = Polling(url)
    with open_socket(ws_url, sid=polling.sid) as socket:
        for packet in ("2probe", "5", "4one", "4two"):
            socket.send(packet)
        assert [next_packet(socket) for _ in range(3)] == ["3probe", "4one", "4two"]


def test_a_second_websocket_after_the_upgrade_is_closed(url, ws_url):
    polling = Polling(url)
    with upgrade(polling, ws_url) as first:
        with open_socket(ws_url, sid=polling.sid) as second:
            assert closing(second)[0] == 1002
        first.send("4hello")
        assert next_packet(first) == "4hello"


@pytest.mark.parametrize("said", [None, "hello", "4early", "2", "5", b"\x01"])
def test_an_abandoned_upgrade_leaves_polling_as_it_was(url, ws_url, said):
    polling = Polling(url)
    with open_socket(ws_url, sid=polling.sid) as socket:
        if said is not None:
            socket.send(said)
            closing(socket)
    polling.say("4still here")
    assert polling.poll_until(1) == ["4still here"]
    with upgrade(polling, ws_url) as socket:
        socket.send("4and now")
        assert next_packet(socket) == "4and now"


def test_an_upgrade_abandoned_after_the_probe_leaves_polling_as_it_was(url, ws_url):
    polling = Polling(url)
    with open_socket(ws_url, sid=polling.sid) as socket:
        socket.send("2probe")
        assert socket.recv(timeout=WAIT_S) == "3probe"
    polling.say("4still here")
    assert "4still here" in polling.poll_until(1)


# ---- Compression ----

def open_compressed(program, query=""):
    return connect(f"{program.ws_url}/engine.io/?EIO=4&transport=websocket{query}", open_timeout=WAIT_S, ping_interval=None,
                   max_size=None, legacy=True)


AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def check_compressed_echo(socket):
    for message in ("4" + "compressible " * 1000, "4é€😀" * 200, b"\x00" * 100_000, os.urandom(10_000), "4short"):
        socket.send(message)
        assert next_packet(socket) == message


def test_messages_are_compressed_if_that_was_agreed(compressing):
    with open_compressed(compressing) as socket:
        assert socket.response.headers["Sec-WebSocket-Extensions"] == AGREED
        handshake(socket)
        check_compressed_echo(socket)


def test_a_connection_that_began_with_polling_is_compressed_too(compressing):
    polling = Polling(compressing.url)
    with open_compressed(compressing, f"&sid={polling.sid}") as socket:
        assert socket.response.headers["Sec-WebSocket-Extensions"] == AGREED
        socket.send("2probe")
        assert socket.recv(timeout=WAIT_S) == "3probe"
        polling.say("4before" + " compressible" * 100)
        assert polling.poll_until(1) == ["4before" + " compressible" * 100]
        socket.send("5")
        check_compressed_echo(socket)


def test_nothing_is_agreed_unless_the_server_wants_it(conformance):
    with open_compressed(conformance) as socket:
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


def test_a_message_that_unpacks_to_too_much_ends_the_session(compressing):
    with open_compressed(compressing) as socket:
        handshake(socket)
        socket.send("4" + "x" * PAYLOAD_BYTES)
        assert closing(socket)[0] == 1009
