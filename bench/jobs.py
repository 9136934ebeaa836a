"""Jobs enqueued and worked off at the same time by eight workers: the store of Relais on SQLite and on PostgreSQL beside
graphile-worker on the same PostgreSQL, whose commits reach the disk."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import PEERS, ROOT, SCENARIO_LIMIT_S, Postgres, Table, checked, kept, say

MARKS = ("<!-- jobs: begin, written by `make bench` -->", "<!-- jobs: end -->")
OURS = ROOT / "target/release/relais-bench-jobs"
WORKERS = 8


def graphile_worker():
    source = PEERS / "graphile_worker"

    def build(folder):
        for file in ("package.json", "package-lock.json", "bench.js"):
            shutil.copy(source / file, folder)
        command = ["npm", "ci", "--silent", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True)

    return kept("bench-graphile-worker", source, build) / "bench.js"


def peers():
    servers = {"sqlite": None}
    server = Postgres.start()
    if server is None:
        return servers
    servers["relais"] = server
    if shutil.which("npm"):
        servers["graphile"] = (server, graphile_worker())
    else:
        say("graphile is left out: what it needs is missing (npm)")
    return servers


def clear(servers):
    if "relais" in servers:
        servers["relais"].stop()


def scenarios(quick):
    jobs = 5_000 if quick else 40_000
    few = 2_000 if quick else 10_000
    everybody = ("relais", "graphile", "sqlite")
    return {
        "jobs-batches": ("batch", everybody, lambda name: [jobs, 1000]),
        "jobs-singly": ("single", everybody, lambda name: [few, 64]),
    }


def measure(way, name, peer, options, work):
    jobs, size = map(str, options)
    if name == "graphile":
        server, script = peer
        command = ["node", str(script), server.database("jobs"), jobs, str(WORKERS), way, size]
    else:
        folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=work))
        database = f"sqlite:{folder / 'relais.db'}" if name == "sqlite" else peer.database("jobs")
        command = [str(OURS), "--database", database, "--jobs", jobs, "--workers", str(WORKERS), "--way", way, "--size", size]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SCENARIO_LIMIT_S, check=True)
    return json.loads(done.stdout)


ROWS = [
    ("jobs enqueued by a thousand and done, per second", "jobs-batches", "per_s", ",.0f"),
    ("until all are enqueued, s", "jobs-batches", "enqueue_s", ",.2f"),
    ("jobs enqueued each in its own transaction, 64 at a time, and done, per second", "jobs-singly", "per_s", ",.0f"),
]
COLUMNS = [("relais", "Relais on PostgreSQL"), ("graphile", "graphile-worker"), ("sqlite", "Relais on SQLite")]
TABLES = [Table(COLUMNS, "graphile", ROWS)]


def goals(figures):
    """What is aimed at, what was measured, and whether that is reached."""
    return checked([
        ("jobs per second on PostgreSQL ≥ 5,000", figures.of("jobs-batches", "relais", "per_s"), 5000, True),
        ("jobs per second on SQLite ≥ 5,000", figures.of("jobs-batches", "sqlite", "per_s"), 5000, True),
        ("jobs per second ≥ graphile-worker", figures.ratio("jobs-batches", "per_s", "graphile"), 1, True),
    ])
