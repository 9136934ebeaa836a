"""`kill -9` in a loop under load: what was acknowledged is there and whole, and listeners miss nothing."""

import hashlib
import json
import random
import threading

import pytest
import requests
from websockets.exceptions import WebSocketException

from listeners import SocketListener, StreamListener, changes
from process import eventually

KILLS = 110
WRITERS = 4
SOCIETES = ("rsp-bgs", "rsp-neg", "rsp-sb")
# Below and above the size up to which contents travel inside the database.
SIZES = (200, 10_000, 150_000)


class Writer(threading.Thread):
    """Uploads and deletes files that no other writer touches, and notes what it was promised."""

    def __init__(self, server, number):
        super().__init__(name=f"writer-{number}", daemon=True)
        self.server = server
        self.random = random.Random(number)
        self.files = {(societe, f"comptes_{number}_{size}.json"): [None] for societe in SOCIETES for size in SIZES}
        self.acknowledged = dict.fromkeys(self.files, 0)
        self.told = []
        self.open, self.quiet, self.over = threading.Event(), threading.Event(), False

    def run(self):
        session = requests.Session()
        while not self.over:
            self.quiet.set()
            self.open.wait()
            self.quiet.clear()
            while self.open.is_set():
                try:
                    self.change(session)
                except requests.RequestException:
                    # The server was killed within this request: whether it counted is open.
                    self.open.clear()
            session.close()

    def change(self, session):
        societe, filename = key = self.random.choice(list(self.files))
        attempts = self.files[key]
        if self.random.random() < 0.1 and attempts[-1] is not None:
            attempts.append(None)
            reply = session.delete(f"{self.server.url}/api/files/delete/{societe}/{filename}", timeout=60)
            # Not found: an earlier deletion counted although its answer was lost.
            assert reply.status_code in (200, 404), reply.text
        else:
            size = int(filename.rsplit("_", 1)[1].removesuffix(".json"))
            content = json.dumps({"n": self.random.getrandbits(64), "texte": "é" * (size // 6)}).encode()
            attempts.append(hashlib.sha256(content).hexdigest())
            reply = session.post(f"{self.server.url}/api/files/upload/{societe}", timeout=60,
                                 files={"file": (filename, content)})
            assert reply.status_code == 200, reply.text
            assert reply.json()["sha256"] == attempts[-1] and reply.json()["changed"]
        self.acknowledged[key] = len(attempts) - 1
        if reply.status_code == 200:
            self.told.append((societe, filename, reply.json()["offset"]))

    def pause(self):
        self.open.clear()
        assert self.quiet.wait(60), f"{self.name} does not come to rest"

    def check(self):
        """Every file is what was last acknowledged, or a later attempt whose answer was lost."""
        for (societe, filename), attempts in self.files.items():
            reply = self.server.download(societe, filename)
            assert reply.status_code in (200, 404), reply.text
            found = hashlib.sha256(reply.content).hexdigest() if reply.ok else None
            place = self.acknowledged[societe, filename]
            assert found in attempts[place:], f"{societe}/{filename}: {found} is not among {attempts[place:]}"
            path = self.server.files / societe / filename
            on_disk = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
            assert on_disk == found, f"{path} differs from what is served"
            if reply.ok:
                json.loads(path.read_bytes())
            # What was open is now decided.
            self.files[societe, filename] = [found]
            self.acknowledged[societe, filename] = 0


class Follower(threading.Thread):
    """Listens, and returns with its cursor whenever the connection is lost."""

    def __init__(self, server, kind):
        super().__init__(name=kind.__name__, daemon=True)
        self.server, self.kind = server, kind
        self.frames, self.connections, self.fault = [], 0, None
        self.over = threading.Event()
        # The first place is known before anything happens.
        with kind(server) as listener:
            self.cursor = listener.welcome["cursor"]

    def run(self):
        while not self.over.is_set():
            try:
                with self.kind(self.server, since=self.cursor) as listener:
                    assert listener.welcome["recovered"] is True, listener.welcome
                    self.connections += 1
                    while True:
                        frame = listener.frame()
                        self.frames.append(frame)
                        self.cursor = frame["cursor"]
            except (OSError, EOFError, WebSocketException, requests.RequestException):
                # The server is gone; it comes back.
                self.over.wait(0.005)
            except AssertionError as fault:
                self.fault = fault
                return


@pytest.fixture
def writers(server):
    writers = [Writer(server, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    yield writers
    for writer in writers:
        writer.over = True
        writer.open.set()


@pytest.fixture
def followers(server):
    followers = [Follower(server, kind) for kind in (SocketListener, StreamListener)]
    for follower in followers:
        follower.start()
    yield followers
    for follower in followers:
        follower.over.set()


def test_what_was_acknowledged_survives_kill_9(server, writers, followers):
    chance = random.Random(9)
    for _ in range(KILLS):
        told = sum(len(writer.told) for writer in writers)
        for writer in writers:
            writer.open.set()
        # Killed in the midst of it: after some acknowledged changes, and a moment that differs each time.
        wanted = told + chance.randint(1, 40)
        eventually(lambda: sum(len(writer.told) for writer in writers) >= wanted, "the writers are answered")
        assert all(writer.open.is_set() for writer in writers), "an answer was lost although the server ran"
        server.kill9()
        for writer in writers:
            writer.pause()
        server.start()
        for writer in writers:
            writer.check()
    assert_heard(server, writers, followers)
    assert_nothing_else_lies_about(server, writers)


def assert_heard(server, writers, followers):
    """Every follower heard every change once, in order, and so did the change feed."""
    feed, cursor = changes(server)
    for follower in followers:
        eventually(lambda: follower.cursor == cursor or follower.fault, f"{follower.name} has caught up", 60)
        assert follower.fault is None, follower.fault
        assert follower.connections >= KILLS // 2
        assert follower.frames == feed
    heard = {(frame["societe"], frame["filename"], frame["offset"]) for frame in feed}
    for writer in writers:
        assert set(writer.told) <= heard
    for societe in SOCIETES:
        offsets = [frame["offset"] for frame in feed if frame["societe"] == societe]
        assert offsets == list(range(1, len(offsets) + 1))
    assert len(feed) >= KILLS


def assert_nothing_else_lies_about(server, writers):
    """No remains of interrupted writes: what is on the disk is what is listed."""
    listed = {f"{societe}/{entry['filename']}" for societe in SOCIETES
              for entry in server.get(f"/api/files/societe/{societe}/files").json()["files"]}
    # Hidden: the folder's id, and the staging folder, where replaced files wait to be used again.
    there = {str(path.relative_to(server.files)) for path in server.files.rglob("*")
             if path.is_file() and not path.relative_to(server.files).parts[0].startswith(".relais-")}
    assert there == listed
    known = {f"{societe}/{filename}" for writer in writers for societe, filename in writer.files}
    assert listed <= known


def test_a_kill_within_one_large_upload_leaves_the_old_file(server):
    """The connection is cut at every stage of one upload."""
    server.put("rsp-bgs", "comptes.json", "[0]")
    accepted = {hashlib.sha256(b"[0]").hexdigest()}
    for turn in range(10):
        content = json.dumps([turn, "x" * 2_000_000]).encode()
        thread = threading.Thread(target=lambda: attempt(server, content))
        accepted.add(hashlib.sha256(content).hexdigest())
        thread.start()
        thread.join(0.004 * turn)
        server.kill9()
        thread.join()
        server.start()
        found = server.download("rsp-bgs", "comptes.json").content
        assert hashlib.sha256(found).hexdigest() in accepted
        assert (server.files / "rsp-bgs/comptes.json").read_bytes() == found


def attempt(server, content):
    try:
        server.upload("rsp-bgs", "comptes.json", content)
    except requests.RequestException:
        # The server was killed within the request.
        return
