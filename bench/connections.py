"""What one client says reaches ever more others: deliveries, memory and times by the number of connections."""

from fanout import relais, verify  # noqa: F401  (what `run` asks of a suite)
from harness import shown

MARKS = ("<!-- connections: begin, written by `make bench` -->", "<!-- connections: end -->")
COUNTS = (1_000, 2_500, 5_000, 10_000, 15_000)
KINDS = {"socketio": "Socket.IO", "plain": "plain"}


def peers():
    return {"relais": relais()}


def scenarios(quick):
    """Each scenario with its servers and the options of its measurement."""
    seconds = 2 if quick else 5
    loads = {
        "burst": ["--under-way", 16, "--seconds", seconds],
        "alone": ["--under-way", 1, "--seconds", seconds],
        # Ten a second would be more than the load generator reads at the upper end.
        "paced": ["--rate", 2, "--seconds", 2 * seconds],
    }
    chosen = {}
    for count in COUNTS[:2] if quick else COUNTS:
        for kind in KINDS:
            for load, options in loads.items():
                all_options = ["--dialect", kind, "--subscribers", count, *options]
                chosen[f"{load}-{kind}-{count}"] = (
                    "fanout",
                    ["relais"],
                    lambda name, all_options=all_options: all_options,
                )
    return chosen


class ByCount:
    """A row for each number of connections."""

    def text(self, figures):
        columns = [
            (f"{title}: {column}", load, kind, field, form)
            for kind, title in KINDS.items()
            for column, load, field, form in (
                ("bursts", "burst", "per_cpu_s", ",.0f"),
                ("alone", "alone", "per_cpu_s", ",.0f"),
                ("KB each", "burst", "kb_per_connection", ".2f"),
                ("p50, ms", "paced", "p50_ms", ".1f"),
                ("p99, ms", "paced", "p99_ms", ".1f"),
            )
        ]
        titles = " | ".join(column[0] for column in columns)
        lines = [f"| connections | {titles} |", "|---" * (len(columns) + 1) + "|"]
        for count in COUNTS:
            cells = [
                shown(figures.of(f"{load}-{kind}-{count}", "relais", field), form)
                for _, load, kind, field, form in columns
            ]
            if any(cell != "–" for cell in cells):
                lines.append(f"| {count:,} | {' | '.join(cells)} |")
        return "\n".join(lines)


TABLES = [ByCount()]


def goals(figures):
    """None of its own."""
    return []
