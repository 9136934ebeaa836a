"""Socket.IO at the server itself: who may come, how it ends, and what stays behind."""

import json

import pytest
import requests
from websockets.exceptions import InvalidStatus

from bare_engineio import WAIT_S, Polling, closing, handshake, next_packet, open_socket, upgrade
from process import assert_nothing_stays, eventually, metric

PATH = "/socket.io/"


def ws_url(server):
    return server.url.replace("http", "ws", 1)


def connections(server):
    return metric(server, "relais_engineio_connections")


@pytest.mark.parametrize("path", ["/socket.io/", "/socket.io"])
def test_it_is_there_and_tells_the_times_that_it_keeps(server, path):
    said = Polling(server.url, path=path).handshake
    assert (said["pingInterval"], said["pingTimeout"], said["maxPayload"]) == (25_000, 35_000, 1_000_000)
    with open_socket(ws_url(server), path=path) as socket:
        assert handshake(socket)["upgrades"] == []
        socket.send("40/nothing-here")
        assert next_packet(socket) == '44/nothing-here,{"message":"Invalid namespace"}'


def test_clients_of_socket_io_2_can_be_turned_away(make_server):
    server = make_server(RELAIS_SOCKETIO_ALLOW_EIO3="false")
    response = server.get(f"{PATH}?EIO=3&transport=polling")
    assert response.status_code == 400 and response.json()["code"] == 5


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_pages_of_other_origins_are_refused_unless_they_are_named(make_server, transport):
    server = make_server(ALLOWED_ORIGINS="https://app.example.com")
    for origin, allowed in (("https://evil.example.com", False), ("https://app.example.com", True), (None, True)):
        headers = {"Origin": origin} if origin else {}
        if transport == "polling":
            response = server.get(f"{PATH}?EIO=4&transport=polling", headers=headers)
            assert response.ok == allowed, response.text
            continue
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        with requests.get(f"{server.url}{PATH}?EIO=4&transport=websocket", headers=headers, timeout=WAIT_S,
                          stream=True) as response:
            assert response.status_code == (101 if allowed else 403)


def test_a_credential_that_is_not_valid_is_refused(server):
    response = server.get(f"{PATH}?EIO=4&transport=polling", headers={"Authorization": "Bearer nonsense"})
    assert response.status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        open_socket(ws_url(server), path=PATH, token="nonsense")
    assert refused.value.response.status_code == 401


def test_connections_per_address_are_limited_and_the_reason_is_told(make_server):
    server = make_server(RELAIS_HUB_SESSIONS_PER_ADDRESS_MAX="2")
    with open_socket(ws_url(server), path=PATH) as first:
        handshake(first)
        Polling(server.url, path=PATH)
        response = server.get(f"{PATH}?EIO=4&transport=polling")
        assert response.status_code == 503 and response.headers["retry-after"]
        with open_socket(ws_url(server), path=PATH) as third:
            code, reason = closing(third)
            assert code == 1013 and reason


def test_a_client_that_joins_nothing_is_closed(make_server):
    server = make_server(RELAIS_SOCKETIO_CONNECT_TIMEOUT_S="1")
    with open_socket(ws_url(server), path=PATH) as socket:
        handshake(socket)
        assert closing(socket)[0] == 4001
    polling = Polling(server.url, path=PATH)
    ended = polling.get()
    assert ended.status_code == 400 and ended.json()["close_code"] == 4001
    assert polling.get().status_code == 400


def test_a_server_that_stops_asks_its_clients_to_come_back(make_server):
    server = make_server()
    with open_socket(ws_url(server), path=PATH) as socket:
        handshake(socket)
        server.process.terminate()
        assert closing(socket)[0] == 1012
    assert server.process.wait(WAIT_S) == 0


def test_hostile_clients_leave_nothing_behind(server):
    def attack(said):
        with open_socket(ws_url(server), path=PATH) as socket:
            handshake(socket)
            socket.send(said)
            closing(socket)

    attacks = ["4abc", '4510-["x"]', b"\x00", "0", "40/" + "n" * 300, '40{"a":' + "[" * 1000 + "]" * 1000 + "}"]

    def a_round():
        for _ in range(10):
            for said in attacks:
                attack(said)
            polling = Polling(server.url, path=PATH)
            polling.post(body=b"\xff")
            open_socket(ws_url(server), path=PATH).socket.close()
            Polling(server.url, path=PATH).say("1")
        eventually(lambda: connections(server) == 0, "no connection is counted any more")

    assert_nothing_stays(a_round, server.memory_kb, 1000)
    assert json.loads(server.get("/readyz").text)


def test_clients_that_vanish_at_any_moment_leave_nothing_behind(make_server):
    server = make_server(RELAIS_HUB_PING_INTERVAL_S="2", RELAIS_HUB_IDLE_TIMEOUT_S="5")
    where = {"path": PATH}
    for _ in range(30):
        Polling(server.url, **where)
        Polling(server.url, **where).say("1")
        open_socket(ws_url(server), sid=Polling(server.url, **where).sid, **where).socket.close()
        upgrade(Polling(server.url, **where), ws_url(server), **where).socket.close()
        open_socket(ws_url(server), **where).socket.close()
    eventually(lambda: connections(server) == 0, "no connection is left")
