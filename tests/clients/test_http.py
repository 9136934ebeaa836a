"""What was added beside the first clients' calls: conditions, parts, codings, versions, manifests, other programs
in the folder, and a stop in good order."""

import gzip
import hashlib
import http.client
import json
import os
import shutil
import socket
import threading
from email.utils import parsedate_to_datetime

import brotli
import pytest
import requests
import zstandard
from websockets.exceptions import ConnectionClosed

from listeners import SocketListener, StreamListener, changes
from process import eventually

CONTENT = json.dumps({"comptes": [{"code": n, "libelle": f"Compte {n}"} for n in range(500)]}).encode()
SHA = hashlib.sha256(CONTENT).hexdigest()
NAME = "comptes_2023.json"
PATH = f"/api/files/download/rsp-bgs/{NAME}"


@pytest.fixture
def stored(server):
    """A server that holds one file."""
    server.put("rsp-bgs", NAME, CONTENT)
    return server


def fetch(server, method="GET", path=PATH, **headers):
    """One request with nothing added to its headers and nothing decoded."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


# ---- Conditions ----


def test_the_entity_tag_is_the_hash(stored):
    status, headers, body = fetch(stored)
    assert (status, body, headers["ETag"]) == (200, CONTENT, f'"{SHA}"')
    assert headers["Accept-Ranges"] == "bytes" and headers["X-Content-Type-Options"] == "nosniff"
    assert parsedate_to_datetime(headers["Last-Modified"]).tzinfo is not None
    assert "accept-encoding" in headers["Vary"].lower()


@pytest.mark.parametrize("tags", [f'"{SHA}"', f'W/"{SHA}"', f'"x", "{SHA}"', f'"{SHA}-br"', "*"])
def test_a_client_that_has_it_gets_304(stored, tags):
    status, headers, body = fetch(stored, If_None_Match=tags)
    assert (status, body, headers["ETag"]) == (304, b"", f'"{SHA}"')
    stored.put("rsp-bgs", NAME, "[1]")
    if tags != "*":
        assert fetch(stored, If_None_Match=tags)[0] == 200


def test_a_change_can_depend_on_what_is_there(stored):
    tag = {"If-Match": f'"{SHA}"'}
    assert stored.upload("rsp-bgs", NAME, "[1]", headers={"If-Match": '"other"'}).status_code == 412
    assert stored.upload("rsp-bgs", NAME, "[1]", headers={"If-None-Match": "*"}).status_code == 412
    assert stored.upload("rsp-bgs", "neuf.json", "[1]", headers={"If-Match": "*"}).status_code == 412
    assert stored.upload("rsp-bgs", NAME, "[1]", headers=tag).status_code == 200
    assert stored.delete(f"/api/files/delete/rsp-bgs/{NAME}", headers=tag).status_code == 412
    now = stored.download("rsp-bgs", NAME).headers["ETag"]
    assert stored.delete(f"/api/files/delete/rsp-bgs/{NAME}", headers={"If-Match": now}).status_code == 200
    assert stored.upload("rsp-bgs", NAME, "[1]", headers={"If-None-Match": "*"}).status_code == 200


def test_the_reply_to_an_upload_has_everything(server):
    reply = server.upload("rsp-bgs", NAME, CONTENT)
    body = reply.json()
    expected = {"societe": "rsp-bgs", "filename": NAME, "size": len(CONTENT), "sha256": SHA, "etag": f'"{SHA}"',
                "version": 1, "changed": True, "offset": 1}
    assert {key: body[key] for key in expected} == expected
    assert reply.headers["ETag"] == body["etag"] and changes(server)[1] == body["cursor"]


# ---- Parts ----


@pytest.mark.parametrize("asked, start, end", [
    ("bytes=0-9", 0, 10), ("bytes=10-", 10, len(CONTENT)), ("bytes=-5", len(CONTENT) - 5, len(CONTENT)),
    ("bytes=5-5", 5, 6), (f"bytes=0-{len(CONTENT) * 2}", 0, len(CONTENT)),
    (f"bytes=-{len(CONTENT) * 2}", 0, len(CONTENT)),
])
def test_a_part_is_sent(stored, asked, start, end):
    status, headers, body = fetch(stored, Range=asked, Accept_Encoding="gzip")
    assert (status, body) == (206, CONTENT[start:end])
    assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert headers["ETag"] == f'"{SHA}"' and headers["Content-Encoding"] is None


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=-0", f"bytes={len(CONTENT) + 5}-99999999"])
def test_a_part_beyond_the_end_is_416(stored, asked):
    status, headers, _ = fetch(stored, Range=asked)
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


@pytest.mark.parametrize("asked", ["lines=1-2", "bytes=a-b", "bytes=9-3", "bytes=0-1,5-6", "bytes="])
def test_a_range_that_is_not_understood_gets_the_whole(stored, asked):
    assert fetch(stored, Range=asked)[::2] == (200, CONTENT)


def test_a_download_is_resumed_only_if_the_file_is_the_same(stored):
    assert fetch(stored, Range="bytes=5-", If_Range=f'"{SHA}"')[::2] == (206, CONTENT[5:])
    for tag in ('"other"', f'W/"{SHA}"', "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert fetch(stored, Range="bytes=5-", If_Range=tag)[::2] == (200, CONTENT)


def test_head_is_get_without_the_body(stored):
    status, headers, body = fetch(stored, "HEAD")
    assert (status, body, headers["ETag"], headers["Content-Length"]) == (200, b"", f'"{SHA}"', str(len(CONTENT)))


# ---- Codings ----

DECODE = {"gzip": gzip.decompress, "br": brotli.decompress,
          "zstd": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content)}


@pytest.mark.parametrize("coding", DECODE)
def test_a_download_is_compressed(stored, coding):
    status, headers, body = fetch(stored, Accept_Encoding=coding)
    assert (status, headers["Content-Encoding"], headers["ETag"]) == (200, coding, f'"{SHA}-{coding}"')
    assert len(body) < len(CONTENT) // 3 and int(headers["Content-Length"]) == len(body)
    assert DECODE[coding](body) == CONTENT
    assert fetch(stored, Accept_Encoding=coding, If_None_Match=headers["ETag"])[0] == 304


@pytest.mark.parametrize("accepted, coding", [
    ("gzip, deflate, br, zstd", "zstd"), ("gzip;q=1.0, br;q=0.5", "gzip"), ("gzip;q=0", None), ("identity", None),
    ("deflate", None), ("", None), ("br;q=0, gzip", "gzip"),
])
def test_the_client_chooses_the_coding(stored, accepted, coding):
    _, headers, body = fetch(stored, Accept_Encoding=accepted)
    assert headers["Content-Encoding"] == coding
    assert DECODE.get(coding, bytes)(body) == CONTENT


def test_a_small_file_is_sent_as_it_is(server):
    server.put("rsp-bgs", NAME, "[1]")
    assert fetch(server, Accept_Encoding="gzip")[1]["Content-Encoding"] is None


# ---- Versions ----


def versions(server, name=NAME):
    reply = server.get(f"/api/files/versions/rsp-bgs/{name}")
    assert reply.status_code == 200, reply.text
    return reply.json()["versions"]


def test_versions_are_kept_fetched_and_restored(server):
    for number in range(3):
        server.put("rsp-bgs", NAME, f"[{number}]")
    found = versions(server)
    assert [(entry["version"], entry["current"]) for entry in found] == [(3, True), (2, False), (1, False)]
    assert found[2]["sha256"] == hashlib.sha256(b"[0]").hexdigest() and found[2]["origin"] == "upload"
    assert server.get(PATH, params={"version": 1}).content == b"[0]"
    with SocketListener(server) as listener:
        reply = server.post(f"/api/files/restore/rsp-bgs/{NAME}", json={"version": 1}).json()
        frame = listener.frame()
    assert (reply["version"], reply["changed"], frame["version"], frame["origin"]) == (4, True, 4, "restore")
    assert server.download("rsp-bgs", NAME).content == b"[0]" == (server.files / "rsp-bgs" / NAME).read_bytes()


def test_a_deleted_file_is_restored(stored):
    stored.delete(f"/api/files/delete/rsp-bgs/{NAME}")
    assert [entry["current"] for entry in versions(stored)] == [False]
    assert stored.post(f"/api/files/restore/rsp-bgs/{NAME}", json={"version": 1}).json()["version"] == 2
    assert stored.download("rsp-bgs", NAME).content == CONTENT


def test_only_so_many_versions_are_kept(make_server):
    server = make_server(RELAIS_RELAY_VERSIONS_KEPT="2")
    for number in range(6):
        server.put("rsp-bgs", NAME, f"[{number}]")
    assert [entry["version"] for entry in versions(server)] == [6, 5, 4]
    gone = server.get(PATH, params={"version": 1})
    assert (gone.status_code, gone.json()["code"]) == (404, "version_not_found")
    assert "Version 1 non trouvée" in gone.json()["detail"]
    assert server.post(f"/api/files/restore/rsp-bgs/{NAME}", json={"version": 1}).status_code == 404
    assert server.get("/api/files/versions/rsp-bgs/absent.json").status_code == 404


@pytest.mark.parametrize("content", [b"[1]", json.dumps(["x" * 1000] * 2000).encode()])
def test_an_unchanged_upload_changes_nothing(server, content):
    first = server.put("rsp-bgs", NAME, content)
    with SocketListener(server) as listener:
        again = server.put("rsp-bgs", NAME, content)
        assert (again["changed"], again["version"], again["offset"]) == (False, 1, None)
        marker = server.put("rsp-bgs", "autre.json", "[2]")
        assert listener.frame()["cursor"] == marker["cursor"]
    assert len(versions(server)) == 1 and again["sha256"] == first["sha256"]


# ---- Manifests ----


def sha(content):
    return hashlib.sha256(content.encode()).hexdigest()


def test_a_manifest_says_what_to_fetch_send_and_delete(server):
    for name, contents in {"stale": ["[1]", "[2]"], "same": ["[3]"], "missing": ["[4]"], "ours": ["[5]"]}.items():
        for content in contents:
            server.put("rsp-bgs", f"{name}.json", content)
    server.put("rsp-bgs", "deleted.json", "[6]")
    server.delete("/api/files/delete/rsp-bgs/deleted.json")
    before = changes(server)
    manifest = {"stale.json": sha("[1]"), "same.json": sha("[3]"), "ours.json": sha("[new]"),
                "deleted.json": sha("[6]"), "fresh.json": sha("[7]")}
    reply = server.post("/api/files/sync/rsp-bgs", json=manifest).json()
    assert {entry["filename"]: entry["sha256"] for entry in reply["fetch"]} == {
        "stale.json": sha("[2]"), "missing.json": sha("[4]")}
    assert all(entry["size"] == 3 for entry in reply["fetch"])
    assert sorted(reply["send"]) == ["fresh.json", "ours.json"] and reply["delete"] == ["deleted.json"]
    assert (reply["unchanged"], reply["files_count"], reply["societe"]) == (1, 4, "rsp-bgs")
    assert changes(server) == before and reply["cursor"] == before[1]


def test_a_manifest_that_is_none_is_refused(stored):
    for body in ('{"a.json": 5}', '{"a.json"', '{"a.json": {}}'):
        reply = stored.post("/api/files/sync/rsp-bgs", data=body, headers={"Content-Type": "application/json"})
        assert (reply.status_code, reply.json()["code"]) == (400, "invalid_manifest")


# ---- Other programs in the folder ----


@pytest.fixture
def watched(stored):
    """A server that holds one file, and a listener that hears what comes after it."""
    with SocketListener(stored) as listener:
        yield stored, stored.files / "rsp-bgs", listener


def told(listener, count=1):
    frames = [listener.frame() for _ in range(count)]
    return [(frame["type"], frame["societe"], frame["filename"]) for frame in frames]


def test_a_file_that_another_program_writes_is_announced(watched):
    server, folder, listener = watched
    (folder / "autre.json").write_text("[1]")
    frame = listener.frame()
    assert (frame["type"], frame["filename"], frame["origin"]) == ("file_uploaded", "autre.json", "folder")
    assert frame["sha256"] == sha("[1]") and server.download("rsp-bgs", "autre.json").content == b"[1]"
    (folder / NAME).write_text("[2]")
    assert told(listener) == [("file_uploaded", "rsp-bgs", NAME)]
    assert [entry["origin"] for entry in versions(server)] == ["folder", "upload"]
    assert server.get(PATH, params={"version": 1}).content == CONTENT


def test_a_file_that_another_program_puts_in_place_is_announced(watched, tmp_path):
    server, folder, listener = watched
    temporary = folder / ".comptes.tmp"
    temporary.write_text("[1]")
    os.replace(temporary, folder / NAME)
    assert told(listener) == [("file_uploaded", "rsp-bgs", NAME)]
    (tmp_path / "copie.json").write_text("[2]")
    shutil.copy2(tmp_path / "copie.json", folder)
    assert told(listener) == [("file_uploaded", "rsp-bgs", "copie.json")]
    assert server.download("rsp-bgs", NAME).content == b"[1]"


def test_a_file_that_another_program_removes_is_announced(watched):
    server, folder, listener = watched
    (folder / NAME).unlink()
    assert told(listener) == [("file_deleted", "rsp-bgs", NAME)]
    assert server.download("rsp-bgs", NAME).status_code == 404


def test_a_file_that_another_program_renames_is_announced(watched):
    server, folder, listener = watched
    (folder / NAME).rename(folder / "autre.json")
    assert sorted(told(listener, 2)) == [("file_deleted", "rsp-bgs", NAME), ("file_uploaded", "rsp-bgs", "autre.json")]
    assert server.download("rsp-bgs", "autre.json").content == CONTENT


def test_a_societe_that_another_program_makes_and_removes_is_announced(watched):
    server, folder, listener = watched
    other = server.files / "rsp-neg"
    other.mkdir()
    (other / "a.json").write_text("[1]")
    assert told(listener) == [("file_uploaded", "rsp-neg", "a.json")]
    assert server.get("/api/files/societes").json() == {"societes": ["rsp-bgs", "rsp-neg"]}
    shutil.rmtree(other)
    assert told(listener) == [("file_deleted", "rsp-neg", "a.json")]
    gone = lambda: server.get("/api/files/societes").json() == {"societes": ["rsp-bgs"]}
    eventually(gone, "a société without folder and files is gone")


def test_a_half_written_file_is_not_served(watched):
    server, folder, listener = watched
    whole = json.dumps({"a": "b" * 5000})
    with (folder / NAME).open("w") as old, (folder / "neuf.json").open("w") as new:
        for file in (old, new):
            file.write(whole[:2000])
            file.flush()
        assert server.post("/api/files/sync/rsp-bgs").json()["files_count"] == 1
        assert listener.frame()["type"] == "sync_completed"
        assert server.download("rsp-bgs", NAME).content == CONTENT
        assert server.download("rsp-bgs", "neuf.json").status_code == 404
        for file in (old, new):
            file.write(whole[2000:])
    assert sorted(told(listener, 2)) == [("file_uploaded", "rsp-bgs", NAME), ("file_uploaded", "rsp-bgs", "neuf.json")]
    assert server.download("rsp-bgs", NAME).text == server.download("rsp-bgs", "neuf.json").text == whole


def test_whoever_still_has_an_old_content_keeps_it(stored, tmp_path):
    """A backup by hard link, and a program that is still reading, while the file is replaced again and again."""
    path = stored.files / "rsp-bgs" / NAME
    os.link(path, tmp_path / "backup.json")
    with path.open("rb") as reader:
        start = reader.read(10)
        for number in range(20):
            stored.put("rsp-bgs", NAME, json.dumps([number] * 5000))
        assert start + reader.read() == CONTENT
    assert (tmp_path / "backup.json").read_bytes() == CONTENT


def test_what_is_no_json_or_no_file_is_left_alone(watched):
    server, folder, listener = watched
    (folder / NAME).write_text("{broken")
    (folder / "notes.txt").write_text("[1]")
    (folder / ".caché.json").write_text("[1]")
    (folder / "dossier.json").mkdir()
    os.mkfifo(folder / "tube.json")
    assert server.post("/api/files/sync/rsp-bgs").json()["files_count"] == 1
    assert listener.frame()["type"] == "sync_completed"
    assert server.download("rsp-bgs", NAME).content == CONTENT
    assert (folder / NAME).read_text() == "{broken"
    assert server.download("rsp-bgs", "tube.json").status_code == 404
    server.put("rsp-bgs", NAME, "[1]")
    assert (folder / NAME).read_text() == "[1]" and told(listener) == [("file_uploaded", "rsp-bgs", NAME)]


def test_what_happened_while_the_server_was_down_is_announced(stored):
    stored.put("rsp-bgs", "perdu.json", "[1]")
    with SocketListener(stored) as listener:
        cursor = listener.cursor
    assert stored.terminate() == 0
    (stored.files / "rsp-bgs/perdu.json").unlink()
    (stored.files / "rsp-bgs" / NAME).write_text("[2]")
    (stored.files / "rsp-sb").mkdir()
    (stored.files / "rsp-sb/neuf.json").write_text("[3]")
    stored.start()
    with SocketListener(stored, since=cursor) as listener:
        expected = [("file_deleted", "rsp-bgs", "perdu.json"), ("file_uploaded", "rsp-bgs", NAME),
                    ("file_uploaded", "rsp-sb", "neuf.json")]
        assert sorted(told(listener, 3)) == expected


def test_what_happens_in_the_first_moments_is_noticed(server):
    """A société that is made while the server still prepares to watch."""
    for number in range(20):
        server.kill9()
        server.start()
        societe = f"rsp-{number}"
        cursor = server.put(societe, NAME, "[1]")["cursor"]
        (server.files / societe / NAME).unlink()
        page = server.get("/api/files/changes", params={"since": cursor, "societe": societe, "wait": 20}).json()
        assert [frame["type"] for frame in page["changes"]] == ["file_deleted"]


# ---- The end ----


def test_a_stop_finishes_what_is_under_way(make_server):
    server = make_server(RELAIS_SERVER_DRAIN_S="5")
    socket_listener, stream = SocketListener(server), StreamListener(server)
    body = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.json"\r\n\r\n[1, 2]\r\n--b--\r\n')
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as upload:
        upload.sendall(b"POST /api/files/upload/rsp-bgs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
                       b"Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-continue\r\n\r\n" % len(body))
        answers = upload.makefile("rb")
        # The server says so when it waits for the body (RFC 9110, section 10.1.1): it is at it when it is told to stop.
        assert b" 100 " in answers.readline() and answers.readline() == b"\r\n"
        upload.sendall(body[:-12])
        ended = {}
        stop = threading.Thread(target=lambda: ended.update(status=server.terminate()))
        stop.start()
        eventually(lambda: refuses(server), "no new connections are accepted")
        upload.sendall(body[-12:])
        assert b" 200 " in answers.readline()
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            socket_listener.frame()
    assert closed.value.rcvd.code == 1012
    assert b"event: close" in list(stream.lines)
    stop.join(60)
    assert ended["status"] == 0
    server.start()
    assert server.download("rsp-bgs", "a.json").content == b"[1, 2]"


def refuses(server):
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    except OSError:
        return True
    return False


def test_a_stop_does_not_wait_for_idle_connections(make_server):
    server = make_server(RELAIS_SERVER_DRAIN_S="0")
    with requests.Session() as session, socket.create_connection(("127.0.0.1", server.port)):
        assert session.get(f"{server.url}/healthz", timeout=60).ok
        assert server.terminate() == 0


def test_the_operators_addresses_answer(stored):
    assert stored.get("/healthz").json()["status"] == "ok"
    assert stored.get("/readyz").json()["status"] == "ready"
    metrics = stored.get("/metrics")
    assert "relais_relay_files 1" in metrics.text and "relais_log_head 1" in metrics.text
