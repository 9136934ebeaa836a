"""A day of the first system's clients, unmodified: the Python scripts that send, the Flutter app that shows, the
listeners. Their calls and events in their order, and nothing that was added since."""

import asyncio
import json
from datetime import datetime

import pytest
import requests
import websockets

import dart

GLOBAL = "comptes_global_annee_2023.json"
MONTH = "comptes_mensuel_2023_01.json"
ACCOUNTS = {
    "periode": "2023",
    "comptes": {"2023": {"Clôture": {"total": 1, "limit": 50, "offset": 0, "comptes": [
        {"code_compte": "411000", "libelle_compte": "Créances « clients » – Noël", "montant": -12.5, "debit": 0,
         "credit": 12.5}]}}},
}
CONTENT = json.dumps(ACCOUNTS, ensure_ascii=False, indent=2).encode()


def upload_as_python(server, societe, filename, content):
    """`requests.post(url, files={'file': (name, file, 'application/json')})`, as the guide has it."""
    files = {"file": (filename, content, "application/json")}
    return requests.post(f"{server.url}/api/files/upload/{societe}", files=files, timeout=60)


def fields(reply, *names):
    return {name: reply[name] for name in names}


async def story(server):
    """What two listeners hear while scripts and the app work, and what the app shows."""
    async with websockets.connect(server.ws_url) as script, websockets.connect(server.ws_url, compression=None) as app:
        for socket in (script, app):
            welcome = json.loads(await socket.recv())
            assert fields(welcome, "type", "message") == {
                "type": "connection", "message": "Connecté au WebSocket Relay"}
            assert datetime.fromisoformat(welcome["timestamp"])
        await app.send("ping")
        await asyncio.to_thread(the_day, server)
        return [[json.loads(await asyncio.wait_for(socket.recv(), 20)) for _ in range(5)] for socket in (script, app)]


def the_day(server):
    url = server.url
    assert json.loads(dart.body(dart.get(f"{url}/api/files/societes"))) == {"societes": []}
    status = json.loads(dart.body(dart.get(f"{url}/api/files/status")))
    assert status == {"status": "no_data", "message": "Aucune donnée disponible"}

    reply = upload_as_python(server, "rsp-bgs", GLOBAL, CONTENT).json()
    assert fields(reply, "message", "societe", "filename", "size") == {
        "message": "Fichier uploadé avec succès", "societe": "rsp-bgs", "filename": GLOBAL, "size": len(CONTENT)}
    reply = dart.multipart(f"{url}/api/files/upload/rsp-bgs", MONTH, b'{"annee":2023,"mois":{}}')
    assert json.loads(dart.body(reply))["message"] == "Fichier uploadé avec succès"

    listing = json.loads(dart.body(dart.get(f"{url}/api/files/societe/rsp-bgs/files")))
    entries = [fields(entry, "filename", "societe", "type_data", "annee") for entry in listing["files"]]
    assert entries == [
        {"filename": GLOBAL, "societe": "rsp-bgs", "type_data": "comptes", "annee": "2023"},
        {"filename": MONTH, "societe": "rsp-bgs", "type_data": "comptes", "annee": "01"}]
    assert all(isinstance(entry["size"], int) and datetime.fromisoformat(entry["last_modified"])
               for entry in listing["files"])

    # The app decodes what it is told to, and shows every letter as it was sent.
    shown = json.loads(dart.body(dart.get(f"{url}/api/files/download/rsp-bgs/{GLOBAL}")))
    assert shown == ACCOUNTS

    reply = dart.post(f"{url}/api/files/sync/rsp-bgs")
    assert fields(json.loads(dart.body(reply)), "message", "societe", "files_count") == {
        "message": "Synchronisation terminée pour rsp-bgs", "societe": "rsp-bgs", "files_count": 2}
    before = json.loads(dart.body(dart.get(f"{url}/api/files/status")))["last_update"]
    reply = dart.delete(f"{url}/api/files/delete/rsp-bgs/{MONTH}")
    assert json.loads(dart.body(reply))["message"] == "Fichier supprimé avec succès"
    status = json.loads(dart.body(dart.get(f"{url}/api/files/status")))
    assert fields(status, "status", "societes_count", "total_files", "websocket_connections") == {
        "status": "ready", "societes_count": 1, "total_files": 1, "websocket_connections": 2}
    assert datetime.fromisoformat(status["last_update"]) > datetime.fromisoformat(before), "a deletion is an update"
    assert upload_as_python(server, "rsp-neg", GLOBAL, CONTENT).status_code == 200


def test_a_day_of_the_first_clients(server):
    heard = asyncio.run(story(server))
    expected = [
        {"type": "file_uploaded", "societe": "rsp-bgs", "filename": GLOBAL},
        {"type": "file_uploaded", "societe": "rsp-bgs", "filename": MONTH},
        {"type": "sync_completed", "societe": "rsp-bgs", "files_count": 2},
        {"type": "file_deleted", "societe": "rsp-bgs", "filename": MONTH},
        {"type": "file_uploaded", "societe": "rsp-neg", "filename": GLOBAL}]
    for frames in heard:
        assert [fields(frame, *wanted) for frame, wanted in zip(frames, expected)] == expected
        assert all(datetime.fromisoformat(frame["timestamp"]) for frame in frames)


@pytest.mark.parametrize("call, status, detail", [
    (lambda url: dart.get(f"{url}/api/files/societe/inconnue/files"), 404, "Société inconnue non trouvée"),
    (lambda url: dart.post(f"{url}/api/files/sync/inconnue"), 404, "Société inconnue non trouvée"),
    (lambda url: dart.get(f"{url}/api/files/download/inconnue/a.json"), 404, "Fichier non trouvé"),
    (lambda url: dart.delete(f"{url}/api/files/delete/inconnue/a.json"), 404, "Fichier non trouvé"),
    (lambda url: dart.multipart(f"{url}/api/files/upload/s", "a.txt", b"x"), 400, "Seuls les fichiers JSON sont acceptés"),
])
def test_an_app_reads_every_refusal_in_its_letters(server, call, status, detail):
    reply = call(server.url)
    assert (reply.status_code, json.loads(dart.body(reply))["detail"]) == (status, detail)


def test_a_decoder_that_is_told_no_charset_takes_latin_1():
    """The stand-in decodes as that package does: this is what an app showed before downloads named their charset."""
    response = requests.Response()
    response._content = "Clôture".encode()
    response.headers["Content-Type"] = "application/json"
    assert dart.body(response) == "ClÃ´ture"
    response.headers["Content-Type"] = "application/json; charset=utf-8"
    assert dart.body(response) == "Clôture"


def test_a_disk_that_is_full_is_named_with_its_remedy(server, tmp_path, mount):
    """A mirror on a full disk: what could not be written is named, also for programs."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    if not mount(folder, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        pytest.fail("this test mounts a small disk: run it as root")
    server.put("rsp-bgs", "small_2023.json", b"[1]")
    server.put("rsp-bgs", "large_2023.json", json.dumps(["x" * 500_000]).encode())
    done = server.command("pull", "--all", str(folder), "--json", "--server", server.url)()
    assert done.returncode == 1
    reply = json.loads(done.stdout)
    assert any("free some space" in failure["error"] for failure in reply["failed"]), reply
