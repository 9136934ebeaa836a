"""The chat's real clients, behind one face: Python and JavaScript for Socket.IO, a plain WebSocket, a page in a
browser. Each keeps what it hears, comes back by itself when the network was lost, and goes on where it was."""

import json
import os
import queue
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest
import socketio
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from process import eventually

WAIT_S = 20
HERE = Path(__file__).parent
EVENTS = ("authenticated", "error", "new_message", "new_invitation", "invitation_accepted", "messages_read",
          "user_typing", "user_presence", "joined_conversation", "message_sent")


def node_modules():
    """The folder of the pinned packages."""
    return os.environ.get("RELAIS_NODE_MODULES") or pytest.fail(
        "RELAIS_NODE_MODULES is not set; run the tests with scripts/test clients")


class Client:
    """What all of them have in common."""

    def __init__(self, person, url):
        self.person, self.url = person, url
        self.heard = []

    def keep(self, name, fields):
        self.heard.append((name, fields))

    def all(self, name):
        """The fields of every event of that name, in the order in which they came."""
        return [fields for heard, fields in list(self.heard) if heard == name]

    def hear(self, name, count=1):
        """Waits for the event of that name that is number `count`."""
        try:
            return eventually(lambda: self.all(name)[count - 1:count], f"{name} for {type(self).__name__}", WAIT_S)[0]
        except AssertionError as late:
            raise AssertionError(f"{late}; it heard {[heard for heard, _ in self.heard]}") from late

    def messages(self):
        """The texts of the messages that it was told, in the order in which it was told them."""
        return [fields["message"]["content"] for fields in self.all("new_message")]

    def is_in(self):
        """Waits until the server has let it in once."""
        self.hear("authenticated")
        return self

    def send(self, conversation_id, content, **more):
        """Says something until it is acknowledged, under one name of its own; returns the answer."""
        fields = {"conversation_id": conversation_id, "message": {"content": content, "client_id": str(uuid.uuid4())}}

        def acknowledged():
            answer = self.ask("send_message", fields | more)
            return answer if answer and answer.get("success") else None
        return eventually(acknowledged, f"{content!r} is acknowledged", WAIT_S)


# ---- Socket.IO for Python ----

class PythonClient(Client):
    """`python-socketio`, as the chat's document has it: it connects without a credential, sends `authenticate`, and
    its handlers take one argument. It names the last cursor that it saw when it authenticates again."""

    remembers = True

    def __init__(self, person, url, transports=None):
        super().__init__(person, url)
        self.cursor = None
        self.client = socketio.Client(reconnection_delay=0.02, reconnection_delay_max=0.1)
        self.client.on("connect", self.connected)
        for name in EVENTS:
            self.client.on(name, self.handler(name))
        self.client.connect(url, transports=transports, wait_timeout=WAIT_S)

    def connected(self):
        since = {"since": self.cursor} if self.remembers and self.cursor else {}
        self.client.emit("authenticate", {"token": self.person.token} | since)

    def handler(self, name):
        def handle(data):
            self.cursor = data.get("cursor", self.cursor)
            self.take(name, data)
        return handle

    def take(self, name, data):
        self.keep(name, data)

    def say(self, name, fields):
        self.client.emit(name, fields)

    def ask(self, name, fields):
        try:
            return self.client.call(name, fields, timeout=2)
        except socketio.exceptions.SocketIOError:
            return None

    def close(self):
        self.client.shutdown()


class SeedClient(PythonClient):
    """The same without a cursor, as clients are that know nothing of Relais: when it is let in again it reads the
    messages that it lacks by HTTP, and knows each by its id."""

    remembers = False

    def __init__(self, person, url, transports=None):
        self.known, self.last = set(), {}
        super().__init__(person, url, transports)

    def take(self, name, data):
        if name == "new_message":
            return self.take_message(data["message"])
        self.keep(name, data)
        if name == "authenticated":
            for conversation_id in list(self.last):
                self.catch_up(conversation_id)

    def catch_up(self, conversation_id):
        path = f"conversations/{conversation_id}/messages?limit=100&after={self.last[conversation_id]}"
        for message in self.person.get(path)["messages"]:
            self.take_message(message)

    def take_message(self, message):
        if message["id"] in self.known or message["sender_id"] == self.person.id:
            return
        self.known.add(message["id"])
        self.last[message["conversation_id"]] = message["number"]
        self.keep("new_message", {"conversation_id": message["conversation_id"], "message": message})


# ---- Socket.IO for JavaScript ----

class ScriptedClient(Client):
    """`socket.io-client` in a script of `node/`, which takes commands and tells what it hears as lines of JSON."""

    def __init__(self, person, url, script, **options):
        super().__init__(person, url)
        self.answers = queue.Queue()
        self.process = subprocess.Popen(
            ["node", HERE / "node" / script, json.dumps({"url": url, **options})], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=os.environ | {"NODE_PATH": node_modules()})
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            told = json.loads(line)
            if "answer" in told:
                self.answers.put(told["answer"])
            else:
                self.keep(told["event"], told.get("data"))

    def command(self, *values):
        self.process.stdin.write(json.dumps(values) + "\n")
        self.process.stdin.flush()

    def say(self, name, fields):
        self.command("say", name, fields)

    def ask(self, name, fields=None):
        self.command("ask", name, fields)
        return self.answers.get(timeout=WAIT_S)

    def close(self):
        self.process.stdin.close()
        self.process.wait(WAIT_S)
        self.process.stdout.close()


class NodeClient(ScriptedClient):
    """In the namespace `/chat`. `how` it says who it is: with `auth` (and then it asks for recovery), or by the `event`
    (and then it goes on from the last cursor)."""

    def __init__(self, person, url, transports, how):
        super().__init__(person, url, "chat.cjs", transports=transports, how=how, token=person.token)


# ---- A plain WebSocket ----

class PlainClient(Client):
    """A client of `/ws/chat` on the `websockets` library."""

    def __init__(self, person, url):
        super().__init__(person, url)
        self.cursor, self.asked, self.answers, self.socket = None, 0, {}, None
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.closing.is_set():
            try:
                with connect(f"{self.url.replace('http', 'ws', 1)}/ws/chat", open_timeout=WAIT_S) as socket:
                    self.talk(socket)
            except (OSError, ConnectionClosed, InvalidHandshake, EOFError):
                # Not too often while the network is away.
                time.sleep(0.02)

    def talk(self, socket):
        since = {"since": self.cursor} if self.cursor else {}
        socket.send(json.dumps({"type": "authenticate", "token": self.person.token} | since))
        self.socket = socket
        for text in socket:
            frame = json.loads(text)
            self.cursor = frame.get("cursor", self.cursor)
            if isinstance(frame.get("id"), int):
                self.answers[frame["id"]] = frame
            self.keep(frame["type"], frame)

    def say(self, name, fields):
        self.socket.send(json.dumps({"type": name} | fields))

    def ask(self, name, fields):
        self.asked += 1
        number = self.asked
        try:
            self.say(name, fields | {"id": number})
            return eventually(lambda: self.answers.pop(number, None), "an answer", 2)
        except (AssertionError, AttributeError, OSError, ConnectionClosed):
            return None

    def close(self):
        self.closing.set()
        if self.socket:
            self.socket.close()
        self.thread.join(WAIT_S)


# ---- A page in a browser ----

class PageClient(Client):
    """`socket.io-client` in the page that the browser shows, which signs in by itself."""

    START = """
        const [url, email, password, withToken, done] = arguments;
        const body = JSON.stringify({ email, password });
        const headers = { "Content-Type": "application/json" };
        fetch(`${url}/api/connexion`, { method: "POST", headers, body }).then(async (reply) => {
          const { token } = await reply.json();
          window.heard = [];
          const auth = { recovery: true, ...(withToken && { token }) };
          window.chat = io(`${url}/chat`, { auth, reconnectionDelay: 20, reconnectionDelayMax: 100 });
          chat.onAny((name, fields) => heard.push([name, fields]));
          done("started");
        }, (error) => done(String(error)));
    """
    ASK = """
        const [name, fields, done] = arguments;
        chat.timeout(2000).emitWithAck(name, fields).then(done, () => done(null));
    """

    def __init__(self, person, url, browser, with_token):
        self.browser = browser
        super().__init__(person, url)
        browser.set_script_timeout(WAIT_S)
        started = browser.execute_async_script(self.START, url, person.email, person.password, with_token)
        assert started == "started", started

    @property
    def heard(self):
        return [tuple(event) for event in self.browser.execute_script("return window.heard || []")]

    @heard.setter
    def heard(self, _):
        """The page keeps it."""

    def say(self, name, fields):
        self.browser.execute_script("chat.emit(...arguments)", name, fields)

    def ask(self, name, fields):
        return self.browser.execute_async_script(self.ASK, name, fields)

    def close(self):
        """It goes with its browser."""
