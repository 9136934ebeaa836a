"""One story, told by every real client of the chat: people sign in, meet, talk, lose the network and come back, and
nothing is missing, nothing comes twice, everything is in order."""

import shutil
import threading
from pathlib import Path

import pytest

from bare_engineio import Cable
from chat import NodeClient, PageClient, PlainClient, PythonClient, SeedClient, node_modules
from origin import serving
from process import eventually
from town import Town

KINDS = {
    "python": (PythonClient,),
    "python websocket": (PythonClient, ["websocket"]),
    "python polling": (PythonClient, ["polling"]),
    "the seed's python": (SeedClient,),
    "javascript websocket, auth": (NodeClient, ["websocket"], "auth"),
    "javascript polling, auth": (NodeClient, ["polling"], "auth"),
    "javascript upgrade, auth": (NodeClient, ["polling", "websocket"], "auth"),
    "javascript websocket, event": (NodeClient, ["websocket"], "event"),
    "javascript polling, event": (NodeClient, ["polling"], "event"),
    "javascript upgrade, event": (NodeClient, ["polling", "websocket"], "event"),
    "plain websocket": (PlainClient,),
}


def library():
    """`socket.io-client` as pages load it."""
    return Path(node_modules()) / "socket.io-client/dist/socket.io.min.js"


@pytest.fixture
def town(make_server):
    # A library that did not notice that its network is gone waits for the next ping, and some seconds longer.
    town = Town(make_server, RELAIS_HUB_PING_INTERVAL_S="3", RELAIS_HUB_IDLE_TIMEOUT_S="6")
    yield town
    town.close()


@pytest.fixture
def cable(town):
    with Cable(town.server.url) as cable:
        yield cable
        # Clients go while there is a network to go by.
        town.close()
        town.clients = []


def lose_cable(town, cable, meanwhile):
    cable.cut()
    meanwhile()
    cable.mend()


def lose_server(town, cable, meanwhile):
    meanwhile()
    town.server.kill9()
    town.server.start()


@pytest.mark.parametrize("lose", [lose_cable, lose_server], ids=["cut cable", "killed server"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_client_lives_the_same_story(town, cable, kind, lose):
    lea, paul = town.person("Lea"), town.person("Paul")
    of_lea = town.client(KINDS[kind][0], lea, cable.url, *KINDS[kind][1:]).is_in()
    other = NodeClient if kind == "plain websocket" else PlainClient
    of_paul = town.client(other, paul, town.server.url, *((["websocket"], "auth") if other is NodeClient else ()))
    tell_story(town, cable, (lea, of_lea), (paul, of_paul.is_in()), lose)
    if "upgrade" in kind:
        of_lea.hear("upgrade")
    if "auth" in kind:
        first, *later = [connected["recovered"] for connected in of_lea.all("connect")]
        assert not first and later and all(later)


@pytest.fixture
def page(tmp_path):
    """The address of a page of another origin that has the library; what it is allowed is up to the server."""
    folder = tmp_path / "page"
    folder.mkdir()
    shutil.copy(library(), folder)
    (folder / "page.html").write_text('<!doctype html><title>Chat</title><script src="socket.io.min.js"></script>')
    with serving(folder) as origin:
        yield f"{origin}/page.html"


@pytest.mark.parametrize("lose", [lose_cable, lose_server], ids=["cut cable", "killed server"])
def test_a_page_of_an_allowed_origin_lives_it_too(make_server, browser, page, lose):
    town = Town(make_server, ALLOWED_ORIGINS=page.removesuffix("/page.html"))
    with Cable(town.server.url) as cable:
        lea, paul = town.person("Lea"), town.person("Paul")
        browser.get(page)
        of_lea = town.client(PageClient, lea, cable.url, browser, True).is_in()
        of_paul = town.client(PythonClient, paul, town.server.url).is_in()
        tell_story(town, cable, (lea, of_lea), (paul, of_paul), lose)
        assert browser.execute_script("return chat.io.engine.transport.name") == "websocket"
        town.close()


def test_a_page_of_the_server_is_known_by_its_session(town, cable, browser):
    lea, paul = town.person("Lea"), town.person("Paul")
    browser.get(f"{cable.url}/")
    browser.execute_script(library().read_text())
    of_lea = town.client(PageClient, lea, cable.url, browser, False).is_in()
    of_paul = town.client(NodeClient, paul, town.server.url, ["polling", "websocket"], "event").is_in()
    tell_story(town, cable, (lea, of_lea), (paul, of_paul), lose_cable)


def test_a_page_of_another_origin_gets_nowhere(town, browser, page):
    lea = town.person("Lea")
    browser.get(page)
    for transport in ("polling", "websocket"):
        refused = browser.execute_async_script("""
            const [url, transport, token, done] = arguments;
            const chat = io(`${url}/chat`, { transports: [transport], auth: { token }, forceNew: true });
            chat.on("connect", () => done("connected"));
            chat.on("connect_error", (error) => { chat.close(); done(error.message); });
            """, town.server.url, transport, lea.token)
        assert refused in ("xhr poll error", "websocket error")
    town.still_serves()


def tell_story(town, cable, one, other, lose):
    (lea, of_lea), (paul, of_paul) = one, other
    assert of_lea.hear("authenticated")["user_id"] == lea.id
    conversation_id = meet(one, other)
    said = talk(of_lea, of_paul, conversation_id)

    # Lea is away, and comes back once.
    came = len(of_lea.all("authenticated"))
    missed = [f"pendant l'absence {number}" for number in range(15)]

    def meanwhile():
        for number, text in enumerate(missed):
            of_paul.send(conversation_id, text) if number % 2 else paul.write(conversation_id, text)

    lose(town, cable, meanwhile)
    of_lea.hear("authenticated", came + 1)
    of_paul.send(conversation_id, "te revoilà")
    expected = said["paul"] + missed + ["te revoilà"]
    assert_told(of_lea, expected)

    # The network comes and goes while both are talking.
    late = {"lea": [f"vite {number}" for number in range(12)], "paul": [f"hop {number}" for number in range(12)]}
    speaker = threading.Thread(target=lambda: [of_paul.send(conversation_id, text) for text in late["paul"]])
    speaker.start()
    for number, text in enumerate(late["lea"]):
        if number % 4 == 1:
            cable.cut()
            cable.mend()
        of_lea.send(conversation_id, text)
    speaker.join()
    assert_told(of_lea, expected + late["paul"])
    assert_told(of_paul, said["lea"] + late["lea"])
    assert_shown(lea, paul, conversation_id, expected + late["paul"], said["lea"] + late["lea"])
    read(one, other, conversation_id)


def meet(one, other):
    (lea, of_lea), (paul, of_paul) = one, other
    asked = lea.post("invitations", {"toUserId": paul.id, "message": "Bonjour Paul"})
    invitation = of_paul.hear("new_invitation")["invitation"]
    assert (invitation["id"], invitation["message"]) == (asked["invitation_id"], "Bonjour Paul")
    assert (invitation["from_user"]["id"], invitation["from_user"]["firstname"]) == (lea.id, "Lea")
    assert [waiting["id"] for waiting in paul.get("invitations")["invitations"]] == [invitation["id"]]
    begun = paul.put(f"invitations/{invitation['id']}/respond", {"action": "accept"})
    told = of_lea.hear("invitation_accepted")
    assert (told["conversation_id"], told["participant_id"]) == (begun["conversation_id"], paul.id)
    return begun["conversation_id"]


def talk(of_lea, of_paul, conversation_id):
    """Both speak; what each said, in order."""
    said = {"lea": ["Salut Paul ! 😀"], "paul": ["Bonjour Léa"]}
    # The seed's clients join, and name a sender: the sender is who is signed in all the same.
    of_lea.say("join_conversation", {"conversation_id": conversation_id})
    assert of_lea.hear("joined_conversation")["conversation_id"] == conversation_id
    answer = of_lea.send(conversation_id, said["lea"][0], sender_id=of_paul.person.id)
    assert answer["message"]["sender_id"] == of_lea.person.id and answer["offset"] > 0
    told = of_paul.hear("new_message")["message"]
    assert (told["id"], told["sender_id"]) == (answer["message"]["id"], of_lea.person.id)
    of_paul.send(conversation_id, said["paul"][0])
    for number in range(5):
        for name, client in (("lea", of_lea), ("paul", of_paul)):
            said[name].append(f"{name} {number}")
            client.send(conversation_id, said[name][-1])
    of_paul.say("typing", {"conversation_id": conversation_id, "is_typing": True})
    assert of_lea.hear("user_typing")["username"] == "Paul Martin"
    assert_told(of_lea, said["paul"])
    assert_told(of_paul, said["lea"])
    return said


def assert_told(client, expected):
    """Exactly these messages, each once and in this order."""
    eventually(lambda: len(client.messages()) >= len(expected), f"{len(expected)} messages, not {client.messages()}")
    assert client.messages() == expected


def assert_shown(lea, paul, conversation_id, of_paul, of_lea):
    """Both see the same messages by HTTP, under both addresses, and they are those that were told."""
    path = f"conversations/{conversation_id}/messages?limit=100"
    shown = lea.get(path)["messages"]
    assert shown == paul.get(path)["messages"] == lea.get(path, base="/api/chat")["messages"]
    assert [message["content"] for message in shown if message["sender_id"] == paul.id] == of_paul
    assert [message["content"] for message in shown if message["sender_id"] == lea.id] == of_lea
    assert [message["number"] for message in shown] == list(range(1, len(shown) + 1))
    conversations = lea.get("conversations")["conversations"]
    assert [found["id"] for found in conversations] == [conversation_id]
    assert conversations[0]["participant"]["id"] == paul.id and conversations[0]["participant"]["is_online"]
    assert conversations[0]["last_message"]["content"] == shown[-1]["content"]


def read(one, other, conversation_id):
    (lea, _), (_, of_paul) = one, other
    unread = lea.get("conversations")["conversations"][0]["unread_count"]
    assert unread > 0
    path = f"conversations/{conversation_id}/mark-read"
    assert lea.post(path, {}, base="/api/chat")["marked_read"] == unread
    told = eventually(lambda: [read for read in of_paul.all("messages_read") if read["user_id"] == lea.id], "it is told")
    assert told[-1]["conversation_id"] == conversation_id
    assert lea.get("conversations")["conversations"][0]["unread_count"] == 0


@pytest.mark.parametrize("kind", ["python", "javascript websocket, auth", "plain websocket"])
def test_who_left_while_the_server_was_dead_is_not_there_any_more(town, cable, kind):
    """The server is killed; one comes back, the other does not. The first is told so, and since when."""
    lea, paul, _ = town.friends()
    of_lea = town.client(KINDS[kind][0], lea, cable.url, *KINDS[kind][1:]).is_in()
    with Cable(town.server.url) as own:
        town.client(PythonClient, paul, own.url, ["websocket"]).is_in()

        def told(is_online):
            states = [told for told in of_lea.all("user_presence") if told["user_id"] == paul.id]
            return states[-1] if states and states[-1]["is_online"] is is_online else None
        eventually(lambda: told(True), "Paul is there")
        own.cut()
        town.server.kill9()
        town.server.start()
        gone = eventually(lambda: told(False), "Paul is not there any more")
        assert gone["last_seen"]
        [conversation] = lea.get("conversations")["conversations"]
        assert conversation["participant"]["last_seen"] == gone["last_seen"]
        own.mend()
        eventually(lambda: told(True), "Paul is there again")
