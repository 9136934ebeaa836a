"""What one client says reaches a thousand others: the hub and the gateways of Relais beside servers that do the same."""

import os
import shutil
import subprocess

from harness import CACHE, PEERS, ROOT, Peer, Table, checked, debian_program, kept, python_with, say

MARKS = ("<!-- fan-out: begin, written by `make bench` -->", "<!-- fan-out: end -->")
SOCKETIO = [("relais", "Relais"), ("socketioxide", "socketioxide"), ("socketio_node", "Socket.IO on Node")]
PLAIN = [
    ("relais", "Relais"),
    ("uwebsockets", "uWebSockets.js"),
    ("centrifuge", "centrifuge (Go)"),
    ("django", "Django Channels"),
]


def node_peer(name):
    source = PEERS / name

    def build(folder):
        for file in ("package.json", "package-lock.json", "server.js"):
            shutil.copy(source / file, folder)
        command = ["npm", "ci", "--silent", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True)

    server = kept(f"bench-{name}", source, build) / "server.js"
    return Peer(name, lambda folder, address: ["node", str(server), address])


def socketioxide():
    source = PEERS / "socketioxide"
    target = CACHE / "bench-socketioxide"
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    subprocess.run(command, cwd=source, check=True, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    return Peer("socketioxide", lambda folder, address: [str(target / "release/fanout-socketioxide"), address])


def centrifuge():
    source = PEERS / "centrifuge"

    def build(folder):
        subprocess.run(["go", "build", "-o", str(folder / "server"), "."], cwd=source, check=True)

    server = kept("bench-centrifuge", source, build) / "server"
    return Peer("centrifuge", lambda folder, address: [str(server), address])


def django():
    source = PEERS / "django_channels"
    python = python_with("bench-django", source)
    return Peer("django", lambda folder, address: [str(python), str(source / "run.py"), address])


def relais():
    server = ROOT / "target/release/relais-fanout"
    return Peer("relais", lambda folder, address: [str(server), address])


def peers():
    servers = {"relais": relais(), "socketioxide": socketioxide()}
    needs = {
        "socketio_node": (shutil.which("npm"), lambda: node_peer("socketio_node")),
        "uwebsockets": (shutil.which("npm"), lambda: node_peer("uwebsockets")),
        "centrifuge": (shutil.which("go"), centrifuge),
        "django": (debian_program("redis-server", "redis-server"), django),
    }
    for name, (program, make) in needs.items():
        if program:
            servers[name] = make()
        else:
            say(f"{name} is left out: what it needs is missing (npm, go or redis-server)")
    return servers


def scenarios(quick):
    """Each scenario with its servers and the options of its measurement."""
    seconds = 2 if quick else 4
    connections = 1000 if quick else 5000
    few = ["--subscribers", 100]
    all_of = {"socketio": [name for name, _ in SOCKETIO], "plain": [name for name, _ in PLAIN]}

    def dialect(kind, name, recovery=False):
        if kind == "socketio":
            return ["--dialect", "socketio-recovery" if recovery and name == "relais" else "socketio"]
        return ["--dialect", "centrifuge" if name == "centrifuge" else "plain"]

    chosen = {}
    for kind, names in all_of.items():
        # It cannot deliver ten messages a second to a thousand clients.
        quick_enough = [name for name in names if name != "django"]
        loads = {
            "burst": (names, ["--under-way", 16, "--seconds", seconds]),
            "alone": (names, ["--under-way", 1, "--seconds", seconds]),
            "paced": (quick_enough, ["--rate", 10, "--seconds", 2 * seconds]),
            # To few clients, so that they hear more than may wait for one that does not read.
            "reading": (["relais"], ["--under-way", 16, "--seconds", seconds, *few]),
            "stalled": (["relais"], ["--under-way", 16, "--seconds", seconds, *few, "--stalled"]),
        }
        for load, (servers, options) in loads.items():
            chosen[f"{load}-{kind}"] = (
                "fanout",
                servers,
                lambda name, kind=kind, options=options: [*dialect(kind, name), *options],
            )
        chosen[f"idle-{kind}"] = (
            "idle",
            names,
            lambda name, kind=kind: [*dialect(kind, name, recovery=True), "--listeners", connections],
        )
    return chosen


def rows(kind):
    return [
        ("bursts (16 messages under way), deliveries per server CPU-second", f"burst-{kind}", "per_cpu_s", ",.0f"),
        ("bursts, deliveries per second of wall time", f"burst-{kind}", "per_wall_s", ",.0f"),
        ("bursts, deliveries out of order", f"burst-{kind}", "out_of_order_share", ".0%"),
        ("alone (1 message under way), per server CPU-second", f"alone-{kind}", "per_cpu_s", ",.0f"),
        ("alone, per second of wall time", f"alone-{kind}", "per_wall_s", ",.0f"),
        ("10 messages/s, p50, ms", f"paced-{kind}", "p50_ms", ",.1f"),
        ("10 messages/s, p99, ms", f"paced-{kind}", "p99_ms", ",.1f"),
        ("resident memory per idle connection, KB", f"idle-{kind}", "kb_per_listener", ",.2f"),
        ("connections opened, per server CPU-second", f"idle-{kind}", "connects_per_cpu_s", ",.0f"),
        ("bursts to 100 clients, per server CPU-second", f"reading-{kind}", "per_cpu_s", ",.0f"),
        ("the same while one more never reads, per server CPU-second", f"stalled-{kind}", "per_cpu_s", ",.0f"),
    ]


TABLES = [Table(SOCKETIO, "socketio_node", rows("socketio")), Table(PLAIN, "uwebsockets", rows("plain"))]


def verify(scenario, name, report):
    """What must hold of every report beyond what the load generator has checked."""
    if scenario == "idle":
        return
    report["out_of_order_share"] = report["out_of_order"] / report["count"]
    if name == "relais" and report["out_of_order"]:
        raise SystemExit(f"error: {report['out_of_order']} deliveries of Relais were out of order")
    stalled = report.get("stalled")
    if stalled and stalled["code"] != 4008:
        raise SystemExit(f"error: the client that never reads was closed with {stalled['code']}, not with 4008")


def goals(figures):
    """What is aimed at, what was measured, and whether that is reached."""

    def ratio(load, kind, peer):
        return figures.ratio(f"{load}-{kind}", "per_cpu_s", peer)

    def against_best(kind):
        times = [figures.of(f"paced-{kind}", name, "p99_ms") for name, _ in dict(socketio=SOCKETIO, plain=PLAIN)[kind]]
        ours, *theirs = times
        theirs = [time for time in theirs if time is not None]
        return ours / min(theirs) if ours is not None and theirs else None

    def undisturbed(kind):
        beside, without = (figures.of(f"{load}-{kind}", "relais", "per_cpu_s") for load in ("stalled", "reading"))
        return beside / without if beside and without else None

    checks = [
        ("Socket.IO, bursts ≥ 15 × Node", ratio("burst", "socketio", "socketio_node"), 15, True),
        ("Socket.IO, bursts ≥ 2.5 × socketioxide", ratio("burst", "socketio", "socketioxide"), 2.5, True),
        ("Socket.IO, alone ≥ 3 × Node", ratio("alone", "socketio", "socketio_node"), 3, True),
        ("Socket.IO, alone ≥ 1.4 × socketioxide", ratio("alone", "socketio", "socketioxide"), 1.4, True),
        ("plain, bursts ≥ 1.5 × uWebSockets.js", ratio("burst", "plain", "uwebsockets"), 1.5, True),
        ("plain, alone ≥ 1.2 × uWebSockets.js", ratio("alone", "plain", "uwebsockets"), 1.2, True),
    ]
    for kind, title in (("socketio", "Socket.IO"), ("plain", "plain")):
        memory = figures.of(f"idle-{kind}", "relais", "kb_per_listener")
        connects = figures.of(f"idle-{kind}", "relais", "connects_per_cpu_s")
        checks += [
            (f"{title}, p99 at 10/s ÷ the best peer's ≤ 1", against_best(kind), 1, False),
            (f"{title}, idle connection ≤ 3 KB", memory, 3, False),
            (f"{title}, connections per CPU-second ≥ 20,000", connects, 20_000, True),
            (f"{title}, bursts beside a client that never reads ≥ 0.9 × without", undisturbed(kind), 0.9, True),
        ]
    return checked(checks)
