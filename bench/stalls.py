"""Ten thousand clients that stall in every way there is: whether the server still answers, and gives its memory back."""

from harness import Peer, checked, shown
from relay import RELAIS

EMAIL, PASSWORD = "ada@relais.test", "correct horse battery"
MARKS = ("<!-- stalls: begin, written by `make bench` -->", "<!-- stalls: end -->")


def peers():
    def relais(folder, address):
        return [str(RELAIS), "serve", "--listen", address, "--data", str(folder / "data")]

    administrator = {"RELAIS_ADMIN_EMAIL": EMAIL, "RELAIS_ADMIN_PASSWORD": PASSWORD}
    return {"relais": Peer("relais", relais, environment=lambda folder: administrator)}


def scenarios(quick):
    """The scenario with its server and the options of its measurement."""
    options = ["--connections", 1_000 if quick else 10_000, "--seconds", 10 if quick else 120]
    options += ["--email", EMAIL, "--password", PASSWORD]
    return {"stalls": ("stalls", ["relais"], lambda name: options)}


def verify(scenario, name, report):
    """The load generator has checked every answer."""


ROWS = [
    ("connections that stall, in thirteen ways", "stalls", "connections", ",.0f"),
    ("ended by the server and opened again", "stalls", "ended", ",.0f"),
    ("health on a new connection, p50, ms", "stalls", "health_p50_ms", ",.1f"),
    ("health on a new connection, p99, ms", "stalls", "health_p99_ms", ",.1f"),
    ("signing in on a new connection, p99, ms", "stalls", "sign_in_p99_ms", ",.1f"),
    ("upload, download and notification of one client, p99, ms", "stalls", "client_p99_ms", ",.1f"),
    ("resident memory before, MB", "stalls", "resident_before_kb", "kb"),
    ("resident memory meanwhile at most, MB", "stalls", "resident_peak_kb", "kb"),
    ("resident memory after, MB", "stalls", "resident_after_kb", "kb"),
    ("processor time of the server, share of one", "stalls", "cpu_share", ",.2f"),
]


class Rows:
    """One server, compared with nothing."""

    def text(self, figures):
        lines = ["| | Relais |", "|---|---|"]
        for title, scenario, field, form in ROWS:
            cell = shown(figures.of(scenario, "relais", field), form)
            if cell != "–":
                lines.append(f"| {title} | {cell} |")
        return "\n".join(lines)


TABLES = [Rows()]


def goals(figures):
    """What is aimed at, what was measured, and whether that is reached."""
    before, after = (figures.of("stalls", "relais", f"resident_{when}_kb") for when in ("before", "after"))
    return checked([
        ("health beside 10,000 stalled connections, p99 ≤ 100 ms", figures.of("stalls", "relais", "health_p99_ms"), 100, False),
        ("memory after ÷ before ≤ 1.5", after and after / before, 1.5, False),
    ])
