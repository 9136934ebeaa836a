"""The first system's clients, unchanged: its guide's snippets, the replies and the texts they rely on."""

import asyncio
import json
import subprocess
import sys
from datetime import datetime

import pytest
import requests
import websockets

from listeners import SocketListener
from process import Server, binary, eventually, free_port

FILE = "comptes_global_annee_2023.json"
CONTENT = json.dumps({"periode": "2023", "libellé": "Créances clients"}, ensure_ascii=False).encode()

UPLOAD_SNIPPET = '''
import requests
import json

# Configuration
RELAY_URL = "http://localhost:8000"
SOCIETE = "votre-societe"

def upload_json_file(societe: str, file_path: str):
    """Upload un fichier JSON vers le relay"""
    with open(file_path, 'rb') as f:
        files = {'file': (os.path.basename(file_path), f, 'application/json')}
        response = requests.post(f"{RELAY_URL}/api/files/upload/{societe}", files=files)
        return response.json()
'''

LISTEN_SNIPPET = '''
import asyncio
import websockets
import json

async def listen_notifications():
    """Écouter les notifications temps réel"""
    uri = "ws://localhost:8000/api/files/ws"
    async with websockets.connect(uri) as websocket:
        async for message in websocket:
            data = json.loads(message)
            print(f"Notification: {data}")

# Démarrer l'écoute
asyncio.run(listen_notifications())
'''


def here(server, snippet):
    return snippet.replace("localhost:8000", f"localhost:{server.port}")


def is_moment(text):
    return datetime.fromisoformat(text) is not None


# ---- The snippets ----


def test_the_guides_upload_works(server, tmp_path):
    (tmp_path / "comptes_2023.json").write_bytes(CONTENT)
    # The guide uses `os` without importing it.
    script = ["import os", here(server, UPLOAD_SNIPPET),
              "print(json.dumps(upload_json_file('rsp-bgs', 'comptes_2023.json')))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    reply = json.loads(done.stdout)
    seed = {"message": "Fichier uploadé avec succès", "societe": "rsp-bgs", "filename": "comptes_2023.json",
            "size": len(CONTENT)}
    assert {key: reply[key] for key in seed} == seed
    assert (server.files / "rsp-bgs/comptes_2023.json").read_bytes() == CONTENT


def test_the_guides_listener_prints_what_happens(server):
    listener = subprocess.Popen([sys.executable, "-u", "-c", here(server, LISTEN_SNIPPET)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
    try:
        assert "Connecté au WebSocket Relay" in listener.stdout.readline()
        server.put("rsp-bgs", FILE, CONTENT)
        line = listener.stdout.readline()
        assert line.startswith("Notification: {'type': 'file_uploaded', 'societe': 'rsp-bgs'") and FILE in line
    finally:
        listener.kill()
        listener.communicate(timeout=60)


def test_the_guides_curl_shows_the_status(server):
    server.put("rsp-bgs", FILE, CONTENT)
    done = subprocess.run(["curl", "-sS", f"http://localhost:{server.port}/api/files/status"], capture_output=True,
                          text=True, timeout=60, check=True)
    status = json.loads(done.stdout)
    assert (status["status"], status["societes_count"], status["total_files"]) == ("ready", 1, 1)


def test_curl_uploads(server, tmp_path):
    (tmp_path / FILE).write_bytes(CONTENT)
    url = f"http://localhost:{server.port}/api/files/upload/rsp-neg"
    done = subprocess.run(["curl", "-sS", "-F", f"file=@{FILE}", url], cwd=tmp_path, capture_output=True, timeout=60,
                          check=True)
    assert json.loads(done.stdout)["size"] == len(CONTENT)


def test_the_dart_calls_work(server):
    """`getSocietes`, `downloadFile` and `listenNotifications` of the Flutter service, with the headers that
    Dart's HTTP client sends."""
    server.put("rsp-bgs", FILE, CONTENT)
    dart = {"User-Agent": "Dart/3.5 (dart:io)", "Accept-Encoding": "gzip", "Accept": None}
    societes = server.get("/api/files/societes", headers=dart)
    # The Dart client decodes by the charset it is told, and takes Latin-1 if it is told none.
    assert societes.headers["Content-Type"] == "application/json; charset=utf-8"
    assert societes.json() == {"societes": ["rsp-bgs"]}
    assert server.download("rsp-bgs", FILE, headers=dart).json()["libellé"] == "Créances clients"

    async def listen():
        async with websockets.connect(server.ws_url, compression=None) as channel:
            first = json.loads(await channel.recv())
            await asyncio.to_thread(server.put, "rsp-bgs", FILE, b"{}")
            return first, json.loads(await asyncio.wait_for(channel.recv(), 20))

    first, second = asyncio.run(listen())
    assert (first["type"], second["type"], second["filename"]) == ("connection", "file_uploaded", FILE)


# ---- The replies, one by one ----


def test_nothing_is_stored_at_first(server):
    assert server.get("/api/files/societes").json() == {"societes": []}
    assert server.get("/api/files/status").json() == {"status": "no_data", "message": "Aucune donnée disponible"}


def test_societes_are_listed(server):
    for societe in ("rsp-sb", "rsp-bgs", "rsp-neg"):
        server.put(societe, FILE, CONTENT)
    assert server.get("/api/files/societes").json() == {"societes": ["rsp-bgs", "rsp-neg", "rsp-sb"]}


@pytest.mark.parametrize("filename, type_data, annee", [
    ("comptes_global_annee_2023.json", "comptes", "2023"),
    ("comptes_mensuel_2023_01.json", "comptes", "01"),
    ("comptes.json", "unknown", "unknown"),
    ("sous_indicateurs_2024.json", "sous", "2024"),
])
def test_files_are_listed_with_what_their_names_say(server, filename, type_data, annee):
    server.put("rsp-bgs", filename, CONTENT)
    reply = server.get("/api/files/societe/rsp-bgs/files")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.json()["societe"] == "rsp-bgs"
    [entry] = reply.json()["files"]
    seed = {"filename": filename, "societe": "rsp-bgs", "size": len(CONTENT), "type_data": type_data, "annee": annee}
    assert {key: entry[key] for key in seed} == seed
    assert is_moment(entry["last_modified"])


def test_a_download_is_the_raw_file_under_its_name(server):
    server.put("rsp-bgs", FILE, CONTENT)
    reply = server.download("rsp-bgs", FILE)
    assert (reply.status_code, reply.content) == (200, CONTENT)
    assert reply.headers["Content-Type"].startswith("application/json")
    assert FILE in reply.headers["Content-Disposition"]


def test_an_upload_replaces(server):
    server.put("rsp-bgs", FILE, CONTENT)
    reply = server.put("rsp-bgs", FILE, b"[1]")
    assert reply["message"] == "Fichier uploadé avec succès" and reply["size"] == 3
    assert server.download("rsp-bgs", FILE).content == b"[1]"
    assert len(server.get("/api/files/societe/rsp-bgs/files").json()["files"]) == 1


def test_a_societe_is_synchronised(server):
    server.put("rsp-bgs", FILE, CONTENT)
    reply = server.post("/api/files/sync/rsp-bgs").json()
    seed = {"message": "Synchronisation terminée pour rsp-bgs", "societe": "rsp-bgs", "files_count": 1}
    assert {key: reply[key] for key in seed} == seed


def test_a_file_is_deleted(server):
    server.put("rsp-bgs", FILE, CONTENT)
    reply = server.delete(f"/api/files/delete/rsp-bgs/{FILE}")
    assert (reply.status_code, reply.json()["message"]) == (200, "Fichier supprimé avec succès")
    assert server.download("rsp-bgs", FILE).status_code == 404
    assert not (server.files / "rsp-bgs" / FILE).exists()


def test_the_status_counts(server):
    server.put("rsp-bgs", FILE, CONTENT)
    server.put("rsp-neg", FILE, CONTENT)
    server.put("rsp-neg", "indicateurs_2023.json", CONTENT)
    with SocketListener(server), SocketListener(server):
        status = server.get("/api/files/status").json()
    seed = {"status": "ready", "societes_count": 2, "total_files": 3, "websocket_connections": 2}
    assert {key: status[key] for key in seed} == seed
    assert is_moment(status["last_update"])
    nobody = lambda: server.get("/api/files/status").json()["websocket_connections"] == 0
    eventually(nobody, "connections that ended are no longer counted")


@pytest.mark.parametrize("method, path, status, detail", [
    ("GET", "/api/files/societe/inconnue/files", 404, "Société inconnue non trouvée"),
    ("POST", "/api/files/sync/inconnue", 404, "Société inconnue non trouvée"),
    ("GET", "/api/files/download/rsp-bgs/absent.json", 404, "Fichier non trouvé"),
    ("GET", "/api/files/download/inconnue/absent.json", 404, "Fichier non trouvé"),
    ("DELETE", "/api/files/delete/rsp-bgs/absent.json", 404, "Fichier non trouvé"),
])
def test_what_is_not_there_is_said_in_french(server, method, path, status, detail):
    server.put("rsp-bgs", FILE, CONTENT)
    reply = server.call(method, path)
    assert (reply.status_code, reply.json()["detail"]) == (status, detail)
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


def test_an_upload_without_its_field_is_422(server):
    reply = server.post("/api/files/upload/rsp-bgs", files={"autre": ("a.json", b"{}")})
    assert reply.status_code == 422 and "file" in reply.json()["detail"]
    assert server.post("/api/files/upload/rsp-bgs").status_code == 422


def test_the_socket_tells_everything(server):
    with SocketListener(server) as listener:
        assert listener.welcome["type"] == "connection"
        assert listener.welcome["message"] == "Connecté au WebSocket Relay"
        listener.socket.send("ce que dit le client est ignoré")
        listener.socket.send(b"\x00\x01")
        server.put("rsp-bgs", FILE, CONTENT)
        server.post("/api/files/sync/rsp-bgs")
        server.delete(f"/api/files/delete/rsp-bgs/{FILE}")
        frames = [listener.frame() for _ in range(3)]
    assert [frame["type"] for frame in frames] == ["file_uploaded", "sync_completed", "file_deleted"]
    assert all(frame["societe"] == "rsp-bgs" and is_moment(frame["timestamp"]) for frame in frames)
    assert (frames[0]["filename"], frames[2]["filename"], frames[1]["files_count"]) == (FILE, FILE, 1)
    assert (frames[0]["size"], frames[0]["version"], frames[0]["origin"]) == (len(CONTENT), 1, "upload")
    assert [frame["offset"] for frame in frames] == [1, 2, 3] and is_moment(listener.welcome["timestamp"])


def test_the_root_describes_the_server(server):
    for headers in ({"Accept": "application/json"}, {"Accept": "*/*"}, {}):
        reply = server.get("/", headers=headers)
        assert reply.status_code == 200 and reply.json().keys() >= {"message", "version", "features", "endpoints"}
    assert "text/html" in server.get("/", headers={"Accept": "text/html,*/*;q=0.8"}).headers["Content-Type"]


def test_the_documentation_is_there(server):
    assert "text/html" in server.get("/docs").headers["Content-Type"]
    paths = server.get("/openapi.json").json()["paths"]
    for path in ("/api/files/societes", "/api/files/societe/{societe}/files", "/api/files/sync/{societe}",
                 "/api/files/download/{societe}/{filename}", "/api/files/upload/{societe}",
                 "/api/files/delete/{societe}/{filename}", "/api/files/status"):
        assert path in paths
    assert server.get("/asyncapi.json").json()["asyncapi"].startswith("3.")


def test_the_first_systems_environment_counts(make_server, tmp_path):
    exports = tmp_path / "exports"
    server = make_server(BASE_FILES_DIR=str(exports), ALLOWED_ORIGINS="http://localhost:3000,https://votre-app.com")
    page = {"Origin": "https://votre-app.com"}
    server.put("rsp-bgs", FILE, CONTENT, headers=page)
    assert (exports / "rsp-bgs" / FILE).read_bytes() == CONTENT
    assert server.get("/api/files/societes", headers=page).headers["Access-Control-Allow-Origin"] == page["Origin"]


def test_the_port_comes_from_the_environment(tmp_path):
    server = Server(tmp_path)
    server.port = free_port()
    server.process = subprocess.Popen([binary(), "serve"], cwd=tmp_path, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, env={"RELAY_PORT": str(server.port)})
    try:
        eventually(server.is_healthy, "the server answers on RELAY_PORT")
        server.put("rsp-bgs", FILE, CONTENT)
        assert (tmp_path / "relais-data/payloads_societes/rsp-bgs" / FILE).is_file()
    finally:
        server.clean_up()


def test_requests_come_from_old_clients_too(server):
    """HTTP/1.0 without keep-alive, and a request per connection."""
    server.put("rsp-bgs", FILE, CONTENT)
    done = subprocess.run(["curl", "-sS", "--http1.0", f"{server.url}/api/files/download/rsp-bgs/{FILE}"],
                          capture_output=True, timeout=60, check=True)
    assert done.stdout == CONTENT
    assert requests.get(f"{server.url}/api/files/societes", headers={"Connection": "close"}, timeout=60).ok
