"""Durable messages of the chat: 64 senders on SQLite and on PostgreSQL, whose messages share commits, beside one, whose do
not; and what a group costs, of ten members and of a thousand."""

import base64
import hashlib
import hmac
import json
import shutil
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from harness import Peer, Postgres, Running, Table, checked, clean_environment
from relay import RELAIS, verify  # noqa: F401  (what `run` asks of a suite)

MARKS = ("<!-- chat: begin, written by `make bench` -->", "<!-- chat: end -->")
PEOPLE = 64
PASSWORD = "correct horse battery"
# Members of groups have tokens of another backend: a thousand accounts would take minutes to make.
JWT_SECRET = "a secret of thirty-two bytes or more"
GROUPS = {"ten": 10, "thousand": 1_000}


def relais(*arguments, given=None, environment=None):
    command, environment = [str(RELAIS), *arguments], clean_environment() | (environment or {})
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()[-1]


def call(address, token, method, path, body, refused=False):
    request = urllib.request.Request(
        f"http://{address}/api/chat/{path}",
        method=method,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError:
        # Whoever calls has been here, also if there is nothing for them.
        if not refused:
            raise
        return None


def make_people(folder, environment):
    """Accounts of 64 people, each with a token."""
    people = []
    data = ["--data", str(folder / "data")]
    for number in range(PEOPLE):
        email = f"person-{number}@relais.test"
        names = ["--first-name", f"Person{number}", "--last-name", "Martin"]
        options = ["--email", email, "--password-stdin", *names]
        user = relais(*data, "user", "add", *options, given=PASSWORD, environment=environment)
        people.append((user, relais(*data, "token", "--email", email, environment=environment)))
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
    """A server with people in it, made once and copied for each run; on PostgreSQL if `postgres` is given."""

    def __init__(self, postgres=None):
        super().__init__("relais", self.serve, environment=self.settings, prepare=self.people)
        self.postgres = postgres
        self.made = None
        self.database_cpu_s = 0

    def serve(self, folder, address):
        return [str(RELAIS), "serve", "--listen", address, "--data", str(folder / "data")]

    def settings(self, folder):
        # One sender alone sends faster than people do.
        pace, database = {"RELAIS_HUB_MESSAGES_PER_S": "1000000"}, folder / "database"
        return pace | ({"RELAIS_DATABASE_URL": database.read_text()} if database.exists() else {})

    def people(self, folder, address):
        if self.made is None:
            self.made = folder.parent / f"chat-{'postgres' if self.postgres else 'sqlite'}"
            self.made.mkdir()
            if self.postgres:
                (self.made / "database").write_text(self.postgres.database("chat_made"))
            people = make_people(self.made, self.settings(self.made))
            plain = Peer("relais", self.serve, environment=self.settings)
            with Running(plain, folder.parent, self.made) as server:
                (self.made / "people").write_text("\n".join(befriend(server.address, people)))
        shutil.copytree(self.made, folder, dirs_exist_ok=True)
        if self.postgres:
            (folder / "database").write_text(self.postgres.database("chat", "chat_made"))
            self.database_cpu_s = self.postgres.cpu_s()

    def report(self, report):
        """The database's part; SQLite is in the server."""
        spent = self.postgres.cpu_s() - self.database_cpu_s if self.postgres else 0
        return {"per_whole_cpu_s": report["count"] / (report["cpu_s"] + spent)}


def token(number):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"user_id": f"member-{number:04}", "email": f"member-{number:04}@relais.test"}
    now = int(time.time())
    claims |= {"firstname": f"Member{number:04}", "lastname": "Martin", "iat": now, "exp": now + 86_400}
    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{head}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.digest(JWT_SECRET.encode(), signed.encode(), hashlib.sha256))}"


class GroupPeer(Peer):
    """A server with one group, made before it is measured: the owner invites everybody, who accepts."""

    def __init__(self, members):
        pace = {
            "RELAIS_HUB_MESSAGES_PER_S": "1000000",
            "RELAIS_JWT_SECRET": JWT_SECRET,
            "RELAIS_AUTH_MODE": "required",
            "RELAIS_HUB_SESSIONS_PER_ADDRESS_MAX": "0",
        }
        super().__init__("relais", self.serve, environment=lambda folder: pace, prepare=self.build)
        self.members = members
        self.event_bytes = None

    def serve(self, folder, address):
        return [str(RELAIS), "serve", "--listen", address, "--data", str(folder / "data")]

    def build(self, folder, address):
        plain = Peer("relais", lambda _, listen: self.serve(folder, listen), environment=self.environment)
        tokens = [token(number) for number in range(self.members)]
        with Running(plain, folder.parent) as server:
            group = call(server.address, tokens[0], "POST", "groups", {"name": "Everybody"})["group_id"]
            for number, guest in enumerate(tokens[1:], 1):
                call(server.address, guest, "POST", f"groups/{group}/mark-read", {}, refused=True)
                body = {"to_user_id": f"member-{number:04}"}
                invited = call(server.address, tokens[0], "POST", f"groups/{group}/invite", body)
                path = f"group-invitations/{invited['invitation_id']}/respond"
                call(server.address, guest, "PUT", path, {"action": "accept"})
        with sqlite3.connect(folder / "data/relais.db") as database:
            self.event_bytes = database.execute("SELECT SUM(LENGTH(data)) FROM events").fetchone()[0]
        (folder / "people").write_text("\n".join(f"{one} {group}" for one in tokens))

    def report(self, _):
        return {"event_mb": self.event_bytes / 1e6}


def peers():
    server, postgres = ChatPeer(), Postgres.start()
    servers = {"many": server, "one": server} | {name: GroupPeer(size) for name, size in GROUPS.items()}
    return servers | ({"postgres": ChatPeer(postgres)} if postgres else {})


def clear(servers):
    if "postgres" in servers:
        servers["postgres"].postgres.stop()


def scenarios(quick):
    """Each scenario with its servers and the options of its measurement."""
    seconds = 2 if quick else 6

    def options(name):
        return ["--people", "people", "--senders", 1 if name == "one" else PEOPLE, "--seconds", seconds]

    def of_group(name):
        return ["--people", "people", "--messages", 20 if quick else 200]

    return {"chat": ("chat", ["many", "one", "postgres"], options), "group": ("group", list(GROUPS), of_group)}


ROWS = [
    ("messages acknowledged after their commit, per second", "chat", "per_wall_s", ",.0f"),
    ("messages, per server CPU-second", "chat", "per_cpu_s", ",.0f"),
    ("the same with the database's processor time", "chat", "per_whole_cpu_s", ",.0f"),
    ("from sending to acknowledgement, p50, ms", "chat", "p50_ms", ",.1f"),
    ("from sending to acknowledgement, p99, ms", "chat", "p99_ms", ",.1f"),
]
COLUMNS = [
    ("many", "64 senders, shared commits"),
    ("one", "1 sender, a commit for each message"),
    ("postgres", "64 senders on PostgreSQL"),
]
GROUP_ROWS = [
    ("from sending until the last member has it, p50, ms", "group", "p50_ms", ",.2f"),
    ("from sending until the last member has it, p99, ms", "group", "p99_ms", ",.2f"),
    ("presence events told to one member while all connect, at most", "group", "presence_max", ",.0f"),
    ("events stored to build the group, MB", "group", "event_mb", ",.3f"),
]
GROUP_COLUMNS = [("thousand", "1,000 members"), ("ten", "10 members")]
TABLES = [
    Table(COLUMNS, "one", ROWS, ours="many"),
    Table(GROUP_COLUMNS, "ten", GROUP_ROWS, ours="thousand"),
]


def goals(figures):
    """What is aimed at, what was measured, and whether that is reached."""
    many, one, postgres = (figures.of("chat", name, "per_wall_s") for name in ("many", "one", "postgres"))
    slower = figures.ratio("group", "p50_ms", "ten", ours="thousand")
    return checked([
        ("a message reaches the last of 1,000 members in ≤ 20 × the time of 10", slower, 20, False),
        ("events stored to build a group of 1,000 ≤ 1 MB", figures.of("group", "thousand", "event_mb"), 1, False),
        ("durable chat messages per second ≥ 1.8 × 10,995", many, 1.8 * 10_995, True),
        ("durable chat messages per second on PostgreSQL ≥ 8,000", postgres, 8_000, True),
        ("durable chat messages ≥ 10 × one commit for each", many / one if many and one else None, 10, True),
    ])
