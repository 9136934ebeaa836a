"""The relay beside a relay as one would write it with FastAPI, and nginx giving out the same files."""

import getpass
import tempfile
from pathlib import Path

from harness import PEERS, ROOT, Peer, Table, bench, checked, debian_program, free_port, python_with, say

RELAIS = ROOT / "target/release/relais"
FASTAPI = PEERS / "fastapi_relay"
NGINX_CONFIG = PEERS / "nginx.conf"
MARKS = ("<!-- figures: begin, written by `make bench` -->", "<!-- figures: end -->")


def peers():
    python = python_with("bench-venv", FASTAPI)
    nginx = debian_program("nginx", "nginx-light")

    def relais(folder, address):
        return [str(RELAIS), "serve", "--listen", address, "--data", str(folder / "data")]

    def fastapi(loop, parser):
        def command(folder, address):
            host, port = address.split(":")
            uvicorn = [str(python), "-m", "uvicorn", "--app-dir", str(FASTAPI), "server:app"]
            quiet = ["--no-access-log", "--log-level", "warning"]
            return [*uvicorn, "--host", host, "--port", port, "--loop", loop, "--http", parser, *quiet]

        return Peer("fastapi", command, lambda folder: {"BASE_FILES_DIR": str(folder / "files")})

    def nginx_files(folder, address):
        bench("corpus", folder / "files")
        text = NGINX_CONFIG.read_text()
        for name, value in (("ADDRESS", address), ("FOLDER", str(folder)), ("USER", getpass.getuser())):
            text = text.replace(name, value)
        (folder / "nginx.conf").write_text(text)

    servers = {
        "relais": Peer("relais", relais),
        # As the original's guide installs it, and with the accelerators that uvicorn offers.
        "fastapi": fastapi("asyncio", "h11"),
        "uvloop": fastapi("uvloop", "httptools"),
    }
    if nginx:
        command = lambda folder, address: [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        servers["nginx"] = Peer("nginx", command, prepare=nginx_files)
    else:
        say("nginx is missing: downloads are measured without it (Debian package nginx-light)")
    return servers


def scenarios(quick):
    """Each scenario with its servers and the options of its measurement."""
    seconds = ["--seconds", 2 if quick else 6]
    uploads = 30 if quick else 100
    listeners = 1000 if quick else 5000
    return {
        "uploads": ("uploads", ("relais", "fastapi", "uvloop"), lambda name: seconds),
        "downloads": (
            "downloads",
            ("relais", "nginx", "fastapi", "uvloop"),
            lambda name: [*seconds, "--prefix", "/"] if name == "nginx" else [*seconds, "--fill"],
        ),
        "notify": ("notify", ("relais", "fastapi", "uvloop"), lambda name: ["--uploads", uploads]),
        "idle": ("idle", ("relais", "fastapi"), lambda name: ["--listeners", listeners]),
        "start": ("start", ("relais", "fastapi"), None),
    }


def measure_start(peer, work):
    folder = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=work))
    address = f"127.0.0.1:{free_port()}"
    command = peer.command(folder, address)
    return bench("start", "--address", address, "--", *command, environment=peer.environment(folder))


def verify(scenario, name, report):
    """The load generator has checked everything."""


ROWS = [
    ("uploads of 10 KB, 32 connections, per server CPU-second", "uploads", "per_cpu_s", ",.0f"),
    ("uploads, per second of wall time", "uploads", "per_wall_s", ",.0f"),
    ("uploads, p99, ms", "uploads", "p99_ms", ",.1f"),
    ("downloads of 10 KB, 32 connections, per server CPU-second", "downloads", "per_cpu_s", ",.0f"),
    ("downloads, per second of wall time", "downloads", "per_wall_s", ",.0f"),
    ("upload → notification at 1,000 listeners, p50, ms", "notify", "p50_ms", ",.1f"),
    ("upload → notification at 1,000 listeners, p99, ms", "notify", "p99_ms", ",.1f"),
    ("notifications at 10 uploads/s, per server CPU-second", "notify", "per_cpu_s", ",.0f"),
    ("resident memory per idle listener, KB", "idle", "kb_per_listener", ",.2f"),
    ("listeners connected, per server CPU-second", "idle", "connects_per_cpu_s", ",.0f"),
    ("start on existing data to the first answer, ms", "start", "start_ms", ",.0f"),
    ("resident memory of the idle server, MB", "start", "resident_kb", "kb"),
]


COLUMNS = [("relais", "Relais"), ("fastapi", "FastAPI"), ("uvloop", "FastAPI, uvloop"), ("nginx", "nginx")]
TABLES = [Table(COLUMNS, "fastapi", ROWS)]


def goals(figures):
    """What is aimed at, what was measured, and whether that is reached."""
    notice = figures.of("notify", "relais", "p99_ms")
    idle = figures.of("idle", "relais", "kb_per_listener")
    start = figures.of("start", "relais", "start_ms")
    resident = figures.of("start", "relais", "resident_kb")
    return checked([
        ("uploads per CPU-second ≥ 10 × FastAPI", figures.ratio("uploads", "per_cpu_s", "fastapi"), 10, True),
        ("downloads per CPU-second ≥ 0.8 × nginx", figures.ratio("downloads", "per_cpu_s", "nginx"), 0.8, True),
        ("upload → notification p99 ≤ 20 ms", notice, 20, False),
        ("idle listener ≤ 3 KB", idle, 3, False),
        ("idle server ≤ 30 MB", resident and resident / 1024, 30, False),
        ("start ≤ 100 ms", start, 100, False),
    ])
