"""Durable messages of the chat on SQLite: 64 senders, whose messages share commits, beside one, whose do not."""

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path

from harness import Peer, Running, Table, checked
from relay import RELAIS, verify  # noqa: F401  (what `run` asks of a suite)

MARKS = ("<!-- chat: begin, written by `make bench` -->", "<!-- chat: end -->")
PEOPLE = 64
PASSWORD = "correct horse battery"


def relais(*arguments, given=None):
    command = [str(RELAIS), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def call(address, token, method, path, body):
    request = urllib.request.Request(
        f"http://{address}/api/chat/{path}",
        method=method,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


def make_people(folder):
    """Accounts of 64 people, each with a token."""
    people = []
    data = ["--data", str(folder / "data")]
    for number in range(PEOPLE):
        email = f"person-{number}@relais.test"
        names = ["--first-name", f"Person{number}", "--last-name", "Martin"]
        options = ["--email", email, "--password-stdin", *names]
        user = relais(*data, "user", "add", *options, given=PASSWORD)
        people.append((user, relais(*data, "token", "--email", email)))
    return people


def befriend(address, people):
    """The conversation of each two: a line for each person with a token and the conversation."""
    lines = []
    for (_, one), (other_id, other) in zip(people[::2], people[1::2], strict=True):
        invited = call(address, one, "POST", "invitations", {"to_user_id": other_id})
        path = f"invitations/{invited['invitation_id']}/respond"
        conversation = call(address, other, "PUT", path, {"action": "accept"})["conversation_id"]
        lines += [f"{one} {conversation}", f"{other} {conversation}"]
    return lines


class ChatPeer(Peer):
    """A server with people in it, made once and copied for each run."""

    def __init__(self):
        # One sender alone sends faster than people do.
        pace = {"RELAIS_HUB_MESSAGES_PER_S": "1000000"}
        super().__init__("relais", self.serve, environment=lambda folder: pace, prepare=self.people)
        self.made = None

    def serve(self, folder, address):
        return [str(RELAIS), "serve", "--listen", address, "--data", str(folder / "data")]

    def people(self, folder, address):
        if self.made is None:
            self.made = folder.parent / "chat"
            self.made.mkdir()
            people = make_people(self.made)
            plain = Peer("relais", lambda _, listen: self.serve(self.made, listen))
            with Running(plain, folder.parent) as server:
                (self.made / "people").write_text("\n".join(befriend(server.address, people)))
        shutil.copytree(self.made, folder, dirs_exist_ok=True)


def peers():
    server = ChatPeer()
    return {"many": server, "one": server}


def scenarios(quick):
    """Each scenario with its servers and the options of its measurement."""
    seconds = 2 if quick else 6

    def options(name):
        return ["--people", "people", "--senders", PEOPLE if name == "many" else 1, "--seconds", seconds]

    return {"chat": ("chat", ["many", "one"], options)}


ROWS = [
    ("messages acknowledged after their commit, per second", "chat", "per_wall_s", ",.0f"),
    ("messages, per server CPU-second", "chat", "per_cpu_s", ",.0f"),
    ("from sending to acknowledgement, p50, ms", "chat", "p50_ms", ",.1f"),
    ("from sending to acknowledgement, p99, ms", "chat", "p99_ms", ",.1f"),
]
COLUMNS = [("many", "64 senders, shared commits"), ("one", "1 sender, a commit for each message")]
TABLES = [Table(COLUMNS, "one", ROWS, ours="many")]


def goals(figures):
    """What is aimed at, what was measured, and whether that is reached."""
    many, one = (figures.of("chat", name, "per_wall_s") for name in ("many", "one"))
    return checked([
        ("durable chat messages per second ≥ 5,000", many, 5_000, True),
        ("durable chat messages ≥ 10 × one commit for each", many / one if many and one else None, 10, True),
    ])
