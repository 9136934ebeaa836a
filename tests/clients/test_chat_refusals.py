"""Whoever does not keep to the rules of the chat: a documented error or close code, and everybody else is served as
before. By the plain WebSocket and by Socket.IO, where both have the rule."""

import base64
import contextlib
import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from bare_engineio import WAIT_S, Polling, closing, handshake, next_packet
from chat import NodeClient, PlainClient
from process import eventually
from town import PASSWORD, Person, Town

SECRET = "un secret d'au moins trente-deux octets"
PATH = "/socket.io/"
CARRIERS = pytest.mark.parametrize("carrier", ["plain", "/", "/chat"])


@pytest.fixture
def town(make_server):
    """People on a server that does not wait long; it still serves them after the test."""
    town = Town(make_server, RELAIS_HUB_AUTHENTICATE_TIMEOUT_S="3", RELAIS_AUTH_JWT_SECRET=SECRET,
                RELAIS_AUTH_JWT_LEEWAY_S="0")
    yield town
    town.still_serves()
    town.close()


class Plain:
    """A connection to `/ws/chat`, frame by frame."""

    def __init__(self, town, headers=None, query=""):
        self.socket = connect(f"{town.server.url.replace('http', 'ws', 1)}/ws/chat{query}", open_timeout=WAIT_S,
                              additional_headers=headers, compression=None, legacy=True)

    def say(self, name, fields):
        self.socket.send(json.dumps({"type": name} | fields))

    def hear(self, name):
        while True:
            frame = json.loads(self.socket.recv(timeout=WAIT_S))
            if frame["type"] == name:
                return frame

    def ends(self):
        """The close code."""
        with self.socket:
            return closing(self.socket)[0]

    def is_sent_away(self):
        """It does not say who it is, and is closed."""
        return self.ends() == 4001


class SocketIo:
    """A connection in a namespace, packet by packet."""

    def __init__(self, town, namespace, auth=None, headers=None):
        self.prefix = "" if namespace == "/" else f"{namespace},"
        self.socket = connect(f"{town.server.url.replace('http', 'ws', 1)}{PATH}?EIO=4&transport=websocket",
                              open_timeout=WAIT_S, additional_headers=headers, compression=None, legacy=True)
        handshake(self.socket)
        self.socket.send(f"40{self.prefix}{json.dumps(auth) if auth else ''}")
        self.connected = next_packet(self.socket)

    def say(self, name, fields):
        self.socket.send(f"42{self.prefix}{json.dumps([name, fields])}")

    def hear(self, name):
        while True:
            packet = next_packet(self.socket)
            if packet.startswith(f"42{self.prefix}"):
                found, *arguments = json.loads(packet.removeprefix(f"42{self.prefix}"))
                if found == name:
                    return arguments[0]

    def ends(self):
        with self.socket:
            return closing(self.socket)[0]

    def is_sent_away(self):
        """Out of the namespace: the library does not come back by itself."""
        with self.socket:
            return next_packet(self.socket) == f"41{self.prefix}"


def open_carrier(town, carrier, **options):
    return Plain(town, **options) if carrier == "plain" else SocketIo(town, carrier, **options)


def signed_in(town, carrier, person):
    """A connection of somebody who is in."""
    connection = open_carrier(town, carrier)
    connection.say("authenticate", {"token": person.token})
    assert connection.hear("authenticated")["user_id"] == person.id
    return connection


class Outsider(Person):
    """Somebody whom another backend knows, which shares its secret."""

    def __init__(self, town, id, name):
        self.server, self.id, self.email, self.name = town.server, id, f"{id}@ailleurs.example", name
        self.token = forged_token(self, 600, name=name)
        self.headers = {"Authorization": f"Bearer {self.token}"}


def forged_token(person, valid_s, secret=SECRET, **more):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")
    now = int(time.time())
    claims = {"user_id": person.id, "email": person.email, "iat": now, "nbf": now, "exp": now + valid_s} | more
    text = b".".join(part(json.dumps(value).encode()) for value in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (text + b"." + part(hmac.new(secret.encode(), text, hashlib.sha256).digest())).decode()


# ---- Who one is ----

@CARRIERS
def test_a_wrong_token_is_told_and_ends_it(town, carrier):
    lea = town.person("Lea")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode() + f".{lea.token.split('.')[1]}."
    expired, foreign = forged_token(lea, -60), forged_token(lea, 60, "un autre secret, assez long pour lui")
    wrong = [(token, "Token invalide ou expiré") for token in ("faux", "a.b.c", expired, foreign, unsigned)]
    for token, message in wrong + [(token, "Token requis") for token in ("", None, 7, {"a": 1})]:
        connection = open_carrier(town, carrier)
        connection.say("authenticate", {"token": token})
        refused = connection.hear("error")
        assert (refused["message"], refused["code"]) == (message, "unauthenticated"), token
        assert connection.is_sent_away(), token


@pytest.mark.parametrize("namespace", ["/", "/chat"])
def test_a_wrong_token_in_the_auth_object_is_a_connect_error(town, namespace):
    connection = SocketIo(town, namespace, auth={"token": "faux"})
    assert connection.connected.startswith(f"44{connection.prefix}")
    refused = json.loads(connection.connected.removeprefix(f"44{connection.prefix}"))
    assert refused == {"message": "Token invalide ou expiré", "data": {"code": "unauthenticated"}}
    connection.socket.close()


@CARRIERS
def test_whoever_says_nothing_is_closed_in_time(town, carrier):
    assert open_carrier(town, carrier).ends() == 4001


def test_whoever_polls_and_says_nothing_is_closed_in_time(town):
    polling = Polling(town.server.url, path=PATH)
    polling.say("40/chat,")
    assert polling.poll_until(1)[0].startswith("40/chat,")
    ended = polling.get()
    assert ended.status_code == 400 and ended.json()["close_code"] == 4001


@CARRIERS
def test_a_command_before_the_token_does_nothing(town, carrier):
    lea, _, conversation_id = town.friends()
    connection = open_carrier(town, carrier)
    connection.say("send_message", {"conversation_id": conversation_id, "message": "?", "sender_id": lea.id})
    assert connection.hear("error")["message"] == "Authentification requise"
    assert lea.get(f"conversations/{conversation_id}/messages")["messages"] == []
    assert connection.ends() == 4001


@CARRIERS
def test_a_connection_stays_whose_it_is(town, carrier):
    lea, paul, conversation_id = town.friends()
    eve = town.person("Eve")
    of_eve = signed_in(town, carrier, eve)
    of_eve.say("authenticate", {"token": lea.token})
    assert of_eve.hear("error")["code"] == "other_identity"
    of_eve.say("send_message", {"conversation_id": conversation_id, "message": "c'est Léa", "sender_id": lea.id})
    assert of_eve.hear("error")["code"] == "conversation_not_found"
    # The same person may say so as often as they like.
    of_eve.say("authenticate", {"token": eve.token})
    assert of_eve.hear("authenticated")["user_id"] == eve.id
    of_eve.socket.close()


@CARRIERS
def test_a_page_with_a_session_may_send_its_token_as_well(town, carrier):
    lea, eve = town.person("Lea"), town.person("Eve")
    headers = session_headers(town, lea)
    connection = open_carrier(town, carrier, headers=headers)
    assert connection.hear("authenticated")["user_id"] == lea.id
    connection.say("authenticate", {"token": lea.token})
    assert connection.hear("authenticated")["user_id"] == lea.id
    connection.say("authenticate", {"token": eve.token})
    assert connection.hear("error")["code"] == "other_identity"
    connection.socket.close()


def test_a_second_namespace_is_not_for_somebody_else(town):
    lea, eve = town.person("Lea"), town.person("Eve")
    connection = signed_in(town, "/", lea)
    connection.socket.send(f'40/chat,{json.dumps({"token": eve.token})}')
    packet = eventually(lambda: (packet := next_packet(connection.socket)).startswith("44/chat,") and packet, "an answer")
    assert json.loads(packet.removeprefix("44/chat,"))["data"] == {"code": "other_identity"}
    connection.socket.close()


def session_headers(town, person):
    reply = town.server.post("/api/connexion", json={"email": person.email, "password": PASSWORD})
    return {"Cookie": reply.headers["Set-Cookie"].partition(";")[0], "Origin": town.server.url}


@CARRIERS
def test_users_of_an_existing_backend_talk_without_an_account_here(town, carrier):
    lea, zoe = Outsider(town, "1001", "Lea Durand"), Outsider(town, "1002", "Zoe Petit")
    connections = [signed_in(town, carrier, person) for person in (lea, zoe)]
    found = lea.get("admins/search?q=petit")["admins"]
    assert [(person["id"], person["firstname"]) for person in found] == [("1002", "Zoe")]
    conversation_id = town.befriend(lea, zoe)
    zoe.write(conversation_id, "bonjour")
    heard = connections[0].hear("new_message")["message"]
    assert (heard["sender_id"], heard["content"]) == ("1002", "bonjour")
    for connection in connections:
        connection.socket.close()


def test_a_page_with_a_session_resumes_by_the_address(town):
    lea, paul, conversation_id = town.friends()
    headers = session_headers(town, lea)
    page = Plain(town, headers)
    cursor = page.hear("authenticated")["cursor"]
    page.socket.close()
    paul.write(conversation_id, "pendant ce temps")
    page = Plain(town, headers, f"?since={cursor}")
    assert page.hear("authenticated")["recovered"] is True
    assert page.hear("new_message")["message"]["content"] == "pendant ce temps"
    page.say("authenticate", {"token": lea.token, "since": cursor})
    assert page.hear("authenticated")["recovered"] is False, "it hears what it heard, and nothing again"
    page.socket.close()


def test_on_a_page_of_another_allowed_origin_a_cookie_is_no_obstacle(make_server):
    town = Town(make_server, ALLOWED_ORIGINS="https://app.example.fr")
    lea = town.person("Lea")
    headers = session_headers(town, lea)
    page = Plain(town, headers | {"Origin": "https://app.example.fr"})
    page.say("authenticate", {"token": lea.token})
    assert page.hear("authenticated")["user_id"] == lea.id
    page.socket.close()
    with pytest.raises(InvalidStatus) as refused:
        Plain(town, headers | {"Origin": "https://evil.example.fr"})
    assert refused.value.response.status_code == 403
    town.close()


# ---- While one is connected ----

@CARRIERS
def test_a_connection_ends_with_its_token(town, carrier):
    lea = town.person("Lea")
    lea.token = forged_token(lea, 3)
    connection = signed_in(town, carrier, lea)
    assert connection.ends() == 4001
    connection = open_carrier(town, carrier)
    connection.say("authenticate", {"token": lea.token})
    assert connection.hear("error")["message"] == "Token invalide ou expiré"
    connection.socket.close()


@CARRIERS
def test_a_new_token_prolongs_a_connection(town, carrier):
    lea = town.person("Lea")
    lea.token = forged_token(lea, 6)
    renewed, former = signed_in(town, carrier, lea), signed_in(town, carrier, lea)
    renewed.say("authenticate", {"token": forged_token(lea, 600)})
    assert renewed.hear("authenticated")["user_id"] == lea.id
    # One that ends sooner, as a program may still have it, cuts nothing.
    renewed.say("authenticate", {"token": lea.token})
    assert renewed.hear("authenticated")["user_id"] == lea.id
    assert former.ends() == 4001
    renewed.say("ping", {})
    assert renewed.hear("pong")["success"] is True
    renewed.socket.close()


@CARRIERS
def test_a_new_token_with_other_rights_ends_a_connection(town, carrier):
    zoe = Outsider(town, "1003", "Zoe Petit")
    connection = signed_in(town, carrier, zoe)
    connection.say("authenticate", {"token": forged_token(zoe, 600, name=zoe.name, admin=True)})
    assert connection.ends() == 1012


@CARRIERS
def test_whoever_is_disabled_is_out_at_once(town, carrier):
    lea, paul, conversation_id = town.friends()
    connection = signed_in(town, carrier, lea)
    reply = town.server.call("PATCH", f"/api/v1/users/{lea.id}", json={"disabled": True}, headers=town.admin)
    assert reply.ok, reply.text
    assert connection.ends() == 1012
    connection = open_carrier(town, carrier)
    connection.say("authenticate", {"token": lea.token})
    assert connection.hear("error")["code"] == "unauthenticated"
    assert connection.is_sent_away()
    assert paul.get("conversations")["conversations"][0]["participant"]["is_online"] is False


@CARRIERS
def test_whoever_signs_out_is_out_at_once(town, carrier):
    lea = town.person("Lea")
    headers = session_headers(town, lea)
    connection = open_carrier(town, carrier, headers=headers)
    assert connection.hear("authenticated")["user_id"] == lea.id
    assert town.server.post("/api/auth/logout", headers=headers).ok
    assert connection.ends() == 1012
    # The browser still sends the cookie, which is worth nothing now and no obstacle to a token.
    connection = open_carrier(town, carrier, headers=headers)
    connection.say("send_message", {"conversation_id": "1", "message": "?"})
    assert connection.hear("error")["message"] == "Authentification requise"
    connection.socket.close()
    connection = open_carrier(town, carrier, headers=headers)
    connection.say("authenticate", {"token": lea.token})
    assert connection.hear("authenticated")["user_id"] == lea.id
    connection.socket.close()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
def test_the_library_is_told_why_it_cannot_come_back(town, transports):
    lea = town.person("Lea")
    of_lea = town.client(NodeClient, lea, town.server.url, transports, "auth").is_in()
    assert town.server.call("PATCH", f"/api/v1/users/{lea.id}", json={"disabled": True}, headers=town.admin).ok
    of_lea.hear("disconnect")
    assert of_lea.hear("connect_error")["code"] == "unauthenticated"


# ---- Conversations of others ----

@CARRIERS
def test_a_conversation_of_others_does_not_exist(town, carrier):
    lea, paul, conversation_id = town.friends()
    eve = town.person("Eve")
    of_eve = signed_in(town, carrier, eve)
    wanted = {conversation_id: "conversation_not_found", "unknown": "conversation_not_found",
              "../conversations": "conversation_not_found", "": "invalid_value", None: "invalid_value",
              7: "invalid_value", ("a",): "invalid_value"}
    for command in ("join_conversation", "join_group", "send_message", "typing", "mark_read"):
        for which, code in wanted.items():
            of_eve.say(command, {"conversation_id": which, "message": {"content": "?"}})
            refused = of_eve.hear("error")
            assert refused["code"] == code and refused["message"], (command, which)
    theirs = town.befriend(lea, eve)
    lea.write(conversation_id, "entre nous")
    lea.write(theirs, "à toi")
    # One connection hears in the order of the log: the first message would have come before.
    assert of_eve.hear("new_message")["message"]["content"] == "à toi"
    of_eve.socket.close()


@CARRIERS
def test_the_sender_is_who_is_signed_in(town, carrier):
    lea, paul, conversation_id = town.friends()
    of_paul = town.client(PlainClient, paul, town.server.url).is_in()
    of_lea = signed_in(town, carrier, lea)
    of_lea.say("send_message", {"conversation_id": conversation_id, "sender_id": paul.id,
                                "message": {"content": "signé", "sender_id": paul.id, "id": "1", "number": 99}})
    assert of_lea.hear("message_sent")["message"]["sender_id"] == lea.id
    told = of_paul.hear("new_message")["message"]
    assert (told["sender_id"], told["number"]) == (lea.id, 1) and told["id"] != "1"
    of_lea.socket.close()


# ---- Frames ----

@CARRIERS
@pytest.mark.parametrize("is_known", [True, False])
def test_a_giant_frame_is_too_big(town, carrier, is_known):
    lea, _, conversation_id = town.friends()
    connection = signed_in(town, carrier, lea) if is_known else open_carrier(town, carrier)
    size = 70_000 if carrier == "plain" else 1_100_000
    connection.say("send_message", {"conversation_id": conversation_id, "message": "a" * size})
    assert connection.ends() == 1009
    assert lea.get(f"conversations/{conversation_id}/messages")["messages"] == []


def test_a_giant_request_of_a_client_that_polls_is_too_big(town):
    polling = Polling(town.server.url, path=PATH)
    assert polling.post(body=b"4" + b"a" * 1_100_000).status_code == 413


@CARRIERS
def test_text_that_is_not_utf_8_is_refused(town, carrier):
    connection = signed_in(town, carrier, town.person("Lea"))
    connection.socket.send(b'42["send_message",{"message":"\xc3\x28"}]', text=True)
    assert connection.ends() == 1007


def test_what_is_no_command_is_told(town):
    connection = signed_in(town, "plain", town.person("Lea"))
    for text in ("", "x", "[]", "7", '"text"', "null", "{", '{"type":7}', '{"a":' * 200 + "1" + "}" * 200):
        connection.socket.send(text)
        assert connection.hear("error")["message"], text
    connection.say("ping", {})
    connection.hear("pong")
    connection.socket.close()


@CARRIERS
def test_an_unknown_command_is_told(town, carrier):
    connection = signed_in(town, carrier, town.person("Lea"))
    for name in ("unknown", "", "x" * 5_000, "constructor", "new_message"):
        connection.say(name, {})
        refused = connection.hear("error")
        assert refused["code"] == "unknown_command" and len(refused["message"]) < 200, name
    connection.socket.close()


def test_an_unknown_namespace_is_told(town):
    connection = signed_in(town, "/chat", town.person("Lea"))
    connection.socket.send(f'40/secret,{json.dumps({"token": "x"})}')
    packet = eventually(lambda: (packet := next_packet(connection.socket)).startswith("44") and packet, "an answer")
    assert packet == '44/secret,{"message":"Invalid namespace"}'
    connection.say("ping", {})
    connection.hear("pong")
    connection.socket.close()


def test_a_placeholder_without_its_attachment_ends_the_connection(town):
    lea, _, conversation_id = town.friends()
    for number in ("7", "-1", "1.5", '"0"', "1e30"):
        connection = signed_in(town, "/chat", lea)
        send_attached(connection, conversation_id, number)
        assert connection.ends() == 1002, number
    assert lea.get(f"conversations/{conversation_id}/messages")["messages"] == []


def send_attached(connection, conversation_id, number):
    """A message whose text is an attachment, of which there is one."""
    message = f'{{"conversation_id":"{conversation_id}","message":{{"_placeholder":true,"num":{number}}}}}'
    # The connection may end before the attachment.
    with contextlib.suppress(ConnectionClosed):
        connection.socket.send(f'451-/chat,["send_message",{message}]')
        connection.socket.send(b"attached")


def test_an_attachment_is_no_text(town):
    lea, _, conversation_id = town.friends()
    connection = signed_in(town, "/chat", lea)
    send_attached(connection, conversation_id, "0")
    assert connection.hear("error")["code"] == "invalid_value"
    assert lea.get(f"conversations/{conversation_id}/messages")["messages"] == []
    connection.socket.close()


@CARRIERS
def test_binary_where_text_belongs_ends_the_connection(town, carrier):
    connection = signed_in(town, carrier, town.person("Lea"))
    connection.socket.send(b"\x00\x01")
    assert connection.ends() == (1003 if carrier == "plain" else 1002)


# ---- Coming and going ----

def test_whoever_vanishes_while_coming_in_is_not_there(town):
    """The answer to `authenticate` finds nobody: no device stays behind, and others see nobody."""
    lea, paul, _ = town.friends()
    for carrier in ("plain", "/", "/chat") * 15:
        connection = open_carrier(town, carrier)
        connection.say("authenticate", {"token": lea.token})
        connection.socket.socket.close()
    for patience_ms in range(1, 41):
        vanish_while_polling(town, lea, patience_ms / 2000)

    def participant():
        return paul.get("conversations")["conversations"][0]["participant"]
    eventually(lambda: not participant()["is_online"] and sessions(town) == 0, "nobody is there any more")
    assert participant()["is_online"] is False


def vanish_while_polling(town, person, patience_s):
    """Goes away in the middle of a GET, while a POST says who it is."""
    polling = Polling(town.server.url, path=PATH)
    polling.say("40/chat,")
    assert polling.poll_until(1)[0].startswith("40/chat,")
    said = json.dumps(["authenticate", {"token": person.token}])
    with ThreadPoolExecutor(1) as executor:
        executor.submit(polling.post, f"42/chat,{said}")
        with contextlib.suppress(requests.ReadTimeout):
            polling.get(timeout=(WAIT_S, patience_s))
    # If the answer came in time, it goes now.
    polling.post("1")


def sessions(town):
    lines = town.server.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("relais_sessions "))


@pytest.mark.parametrize("how", ["plain", "auth object", "event"])
def test_a_conversation_that_begins_while_one_comes_in_is_heard(town, how):
    lea = town.person("Lea")
    for _ in range(8):
        paul = town.person("Paul")
        asked = lea.post("invitations", {"to_user_id": paul.id})["invitation_id"]
        with ThreadPoolExecutor(1) as executor:
            accepting = executor.submit(paul.put, f"invitations/{asked}/respond", {"action": "accept"})
            if how == "auth object":
                of_lea = SocketIo(town, "/chat", auth={"token": lea.token})
                of_lea.hear("authenticated")
            else:
                of_lea = signed_in(town, "plain" if how == "plain" else "/chat", lea)
            conversation_id = accepting.result()["conversation_id"]
        paul.write(conversation_id, "es-tu là ?")
        told = of_lea.hear("new_message")
        assert (told["conversation_id"], told["message"]["content"]) == (conversation_id, "es-tu là ?")
        of_lea.socket.close()


@pytest.mark.parametrize("how", ["plain", "auth object", "event"])
def test_whoever_is_taken_out_while_coming_in_hears_nothing(town, how):
    lea, zoe, theirs = town.friends()
    for _ in range(12):
        group_id = lea.post("groups", {"name": "Chantier"})["group_id"]
        asked = lea.post(f"groups/{group_id}/invite", {"to_user_id": zoe.id})["invitation_id"]
        zoe.put(f"group-invitations/{asked}/respond", {"action": "accept"})
        with ThreadPoolExecutor(1) as executor:
            out = executor.submit(lea.call, "DELETE", f"groups/{group_id}/members/{zoe.id}")
            if how == "auth object":
                of_zoe = SocketIo(town, "/chat", auth={"token": zoe.token})
                of_zoe.hear("authenticated")
            else:
                of_zoe = signed_in(town, "plain" if how == "plain" else "/chat", zoe)
            assert out.result().ok
        lea.write(group_id, "entre nous")
        lea.write(theirs, "à toi")
        assert of_zoe.hear("new_message")["message"]["content"] == "à toi"
        of_zoe.socket.close()
