"""A relay of JSON files as one would write it with FastAPI: the peer of the benchmarks.

It does the job of the system that Relais replaces and no more: files are written in place without fsync,
contents are not checked, and every listener is told by a loop over a list of sockets.
"""

import os
from datetime import datetime
from pathlib import Path

from fastapi import FastAPI, File, HTTPException, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse

BASE = Path(os.environ.get("BASE_FILES_DIR", "payloads_societes"))
app = FastAPI(title="Relay")
listeners: list[WebSocket] = []


def now() -> str:
    return datetime.now().isoformat()


async def tell(frame: dict) -> None:
    gone = []
    for listener in listeners:
        try:
            await listener.send_json(frame)
        except Exception:  # A socket that fails is a listener that left.
            gone.append(listener)
    for listener in gone:
        if listener in listeners:
            listeners.remove(listener)


def folder_of(societe: str) -> Path:
    folder = BASE / societe
    if not folder.is_dir():
        raise HTTPException(404, f"Société {societe} non trouvée")
    return folder


def describe(societe: str, file: Path) -> dict:
    parts = file.stem.split("_")
    known = len(parts) > 1
    stat = file.stat()
    return {
        "filename": file.name,
        "societe": societe,
        "size": stat.st_size,
        "last_modified": datetime.fromtimestamp(stat.st_mtime).isoformat(),
        "type_data": parts[0] if known else "unknown",
        "annee": parts[-1] if known else "unknown",
    }


@app.get("/")
async def index() -> dict:
    return {"message": "Relay", "version": "1", "features": [], "endpoints": {}}


@app.get("/healthz")
async def health() -> dict:
    return {"status": "ok"}


@app.get("/api/files/societes")
async def societes() -> dict:
    return {"societes": sorted(f.name for f in BASE.iterdir() if f.is_dir()) if BASE.is_dir() else []}


@app.get("/api/files/societe/{societe}/files")
async def files(societe: str) -> dict:
    found = sorted(folder_of(societe).glob("*.json"))
    return {"societe": societe, "files": [describe(societe, file) for file in found]}


@app.get("/api/files/download/{societe}/{filename}")
async def download(societe: str, filename: str) -> FileResponse:
    file = BASE / societe / filename
    if not file.is_file():
        raise HTTPException(404, "Fichier non trouvé")
    return FileResponse(file, media_type="application/json", filename=filename)


@app.post("/api/files/upload/{societe}")
async def upload(societe: str, file: UploadFile = File(...)) -> dict:
    if not file.filename or not file.filename.endswith(".json"):
        raise HTTPException(400, "Seuls les fichiers JSON sont acceptés")
    folder = BASE / societe
    folder.mkdir(parents=True, exist_ok=True)
    content = await file.read()
    with open(folder / file.filename, "wb") as out:
        out.write(content)
    await tell({"type": "file_uploaded", "societe": societe, "filename": file.filename, "timestamp": now()})
    return {
        "message": "Fichier uploadé avec succès",
        "societe": societe,
        "filename": file.filename,
        "size": len(content),
    }


@app.post("/api/files/sync/{societe}")
async def sync(societe: str) -> dict:
    count = len(list(folder_of(societe).glob("*.json")))
    await tell({"type": "sync_completed", "societe": societe, "files_count": count, "timestamp": now()})
    return {"message": f"Synchronisation terminée pour {societe}", "societe": societe, "files_count": count}


@app.delete("/api/files/delete/{societe}/{filename}")
async def delete(societe: str, filename: str) -> dict:
    file = BASE / societe / filename
    if not file.is_file():
        raise HTTPException(404, "Fichier non trouvé")
    file.unlink()
    await tell({"type": "file_deleted", "societe": societe, "filename": filename, "timestamp": now()})
    return {"message": "Fichier supprimé avec succès"}


@app.get("/api/files/status")
async def status() -> dict:
    found = list(BASE.glob("*/*.json")) if BASE.is_dir() else []
    if not found:
        return {"status": "no_data", "message": "Aucune donnée disponible"}
    return {
        "status": "ready",
        "societes_count": len({file.parent for file in found}),
        "total_files": len(found),
        "websocket_connections": len(listeners),
        "last_update": datetime.fromtimestamp(max(file.stat().st_mtime for file in found)).isoformat(),
    }


@app.websocket("/api/files/ws")
async def listen(socket: WebSocket) -> None:
    await socket.accept()
    listeners.append(socket)
    try:
        await socket.send_json(
            {"type": "connection", "message": "Connecté au WebSocket Relay", "timestamp": now()}
        )
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        if socket in listeners:
            listeners.remove(socket)
