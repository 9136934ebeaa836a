"""Servers that are measured, how they are started, and the table that comes of it."""

import json
import os
import platform
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "relais"
BENCH = ROOT / "target/release/relais-bench"
PEERS = ROOT / "bench/peers"
POSTGRES = ROOT / "scripts/test-postgres"
DOCUMENT = ROOT / "docs/performance.md"
START_LIMIT_S = 20
STOP_LIMIT_S = 30
SCENARIO_LIMIT_S = 240


def say(text):
    print(text, flush=True)


def kept(name, source, build):
    """A folder in the cache, made by `build(folder)` from the files of `source`, and anew when they change."""
    files = sorted(path for path in source.rglob("*") if path.is_file() and "node_modules" not in path.parts)
    wanted = "".join(f"{path.relative_to(source)}\n{path.read_text()}\n" for path in files)
    folder = CACHE / name
    stamp = folder / "built-from"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        build(folder)
        stamp.write_text(wanted)
    return folder


def python_with(name, source):
    """A Python with the packages that a peer asks for."""

    def build(folder):
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", str(source / "requirements.txt")], check=True)

    return kept(name, source, build) / "bin/python"


def debian_program(program, package):
    """A program, or nothing where it is missing and cannot be installed."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        # The package would start a server of its own.
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        found = shutil.which(program, path="/usr/sbin:/usr/bin")
    return found


def free_port():
    """A port below those that the system gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit("error: no free port between 20000 and 32000")


class Peer:
    """A way to start one kind of server in a folder."""

    def __init__(self, name, command, environment=None, prepare=None, health="/healthz"):
        self.name = name
        self.command = command
        self.environment = environment or (lambda folder: {})
        self.prepare = prepare or (lambda folder, address: None)
        self.health = health


class Running:
    """A server that has answered; ended at the end of the `with` block."""

    def __init__(self, peer, work, folder=None):
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=work))
        self.address = f"127.0.0.1:{free_port()}"
        self.peer = peer

    def __enter__(self):
        self.peer.prepare(self.folder, self.address)
        with open(self.folder / "server.log", "wb") as log:
            self.process = subprocess.Popen(
                self.peer.command(self.folder, self.address),
                env=clean_environment() | self.peer.environment(self.folder),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        host, port = self.address.split(":")
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection((host, int(port)), 1).close()
                return self
            except OSError:
                time.sleep(0.01)
        self.__exit__()
        words = (self.folder / "server.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"error: {self.peer.name} did not start:\n{words}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def measure(self, scenario, *options):
        target = ["--address", self.address, "--pid", str(self.process.pid)]
        return bench(scenario, *target, *options, folder=self.folder)


def clean_environment():
    ours = ("RELAIS_", "RELAY_PORT", "BASE_FILES_DIR", "ALLOWED_ORIGINS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def bench(*arguments, environment=None, folder=None):
    command = [str(BENCH), *map(str, arguments)]
    environment = clean_environment() | (environment or {})
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=SCENARIO_LIMIT_S, env=environment, cwd=folder)
    if done.returncode != 0:
        raise SystemExit(f"error: the measurement failed: {' '.join(command)}")
    return json.loads(done.stdout)


def open_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def brief(report):
    return ", ".join(f"{name} {value:.4g}" for name, value in report.items() if isinstance(value, float))


class Postgres:
    """A PostgreSQL server of the measurement's own, on disk and durable."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="relais-bench-", dir="/var/tmp"))
        start = [str(POSTGRES), "start", str(self.folder / "postgres"), "durable"]
        self.address = subprocess.run(start, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()

    @classmethod
    def start(cls):
        """One, or nothing where PostgreSQL is missing."""
        if shutil.which("psql"):
            return cls()
        say("PostgreSQL is left out: what it needs is missing (psql)")
        return None

    def database(self, name, template=None):
        """The address of a database of this name, made anew: empty, or a copy."""
        copied = f" TEMPLATE {template}" if template else ""
        quiet = os.environ | {"PGOPTIONS": "--client-min-messages=warning"}
        for statement in (f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}{copied}"):
            subprocess.run(["psql", "--quiet", self.address, "--command", statement], check=True, env=quiet)
        return urlsplit(self.address)._replace(path=f"/{name}").geturl()

    def cpu_s(self):
        """Seconds of processor time of all its processes so far, those that have ended included."""
        root = int((self.folder / "postgres/data/postmaster.pid").read_text().split()[0])
        ticks = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent, *fields = file.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            # Fields 14 to 17 of proc(5): user and system, and those of children that have ended.
            if int(file.parent.name) == root or int(parent) == root:
                ticks += sum(map(int, fields[9:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self):
        subprocess.run([str(POSTGRES), "stop", str(self.folder / "postgres")], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class Figures:
    """Medians over the rounds."""

    def __init__(self, results):
        self.results = results

    def of(self, scenario, name, field):
        reports = self.results.get(scenario, {}).get(name)
        return statistics.median(report[field] for report in reports) if reports else None

    def ratio(self, scenario, field, peer, ours="relais"):
        ours, theirs = self.of(scenario, ours, field), self.of(scenario, peer, field)
        return ours / theirs if ours is not None and theirs else None


class Table:
    """One table: its columns (name of a server, title), the server of the last column's ratio, and its rows
    (title, scenario, field, format)."""

    def __init__(self, columns, compared, rows, ours="relais"):
        self.columns = columns
        self.compared = compared
        self.ours = ours
        self.rows = rows

    def text(self, figures):
        titles = [title for _, title in self.columns]
        first, compared = (dict(self.columns)[name] for name in (self.ours, self.compared))
        lines = [f"| | {' | '.join(titles)} | {first} ÷ {compared} |", "|---" * (len(titles) + 2) + "|"]
        for title, scenario, field, form in self.rows:
            cells = [shown(figures.of(scenario, name, field), form) for name, _ in self.columns]
            if cells[0] == "–":
                continue
            ratio = figures.ratio(scenario, field, self.compared, self.ours)
            lines.append(f"| {title} | {' | '.join(cells)} | {shown(ratio, '.2f')} |")
        return "\n".join(lines)


def shown(value, form):
    if value is None:
        return "–"
    return f"{value / 1024:.1f}" if form == "kb" else format(value, form)


def checked(checks):
    """Of (text, value, goal, whether at least): text, value and whether it is reached, where it was measured."""
    return [
        (text, value, value >= goal if at_least else value <= goal)
        for text, value, goal, at_least in checks
        if value is not None
    ]


def machine():
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} × {model}, Linux {platform.release().split('-')[0]}"


def write_document(marks, tables, goals, figures, rounds):
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(marks[0])
    _, _, tail = rest.partition(marks[1])
    measured = f"Measured on {machine()}; medians of {rounds} rounds."
    parts = [measured, *(table.text(figures) for table in tables)]
    if goals:
        reached = [f"| {text} | {value:,.2f} | {'yes' if ok else '**no**'} |" for text, value, ok in goals]
        parts.append("\n".join(["| goal | measured | reached |", "|---|---|---|", *reached]))
    body = "\n\n".join(parts)
    DOCUMENT.write_text(f"{head}{marks[0]}\n\n{body}\n\n{marks[1]}{tail}")
