"""Bad input gets the documented status and text, and the old file stays as it was."""

import json
import shutil
import socket
import subprocess
import threading
import time

import pytest

from listeners import SocketListener, changes
from process import eventually

GOOD = b'{"comptes": [1, 2, 3]}'
CONFLICT = "Le fichier a changé entre-temps : relisez-le avant de l'écrire"
READ_ONLY = "Le dossier des fichiers n'est pas accessible en écriture"


@pytest.fixture
def stored(server):
    """A server that holds one good file, which has to be untouched in the end."""
    server.put("rsp-bgs", "comptes.json", GOOD)
    yield server
    assert_untouched(server)


def assert_untouched(server):
    """The good file is served, is on the disk, is the only one, and nobody was told of anything else."""
    assert server.download("rsp-bgs", "comptes.json").content == GOOD
    assert (server.files / "rsp-bgs/comptes.json").read_bytes() == GOOD
    assert visible_files(server) == ["rsp-bgs/comptes.json"]
    assert [frame["version"] for frame in changes(server)[0]] == [1]
    [entry] = server.get("/api/files/societe/rsp-bgs/files").json()["files"]
    assert (entry["filename"], entry["version"]) == ("comptes.json", 1)


def visible_files(server):
    paths = (path.relative_to(server.files) for path in server.files.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if not str(path).startswith("."))


def assert_refused(reply, status, code, detail):
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert body["code"] == code and detail in body["detail"], body
    assert body["message"] == body["detail"] and body["error"]
    return body


# ---- Contents ----


@pytest.mark.parametrize("content, detail, line, column", [
    (b'{"a": [1, 2', "JSON invalide", 1, 11),
    (b'{\n  "a": 1,\n  "b" 2\n}', "JSON invalide", 3, 7),
    (b'{"a": "\xff\xfe"}', "JSON invalide", 1, None),
    (b"\xef\xbb\xbf", "JSON invalide", 1, None),
    (b"[1] [2]", "JSON invalide", 1, 5),
    (b"[NaN]", "JSON invalide", 1, 2),
    (b"{'a': 1}", "JSON invalide", 1, 2),
    (b'{"a": 1,\n "b": 2, "a": 3}', "JSON invalide", 2, None),
    (b'{"a": 1, "\\u0061": 3}', "JSON invalide", 1, None),
    (b"[" * 100 + b"]" * 100, "JSON invalide", 1, None),
    (b"\x00", "JSON invalide", 1, None),
    (b"   \n ", "JSON invalide", None, None),
    (b"texte", "JSON invalide", 1, None),
    (b'["\n"]', "JSON invalide", None, None),
])
def test_what_is_not_json_is_refused_with_its_place(stored, content, detail, line, column):
    body = assert_refused(stored.upload("rsp-bgs", "comptes.json", content), 400, "invalid_json", detail)
    assert line in (None, body["line"]) and isinstance(body["line"], int)
    assert column in (None, body["column"]) or abs(body["column"] - column) <= 1, body


def test_an_empty_file_is_refused(stored):
    assert_refused(stored.upload("rsp-bgs", "comptes.json", b""), 400, "empty_file", "Fichier vide")


@pytest.mark.parametrize("filename", ["comptes.txt", "comptes", "comptes.json.exe", "comptes.jsonx", "json", "a.JSO"])
def test_another_ending_is_refused(stored, filename):
    reply = stored.upload("rsp-bgs", filename, GOOD)
    assert assert_refused(reply, 400, "not_a_json_file", "")["detail"] == "Seuls les fichiers JSON sont acceptés"


def test_a_file_that_is_too_large_is_refused(make_server):
    server = make_server(RELAIS_RELAY_FILE_BYTES_MAX="1000")
    server.put("rsp-bgs", "comptes.json", GOOD)
    for size in (1001, 2_000_000):
        reply = server.upload("rsp-bgs", "comptes.json", b'"' + b"a" * (size - 2) + b'"')
        assert_refused(reply, 413, "file_too_large", "1000 octets au plus")
    assert_untouched(server)


def test_a_schema_is_respected(make_server, tmp_path):
    (tmp_path / "schema.json").write_text('{"type": "object", "properties": {"comptes": {"type": "array"}}}')
    (tmp_path / "relais.toml").write_text(
        f'[[relay.schemas]]\nfiles = "comptes*.json"\nschema = "{tmp_path / "schema.json"}"\n')
    server = make_server(RELAIS_CONFIG=str(tmp_path / "relais.toml"))
    server.put("rsp-bgs", "comptes.json", GOOD)
    reply = server.upload("rsp-bgs", "comptes.json", b'{"comptes": 5}')
    [error] = assert_refused(reply, 422, "schema_violation", "schéma")["errors"]
    assert error["pointer"] == "/comptes" and error["message"]
    assert_untouched(server)


# ---- Floods and stalls ----


def multipart(filename=b"comptes.json"):
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + filename
    return head + b'"\r\nContent-Type: application/json\r\n\r\n', b"\r\n--b--\r\n"


def head_of_upload(*headers):
    lines = [b"POST /api/files/upload/rsp-bgs HTTP/1.1", b"Host: localhost",
             b"Content-Type: multipart/form-data; boundary=b"]
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n"


def answer(connection):
    """The status and the JSON of an answer on a bare connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or pytest.fail(f"closed without an answer: {received!r}")
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536) or pytest.fail("closed within the answer")
    return int(head.split()[1]), json.loads(body)


def test_a_flood_of_brackets_is_refused_early_and_costs_no_memory(make_server):
    """100 MB of `[`, sent in chunks, so that the server does not know beforehand how much will come."""
    server = make_server(RELAIS_RELAY_FILE_BYTES_MAX="200000000")
    server.put("rsp-bgs", "comptes.json", GOOD)

    def peak_kb_after(megabytes):
        flood(server, megabytes)
        return server.memory_peak_kb()

    # What any upload takes does not count: it is the same for both.
    few, many = peak_kb_after(20), peak_kb_after(100)
    assert many - few < 30_000
    assert_untouched(server)


def flood(server, megabytes):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head_of_upload(b"Transfer-Encoding: chunked"))
        start, _ = multipart()
        connection.sendall(b"%x\r\n%s\r\n" % (len(start), start))
        piece = b"%x\r\n%s\r\n" % (1 << 20, b"[" * (1 << 20))
        sent = 0
        try:
            while sent < megabytes:
                connection.sendall(piece)
                sent += 1
        except OSError:
            # The server has answered and does not want the rest.
            pass
        status, body = answer(connection)
    assert (status, body["code"], body["line"]) == (400, "invalid_json", 1) and body["column"] <= 66


@pytest.mark.parametrize("limit, status", [(None, "413"), ("200000000", "400")])
def test_curl_learns_why_its_flood_is_refused(make_server, tmp_path, limit, status):
    server = make_server(**{"RELAIS_RELAY_FILE_BYTES_MAX": limit} if limit else {})
    server.put("rsp-bgs", "comptes.json", GOOD)
    flood = tmp_path / "comptes.json"
    with flood.open("wb") as file:
        for _ in range(100):
            file.write(b"[" * 1_000_000)
    done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", "-F", f"file=@{flood}",
                           f"{server.url}/api/files/upload/rsp-bgs"], capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith(status), done
    assert_untouched(server)


def test_requests_learns_why_its_flood_is_refused(make_server):
    server = make_server(RELAIS_RELAY_FILE_BYTES_MAX="200000000")
    server.put("rsp-bgs", "comptes.json", GOOD)
    reply = server.upload("rsp-bgs", "comptes.json", b"[" * 100_000_000)
    assert_refused(reply, 400, "invalid_json", "JSON invalide, ligne 1")
    assert_untouched(server)


def test_a_client_that_stalls_is_told_and_let_go(make_server):
    server = make_server(RELAIS_SERVER_BODY_STALL_TIMEOUT_S="3")
    server.put("rsp-bgs", "comptes.json", GOOD)
    start, _ = multipart()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        began = time.monotonic()
        connection.sendall(head_of_upload(b"Content-Length: 1000") + start + b'{"comptes": [')
        status, body = answer(connection)
        assert (status, body["code"]) == (408, "upload_stalled") and "interrompu" in body["detail"]
        assert time.monotonic() - began >= 2.9
        assert connection.recv(1) == b""
    assert_untouched(server)


def test_a_client_that_goes_away_within_an_upload_changes_nothing(stored):
    start, _ = multipart()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", stored.port), timeout=60) as connection:
            connection.sendall(head_of_upload(b"Content-Length: 1000") + start + b'{"comptes": [')


def test_a_form_that_breaks_off_is_refused(stored):
    start, _ = multipart()
    body = start + b"[1]"
    reply = stored.post("/api/files/upload/rsp-bgs", data=body,
                        headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert_refused(reply, 400, "invalid_form", "Formulaire multipart illisible")


# ---- Names ----

IMPOSSIBLE = ["../../etc/passwd.json", "..\\..\\etc\\passwd.json", "CON.json", "con.json", "nul.json", "COM1.json",
              "LPT9.json", "a\u202egpj.json", "a\u200b.json", ".json", ".caché.json", "a|b.json", "a:b.json",
              "é" * 150 + ".json", "/etc/passwd.json", "..json", "a\u2028b.json", " a.json"]


@pytest.mark.parametrize("filename", IMPOSSIBLE, ids=ascii)
def test_an_impossible_file_name_is_refused(stored, filename):
    start, end = multipart(filename.encode())
    reply = stored.post("/api/files/upload/rsp-bgs", data=start + GOOD + end,
                        headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert_refused(reply, 400, "invalid_file_name", "Nom de fichier invalide : ")


def test_a_control_character_in_a_name_is_refused(stored):
    """It breaks the form before it can be a name."""
    start, end = multipart(b"a\x01.json")
    reply = stored.post("/api/files/upload/rsp-bgs", data=start + GOOD + end,
                        headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert_refused(reply, 400, "invalid_form", "Formulaire multipart illisible")


def test_a_path_as_file_name_is_refused(stored):
    reply = stored.upload("rsp-bgs", "../../etc/passwd", GOOD)
    assert_refused(reply, 400, "not_a_json_file", "Seuls les fichiers JSON sont acceptés")


@pytest.mark.parametrize("societe", ["..%2F..%2Fetc", "%2Fetc", "CON", "a%E2%80%AEb", "a%00b", "%2E%2E", ".git",
                                     "a" * 101, "a%5Cb", "a%0Ab"])
def test_an_impossible_societe_is_refused(stored, societe):
    reply = stored.upload(societe, "comptes.json", GOOD)
    # A client may resolve "%2E%2E" by itself, and then means another address.
    if reply.status_code not in (404, 405):
        assert_refused(reply, 400, "invalid_societe_name", "Nom de société invalide : ")
    else:
        assert societe == "%2E%2E"


@pytest.mark.parametrize("path", ["rsp-bgs/..%2F..%2F..%2Frelais.db", "..%2F..%2Fetc/passwd", "%2E%2E/relais.db",
                                  "../../../etc/passwd", "rsp-bgs/%2Fetc%2Fpasswd", "rsp-bgs/CON.json",
                                  "rsp-bgs/comptes.json%00.txt", ".relais/x", "rsp-bgs/../rsp-bgs/comptes.json"])
def test_nothing_outside_is_served(stored, path):
    """Sent as it is: most clients would clean the path first."""
    with socket.create_connection(("127.0.0.1", stored.port), timeout=60) as connection:
        connection.sendall(f"GET /api/files/download/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status, body = answer(connection)
        assert status in (400, 404) and b"root:" not in json.dumps(body).encode()


def test_names_that_look_alike_are_one(server):
    """The same name composed and decomposed, as macOS and Linux send it."""
    server.put("société", "e\u0301te\u0301.json", "[1]")
    assert server.put("socie\u0301te\u0301", "été.json", "[2]")["version"] == 2
    assert server.get("/api/files/societes").json() == {"societes": ["société"]}
    assert visible_files(server) == ["société/été.json"]


def test_a_societe_that_is_not_known_is_not_made_by_reading(stored):
    for method, path in [("GET", "societe/inconnue/files"), ("POST", "sync/inconnue"),
                         ("GET", "download/inconnue/a.json"), ("DELETE", "delete/inconnue/a.json")]:
        assert stored.call(method, f"/api/files/{path}").status_code == 404
    assert stored.get("/api/files/societes").json() == {"societes": ["rsp-bgs"]}


# ---- Links ----


def test_a_societe_that_is_a_link_is_not_followed(stored, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text('"secret"')
    link = stored.files / "lien"
    link.symlink_to(outside)
    assert stored.download("lien", "secret.json").status_code == 404
    assert_refused(stored.upload("lien", "secret.json", GOOD), 409, "name_occupied", "lien")
    assert stored.post("/api/files/sync/lien").status_code == 404
    assert (outside / "secret.json").read_text() == '"secret"' and len(list(outside.iterdir())) == 1
    assert stored.get("/api/files/societes").json() == {"societes": ["rsp-bgs"]}
    link.unlink()


def test_a_file_that_is_a_link_is_not_followed(server, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text('"secret"')
    server.put("rsp-bgs", "comptes.json", GOOD)
    (server.files / "rsp-bgs/lien.json").symlink_to(secret)
    (server.files / "rsp-bgs/comptes.json").unlink()
    (server.files / "rsp-bgs/comptes.json").symlink_to(secret)
    server.post("/api/files/sync/rsp-bgs")
    assert server.download("rsp-bgs", "lien.json").status_code == 404
    assert b"secret" not in server.download("rsp-bgs", "comptes.json").content
    server.put("rsp-bgs", "lien.json", "[5]")
    server.put("rsp-bgs", "comptes.json", "[6]")
    assert secret.read_text() == '"secret"'
    assert server.download("rsp-bgs", "lien.json").content == b"[5]"
    assert not (server.files / "rsp-bgs/comptes.json").is_symlink()


# ---- Two writers at once ----


def at_once(count, act):
    """Calls `act(number)` in so many threads at the same moment and returns the replies."""
    barrier, replies = threading.Barrier(count), [None] * count

    def run(number):
        barrier.wait()
        replies[number] = act(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


@pytest.mark.parametrize("round_", range(5))
def test_of_several_writers_who_read_the_same_one_wins(server, round_):
    etag = server.put("rsp-bgs", "comptes.json", GOOD)["etag"]
    contents = [json.dumps({"writer": number, "round": round_}).encode() for number in range(8)]
    replies = at_once(8, lambda n: server.upload("rsp-bgs", "comptes.json", contents[n], headers={"If-Match": etag}))
    [winner] = [number for number, reply in enumerate(replies) if reply.status_code == 200]
    for number, reply in enumerate(replies):
        if number != winner:
            body = assert_refused(reply, 412, "precondition_failed", CONFLICT)
            assert body["current_sha256"] == replies[winner].json()["sha256"]
    assert server.download("rsp-bgs", "comptes.json").content == contents[winner]
    assert len(changes(server)[0]) == 2


def test_of_several_who_create_one_wins(server):
    replies = at_once(8, lambda n: server.upload("rsp-bgs", "comptes.json", f"[{n}]", headers={"If-None-Match": "*"}))
    assert sorted(reply.status_code for reply in replies) == [200] + [412] * 7
    assert len(changes(server)[0]) == 1


def test_writers_without_a_condition_all_succeed_in_some_order(server):
    replies = at_once(8, lambda n: server.put("rsp-bgs", "comptes.json", f"[{n}]"))
    last = max(replies, key=lambda reply: reply["version"])
    assert sorted(reply["version"] for reply in replies) == list(range(1, 9))
    assert server.download("rsp-bgs", "comptes.json").headers["ETag"] == last["etag"]
    content = server.download("rsp-bgs", "comptes.json").content
    assert (server.files / "rsp-bgs/comptes.json").read_bytes() == content


# ---- Disks ----


def test_a_quota_is_kept(make_server):
    server = make_server(RELAIS_RELAY_QUOTA_BYTES="200")
    server.put("rsp-bgs", "comptes.json", GOOD)
    reply = server.upload("rsp-bgs", "comptes.json", json.dumps("a" * 300))
    assert_refused(reply, 507, "quota_exceeded", "Quota dépassé pour la société rsp-bgs : 200 octets au plus")
    assert_untouched(server)
    server.put("rsp-neg", "comptes.json", json.dumps("a" * 150))


def test_a_full_disk_is_said_and_survived(make_server, mount, tmp_path):
    data = tmp_path / "small"
    data.mkdir()
    if not mount(data, "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        pytest.fail("the test of a full disk mounts a small tmpfs; run it as root with the right to mount")
    server = make_server(data=data)
    server.put("rsp-bgs", "comptes.json", GOOD)
    large = json.dumps(["x" * 1000] * 3000).encode()
    filler = data / "filler"
    free = shutil.disk_usage(data).free
    filler.write_bytes(b"\0" * (free - 1_000_000))
    for name in ("comptes.json", "neuf.json"):
        assert_refused(server.upload("rsp-bgs", name, large), 507, "disk_full", "")
    assert_untouched(server)
    fill_up(filler)
    small = json.dumps(["y" * 1000] * 20).encode()
    for name in ("comptes.json", "neuf.json"):
        assert_refused(server.upload("rsp-bgs", name, small), 507, "disk_full", "")
    assert server.get("/healthz").ok and server.get("/api/files/status").json()["total_files"] == 1
    filler.unlink()
    eventually(lambda: server.upload("rsp-bgs", "neuf.json", large).status_code == 200, "a disk with room is used")
    server.restart()
    assert server.download("rsp-bgs", "comptes.json").content == GOOD
    assert server.download("rsp-bgs", "neuf.json").content == large


def fill_up(filler):
    with filler.open("ab", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096) == 4096:
                pass
        except OSError:
            return


def test_a_folder_that_is_read_only_is_said_and_survived(make_server, mount, tmp_path):
    exports = tmp_path / "exports"
    exports.mkdir()
    if not mount(exports, "--bind", str(exports)):
        pytest.fail("the test of a read-only folder makes a bind mount; run it as root with the right to mount")
    server = make_server(BASE_FILES_DIR=str(exports))
    server.files = exports
    server.put("rsp-bgs", "comptes.json", GOOD)
    assert mount(exports, "-o", "remount,bind,ro")
    replies = [server.upload("rsp-bgs", "comptes.json", b"[1]"), server.upload("rsp-neg", "comptes.json", b"[1]"),
               server.delete("/api/files/delete/rsp-bgs/comptes.json")]
    for reply in replies:
        assert_refused(reply, 503, "folder_not_writable", READ_ONLY)
        assert reply.headers["Retry-After"]
    assert_untouched(server)
    assert mount(exports, "-o", "remount,bind,rw")
    server.put("rsp-bgs", "comptes.json", b"[1]")
    assert (exports / "rsp-bgs/comptes.json").read_bytes() == b"[1]"


# ---- Other pages ----

FOREIGN = {"Origin": "https://ailleurs.example"}


def test_what_a_foreign_page_sends_is_refused(stored):
    for reply in (stored.upload("rsp-bgs", "comptes.json", b"[1]", headers=FOREIGN),
                  stored.delete("/api/files/delete/rsp-bgs/comptes.json", headers=FOREIGN),
                  stored.post("/api/files/sync/rsp-bgs", headers=FOREIGN),
                  stored.upload("rsp-bgs", "comptes.json", b"[1]", headers={"Origin": "null"})):
        assert_refused(reply, 403, "origin_refused", "Origine refusée")
    reply = stored.get("/api/files/societes", headers=FOREIGN)
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_a_socket_of_a_foreign_page_is_refused(stored):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    for path in ("/api/files/ws", "/api/v1/ws"):
        assert stored.get(path, headers=upgrade | FOREIGN).status_code == 403
    with SocketListener(stored):
        pass


@pytest.mark.parametrize("path", ["/api/v1/ws", "/ws/chat", "/socket.io/?EIO=4&transport=websocket"])
def test_a_handshake_that_does_not_end_is_ended(make_server, path):
    server = make_server(RELAIS_SERVER_HEADER_TIMEOUT_S="3")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n".encode())
        assert b" 101 " not in connection.recv(4096)
    assert server.is_healthy()


# ---- Broken frames ----


def bare_socket(server):
    """A WebSocket whose frames are made by hand."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(b"GET /api/files/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    stream = connection.makefile("rb")
    assert b"101" in stream.readline()
    while stream.readline().strip():
        pass
    return connection, stream


def next_frame(stream):
    first, second = stream.read(2)
    length = second & 127
    if length == 126:
        length = int.from_bytes(stream.read(2), "big")
    return first & 15, stream.read(length)


def masked(first, payload, length=None):
    size = len(payload) if length is None else length
    if size < 126:
        head = bytes([first, 128 | size])
    elif size < 65536:
        head = bytes([first, 128 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 128 | 127]) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


@pytest.mark.parametrize("bytes_, code", [
    pytest.param(masked(0x81, b"", 1 << 62), 1009, id="a length of 4 EiB"),
    pytest.param(masked(0x82, b"x" * 1000, 100_000_000), 1009, id="100 MB announced"),
    pytest.param(masked(0x01, b"x" * 60_000) + masked(0x80, b"x" * 60_000), 1009, id="too long in two fragments"),
    pytest.param(b"\x81\x05hello", 1002, id="not masked"),
    pytest.param(masked(0xF1, b"hello"), 1002, id="reserved bits"),
    pytest.param(masked(0x83, b"hello"), 1002, id="unknown opcode"),
    pytest.param(masked(0x09, b"hello"), 1002, id="fragmented ping"),
    pytest.param(masked(0x89, b"x" * 126), 1002, id="long ping"),
    pytest.param(masked(0x80, b"hello"), 1002, id="continuation of nothing"),
    pytest.param(masked(0x01, b"a") + masked(0x81, b"b"), 1002, id="a message within a message"),
    pytest.param(masked(0x81, b"\xff\xfe"), 1007, id="text that is not UTF-8"),
    pytest.param(masked(0x88, b"\x03"), 1002, id="half a close code"),
    pytest.param(masked(0x88, (1006).to_bytes(2, "big")), 1002, id="a close code that is never sent"),
    pytest.param(b"\x81\xfe\x00\x01" + b"\0\0\0\0a", 1002, id="a length in more bytes than it needs"),
    pytest.param(masked(0x81, b"", (1 << 63) + 1), 1002, id="a length with the highest bit"),
])
def test_a_broken_frame_ends_only_its_own_connection(stored, bytes_, code):
    with SocketListener(stored) as other:
        connection, stream = bare_socket(stored)
        with connection, stream:
            assert next_frame(stream)[0] == 1
            connection.sendall(bytes_)
            opcode, payload = next_frame(stream)
            assert (opcode, int.from_bytes(payload[:2], "big")) == (8, code)
        assert other.socket.ping().wait(20)


def test_a_socket_that_says_nothing_is_a_plain_request(stored):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert stored.get("/api/files/ws").status_code == 426
    assert stored.get("/api/files/ws", headers=upgrade).status_code == 426
    version = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "short"}
    assert stored.get("/api/files/ws", headers=upgrade | version).status_code == 400


def test_the_server_is_sound_after_all_that_noise(stored):
    """Bytes that are no HTTP at all, and requests that are too long."""
    for noise in (b"\x16\x03\x01\x02\x00" + b"\0" * 500, b"GET\r\n\r\n", b"A" * 100_000,
                  b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", stored.port), timeout=60) as connection:
            try:
                connection.sendall(noise)
                connection.shutdown(socket.SHUT_WR)
                received = connection.recv(65536)
            except OSError:
                received = b""
            assert received == b"" or received.split()[1][:1] == b"4", received
