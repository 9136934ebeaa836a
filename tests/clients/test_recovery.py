"""Whoever was away learns on return: nothing missing, nothing twice."""

import threading

import pytest
import requests

from listeners import SocketListener, StreamListener, changes
from process import eventually, metric

LISTENERS = [SocketListener, StreamListener]


def change(server, count, start=0):
    """Uploads, deletions and synchronisations in two sociétés; returns how many events they make."""
    for number in range(start, start + count):
        server.put("rsp-bgs", f"comptes_{number}.json", f'{{"n": {number}}}')
        server.put("rsp-neg", "indicateurs.json", f"[{number}]")
        assert server.delete(f"/api/files/delete/rsp-bgs/comptes_{number}.json").ok
        assert server.post("/api/files/sync/rsp-neg").ok
    return 4 * count


def offsets(frames, societe):
    return [frame["offset"] for frame in frames if frame["societe"] == societe]


def assert_complete(frames, count):
    assert len(frames) == count
    for societe in ("rsp-bgs", "rsp-neg"):
        assert offsets(frames, societe) == list(range(1, count // 2 + 1))


@pytest.mark.parametrize("compression", [True, False])
def test_a_listener_whose_messages_are_compressed_hears_the_same(make_server, compression):
    server = make_server(RELAIS_HUB_COMPRESSION=str(compression))
    with SocketListener(server) as listener:
        agreed = [extension.name for extension in listener.socket.protocol.extensions]
        assert agreed == (["permessage-deflate"] if compression else [])
        assert_complete([listener.frame() for _ in range(change(server, 3))], 12)


@pytest.mark.parametrize("kind", LISTENERS)
@pytest.mark.parametrize("stop", ["restart", "kill9"])
def test_a_listener_resumes_over_a_restart(server, kind, stop):
    listener = kind(server)
    count = change(server, 3)
    frames = [listener.frame() for _ in range(count)]
    listener.close()
    # Half happens while the listener is away, before and after the restart.
    count += change(server, 3, 3)
    if stop == "restart":
        server.restart()
    else:
        server.kill9()
        server.start()
    count += change(server, 3, 6)
    with kind(server, since=listener.cursor) as returned:
        assert returned.welcome["recovered"] is True
        frames += [returned.frame() for _ in range(24)]
        count += change(server, 1, 9)
        frames += [returned.frame() for _ in range(4)]
    assert_complete(frames, count)
    assert frames == changes(server)[0]


@pytest.mark.parametrize("kind", LISTENERS)
def test_a_listener_that_reconnects_again_and_again_misses_nothing(server, kind):
    """A listener leaves after every few frames while another thread makes changes."""
    with kind(server) as first:
        cursor = first.welcome["cursor"]
    writer = threading.Thread(target=change, args=(server, 25))
    writer.start()
    frames = []
    while len(frames) < 100:
        with kind(server, since=cursor) as listener:
            assert listener.welcome["recovered"] is True
            frames += [listener.frame() for _ in range(min(7, 100 - len(frames)))]
            cursor = listener.cursor
    writer.join()
    assert_complete(frames, 100)


def test_the_change_feed_continues_over_a_restart(server):
    count = change(server, 5)
    frames, cursor = changes(server, limit=3)
    assert changes(server, since=cursor) == ([], cursor)
    server.restart()
    count += change(server, 5, 5)
    later, cursor = changes(server, since=cursor, limit=3)
    assert_complete(frames + later, count)
    assert changes(server, since=cursor)[0] == []


def test_the_change_feed_of_one_societe(server):
    change(server, 3)
    found, _ = changes(server, path="/api/files/societe/rsp-neg/changes")
    assert offsets(found, "rsp-neg") == [1, 2, 3, 4, 5, 6] == [frame["offset"] for frame in found]


def test_a_listing_and_the_changes_since_are_the_next_listing(server):
    change(server, 2)
    server.put("rsp-bgs", "a.json", "[1]")
    snapshot = server.get("/api/files/societe/rsp-bgs/files").json()
    server.put("rsp-bgs", "a.json", "[2]")
    server.put("rsp-bgs", "b.json", "[3]")
    server.delete("/api/files/delete/rsp-bgs/b.json")
    server.put("rsp-bgs", "c.json", "[4]")
    known = {entry["filename"]: entry["sha256"] for entry in snapshot["files"]}
    for frame in changes(server, since=snapshot["cursor"])[0]:
        if frame["type"] == "file_deleted":
            known.pop(frame["filename"], None)
        elif frame["type"] == "file_uploaded":
            known[frame["filename"]] = frame["sha256"]
    listed = server.get("/api/files/societe/rsp-bgs/files").json()["files"]
    assert known == {entry["filename"]: entry["sha256"] for entry in listed}


def test_the_change_feed_waits_until_something_happens(server):
    cursor = changes(server)[1]
    waiting = {}

    def wait():
        waiting["page"] = server.get("/api/files/changes", params={"since": cursor, "wait": 30}).json()

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: metric(server, "relais_polls_waiting") == 1, "the request waits")
    server.put("rsp-bgs", "a.json", "[1]")
    thread.join(20)
    assert [frame["filename"] for frame in waiting["page"]["changes"]] == ["a.json"]


def test_the_three_ways_tell_the_same(server):
    with SocketListener(server) as socket, StreamListener(server) as stream:
        count = change(server, 2)
        told = [socket.frame() for _ in range(count)]
        assert told == [stream.frame() for _ in range(count)] == changes(server)[0]


@pytest.mark.parametrize("kind", LISTENERS)
def test_only_the_societes_asked_for(server, kind):
    with kind(server, societes=["rsp-neg", "rsp-sb"]) as listener:
        change(server, 2)
        server.put("rsp-sb", "a.json", "[1]")
        frames = [listener.frame() for _ in range(5)]
    assert [frame["societe"] for frame in frames] == ["rsp-neg"] * 4 + ["rsp-sb"]
    with kind(server, societes=["rsp-neg"], since=frames[0]["cursor"]) as listener:
        assert [listener.frame()["offset"] for _ in range(3)] == [2, 3, 4]


# ---- Cursors that cannot be continued ----


def assert_lost(server, cursor):
    """Every way to listen says that the files have to be listed again, and goes on from now."""
    for kind in LISTENERS:
        with kind(server, since=cursor) as listener:
            assert listener.welcome["recovered"] is False
            reply = server.put("rsp-bgs", "next.json", f'"{kind.__name__} {cursor}"')
            assert listener.frame()["cursor"] == reply["cursor"]
    gone = server.get("/api/files/changes", params={"since": cursor})
    assert (gone.status_code, gone.json()["code"]) == (410, "cursor_expired")
    assert "relisez la liste" in gone.json()["detail"]
    assert changes(server, since=gone.json()["cursor"])[0] == []


def test_a_cursor_of_another_server_is_not_continued(make_server):
    ours, theirs = make_server(), make_server()
    change(ours, 1)
    change(theirs, 1)
    assert_lost(ours, changes(theirs)[1])


def test_a_cursor_of_the_future_is_not_continued(server):
    change(server, 1)
    epoch, _, seq = changes(server)[1].partition("-")
    assert_lost(server, f"{epoch}-{int(seq) + 1_000_000}")


def test_a_cursor_that_is_too_old_is_not_continued(make_server):
    server = make_server(RELAIS_DATABASE_EVENTS_DAYS="0")
    first = server.put("rsp-bgs", "a.json", "[1]")["cursor"]
    with requests.Session() as session:
        for _ in range(1100):
            assert session.post(f"{server.url}/api/files/sync/rsp-bgs", timeout=60).ok
    latest = server.put("rsp-bgs", "a.json", "[2]")["cursor"]
    server.restart()
    for kind in LISTENERS:
        with kind(server, since=latest) as listener:
            assert listener.welcome["recovered"] is True
    assert_lost(server, first)


@pytest.mark.parametrize("kind", LISTENERS)
def test_a_listener_that_missed_too_much_lists_again(make_server, kind):
    server = make_server(RELAIS_HUB_RECOVER_EVENTS_MAX="10")
    with kind(server) as listener:
        start = listener.welcome["cursor"]
    change(server, 3)
    with kind(server, since=start) as listener:
        assert listener.welcome["recovered"] is False


@pytest.mark.parametrize("cursor", ["nonsense", "1", "-", "zz-1", "0-99999999999999999999999"])
def test_what_is_no_cursor_is_refused(server, cursor):
    for path in ("/api/files/changes", "/api/files/events"):
        reply = server.get(path, params={"since": cursor})
        assert (reply.status_code, reply.json()["code"]) == (400, "invalid_parameter")
