"""Modules that report and pages that show them: 10,000 devices and 200 pages of an administrator, on SQLite and on
PostgreSQL, beside the seed's system written with Express and Socket.IO; and how soon devices that vanish are told."""

import json
import os
import secrets
import shutil
import subprocess
from urllib.parse import urlsplit

from fanout import node_peer
from harness import Peer, Running, Table, checked, clean_environment, say
from relay import RELAIS

MARKS = ("<!-- live: begin, written by `make bench` -->", "<!-- live: end -->")
DEVICES, WATCHERS = 10_000, 200
FEW_DEVICES, FEW_WATCHERS = 2_000, 50
LOADS = ((DEVICES, WATCHERS), (FEW_DEVICES, FEW_WATCHERS))
EMAIL, PASSWORD = "admin@relais.test", "correct horse battery"
# The hub's deadline, the delay before a module is told to be gone, and a second.
OFFLINE_LIMIT_S = 60 + 5 + 1
SETTINGS = {
    "RELAIS_AUTH_MODE": "required",
    "RELAIS_ADMIN_EMAIL": EMAIL,
    "RELAIS_ADMIN_PASSWORD": PASSWORD,
    # All pages are of one administrator.
    "RELAIS_HUB_SESSIONS_PER_PRINCIPAL_MAX": "1000",
}


def psql(url, statement):
    subprocess.run(["psql", url, "--quiet", "--command", statement], check=True, stdout=subprocess.DEVNULL)


class LivePeer(Peer):
    """A server with modules in it, made once and copied for each run; on PostgreSQL if `url` is given."""

    def __init__(self, name, url=None):
        super().__init__(name, self.serve, environment=self.settings, prepare=self.modules)
        self.url = url
        self.made = None
        self.databases = []

    def serve(self, folder, address):
        return [str(RELAIS), "serve", "--listen", address, "--data", str(folder / "data")]

    def settings(self, folder):
        database = folder / "database"
        return SETTINGS | ({"RELAIS_DATABASE_URL": database.read_text()} if database.exists() else {})

    def database(self, folder, template=None):
        """A database of this folder's own, empty or a copy."""
        name = f"relais_bench_{secrets.token_hex(6)}"
        psql(self.url, f"create database {name}" + (f" template {template}" if template else ""))
        (folder / "database").write_text(urlsplit(self.url)._replace(path=f"/{name}").geturl())
        self.databases.append(name)
        return name

    def modules(self, folder, address):
        if self.made is None:
            made = folder.parent / f"live-{self.name}"
            made.mkdir()
            if self.url:
                self.database(made)
            self.make(made)
            self.made = made
        shutil.copytree(self.made, folder, dirs_exist_ok=True)
        if self.url:
            *others, last = self.databases[1:] or [None]
            if last:
                psql(self.url, f"drop database {last} with (force)")
                self.databases = self.databases[:1]
            self.database(folder, self.databases[0])

    def make(self, folder):
        plain = Peer(self.name, self.serve, environment=self.settings)
        with Running(plain, folder.parent, folder) as server:
            command = [str(RELAIS), "--data", str(folder / "data")]
            environment = clean_environment() | self.settings(folder)
            token = subprocess.run(
                [*command, "token", "--email", EMAIL], check=True, capture_output=True, text=True, env=environment
            ).stdout.split()[-1]
            (folder / "token").write_text(token)
            options = ["--count", str(DEVICES), "--url", f"ws://{server.address}", "--add-only"]
            add = [*command, "sandbox", "devices", *options, "--credentials", str(folder / "credentials")]
            subprocess.run(add, check=True, env=environment | {"RELAIS_KEY": token})

    def clear(self):
        """Leaves no database behind."""
        for name in self.databases:
            psql(self.url, f"drop database if exists {name} with (force)")


class NodePeer(Peer):
    """The seed's system, which finds its modules and its administrator in two files."""

    def __init__(self):
        program = node_peer("live_node").command

        def command(folder, address):
            return [*program(folder, address), str(folder / "credentials"), str(folder / "token")]

        def prepare(folder, address):
            known = {module_id(place): secrets.token_hex(32) for place in range(DEVICES)}
            (folder / "credentials").write_text(json.dumps(known))
            (folder / "token").write_text(secrets.token_hex(32))

        super().__init__("node", command, lambda folder: {"NODE_ENV": "production"}, prepare)


def module_id(place):
    """As the sandbox names its modules."""
    return f"MC-{place:04}-{('STN', 'LFX', 'AP', 'SM', 'ST', 'LT')[place % 6]}"


def peers():
    servers = {"relais": LivePeer("relais")}
    url = os.environ.get("RELAIS_TEST_POSTGRES")
    if url and shutil.which("psql"):
        servers["postgres"] = LivePeer("postgres", url)
    else:
        say("PostgreSQL is not measured: RELAIS_TEST_POSTGRES names no database, or psql is missing")
    if shutil.which("npm"):
        servers["node"] = NodePeer()
    else:
        say("Node.js is missing: its figures are left out")
    return servers


def clear(servers):
    """After all rounds."""
    for server in servers.values():
        if isinstance(server, LivePeer):
            server.clear()


def scenarios(quick):
    """Each scenario with its servers and the options of its measurement."""
    files = ["--credentials", "credentials", "--token", "token"]

    def load(devices, watchers):
        time = ["--interval", 4, "--seconds", 4] if quick else ["--interval", 10, "--seconds", 30]
        return lambda name: [*files, "--devices", devices, "--watchers", watchers, *time]

    many = load(500, 10) if quick else load(DEVICES, WATCHERS)
    few = load(200, 5) if quick else load(FEW_DEVICES, FEW_WATCHERS)
    cut = [*files, "--devices", 500 if quick else DEVICES, "--limit", OFFLINE_LIMIT_S, "--simulator", RELAIS]
    return {
        "live": ("live", ["relais", "postgres", "node"], many),
        "live-few": ("live", ["relais", "node"], few),
        "offline": ("offline", ["relais"], lambda name: cut),
    }


def verify(scenario, name, report):
    """Every page of Relais shows the newest of every module in the end; a peer that is overloaded need not."""
    if scenario == "live" and name != "node" and report["behind"]:
        raise SystemExit(f"error: {name}: {report['behind']} modules on pages do not show their newest report")


def rows(scenario, load):
    return [
        (f"{load}: processor time, % of one core", scenario, "cpu_percent", ",.1f"),
        (f"{load}: processor time for each event that a page hears, µs", scenario, "cpu_us_per_event", ",.2f"),
        (f"{load}: report → page, p50, ms", scenario, "p50_ms", ",.1f"),
        (f"{load}: report → page, p99, ms", scenario, "p99_ms", ",.1f"),
        (f"{load}: reports shown, % of all on all pages", scenario, "shown_percent", ",.2f"),
        (f"{load}: modules on pages that lack the newest in the end", scenario, "behind", ",.0f"),
        (f"{load}: events heard by the pages, per second", scenario, "heard_per_s", ",.0f"),
        (f"{load}: resident memory, MB", scenario, "resident_mb", ",.1f"),
    ]


ROWS = [
    *rows("live", f"{DEVICES:,} devices, {WATCHERS} pages"),
    *rows("live-few", f"{FEW_DEVICES:,} devices, {FEW_WATCHERS} pages"),
    (f"{DEVICES:,} devices cut off, the first told to be offline after, s", "offline", "first_s", ",.1f"),
    (f"{DEVICES:,} devices cut off, all told to be offline after, s", "offline", "last_s", ",.1f"),
]
COLUMNS = [("relais", "Relais, SQLite"), ("postgres", "Relais, PostgreSQL"), ("node", "Express + Socket.IO")]
TABLES = [Table(COLUMNS, "node", ROWS)]


def goals(figures):
    """What is aimed at, what was measured, and whether that is reached."""
    of = figures.of
    load, few = (f"{devices:,} devices and {pages} pages" for devices, pages in LOADS)
    return checked([
        (f"{load}: CPU ≤ 15 % of one core", of("live", "relais", "cpu_percent"), 15, False),
        (f"{load}, PostgreSQL: CPU ≤ 15 % of one core", of("live", "postgres", "cpu_percent"), 15, False),
        (f"{load}: report → page p99 ≤ 50 ms", of("live", "relais", "p99_ms"), 50, False),
        (f"{load}: CPU for each event ≤ 0.25 × Node", figures.ratio("live", "cpu_us_per_event", "node"), 0.25, False),
        (f"{few}: CPU ≤ 0.25 × Node", figures.ratio("live-few", "cpu_percent", "node"), 0.25, False),
        (f"{DEVICES:,} cut off: all told within {OFFLINE_LIMIT_S} s", of("offline", "relais", "last_s"), OFFLINE_LIMIT_S, False),
    ])
