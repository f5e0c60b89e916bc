"""From raw rounds to the table: medians, differences to the direct way, ratios. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Rounds = Sequence[Mapping[str, Any]]
Row = dict[str, Any]

DIRECT, FLOOR, ANCHOR = "direct", "nginx", "litellm"
FAILURES = ("not_200", "short", "broken", "unanswered")


def summarise(rounds: Rounds, direct: Rounds) -> Row:
    """Medians over the rounds. `direct` has the rounds of the upstream asked without a gateway."""
    row: Row = {}
    for name, phase, figure in (
        ("cpu_us", "many", "cpu_us"),
        ("cpu_us_one", "one", "cpu_us"),
        ("chunk_us", "stream", "cpu_us_per_chunk"),
        ("burst_chunk_us", "burst", "cpu_us_per_chunk"),
    ):
        values = _values(rounds, phase, figure)
        row[name] = _median(values)
        row[f"{name}_best"] = min(values, default=None)
    for phase, connections in (("one", 1), ("many", 16)):
        for figure in ("p50_us", "p99_us"):
            row[f"added_{figure}_{connections}"] = _median(_added(rounds, direct, phase, figure))
            row[f"{figure}_{connections}"] = _median(_values(rounds, phase, figure))
    row["failures"] = sum(
        phase[kind]
        for one in rounds
        for phase in one.values()
        if isinstance(phase, Mapping)
        for kind in FAILURES
    )
    return row


def _values(rounds: Rounds, phase: str, figure: str) -> list[float]:
    return [one[phase][figure] for one in rounds if phase in one and figure in one[phase]]


def _added(rounds: Rounds, direct: Rounds, phase: str, figure: str) -> list[float]:
    """Round by round, so that what slowed the machine in one round is on both sides."""
    base = {one["round"]: one[phase][figure] for one in direct if phase in one}
    return [
        one[phase][figure] - base[one["round"]]
        for one in rounds
        if phase in one and one["round"] in base and one[phase]["answered"]
    ]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def add_ratios(rows: Mapping[str, Row]) -> None:
    """How many times nginx's processor time, and how many times less than LiteLLM's, by the medians."""
    floor, anchor = rows.get(FLOOR, {}), rows.get(ANCHOR, {})
    for row in rows.values():
        row["times_nginx"] = _ratio(row["cpu_us"], floor.get("cpu_us"))
        row["chunk_times_nginx"] = _ratio(row["chunk_us"], floor.get("chunk_us"))
        row["times_less_than_litellm"] = _ratio(anchor.get("cpu_us"), row["cpu_us"])


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


HEAD = (
    "target",
    "CPU us/request, 16 connections: median (best)",
    "1 connection",
    "long run",
    "x nginx",
    "times less than LiteLLM",
    "CPU us/chunk: paced (best)",
    "at once",
    "x nginx",
    "added p50 / p99 us, 1 connection",
    "added p50 / p99 us, 16 connections",
    "RSS MB idle -> after (requests)",
    "start s",
    "failures",
)


def render_table(rows: Mapping[str, Row]) -> str:
    """Markdown; the cheapest a request first."""
    names = sorted(rows, key=lambda name: (name != DIRECT, rows[name]["cpu_us"] or 0))
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(_cells(name, rows[name])) + " |" for name in names]
    return "\n".join(lines)


def _cells(name: str, row: Row) -> list[str]:
    added = "added_" if name != DIRECT else ""
    latencies = [
        f"{_shown(row[f'{added}p50_us_{n}'], 0)} / {_shown(row[f'{added}p99_us_{n}'], 0)}" for n in (1, 16)
    ]
    if name == DIRECT:
        latencies = [f"(whole: {pair})" for pair in latencies]
    weight = "-"
    if row.get("rss_idle_mb"):
        weight = (
            f"{row['rss_idle_mb']:.0f} -> {_shown(row['rss_after_mb'], 0)} ({row['rss_after_requests']:,})"
        )
    return [
        name,
        _with_best(row, "cpu_us"),
        _shown(row["cpu_us_one"]),
        _shown(row.get("cpu_us_long")),
        _shown(row["times_nginx"]),
        _shown(row["times_less_than_litellm"], 0),
        _with_best(row, "chunk_us"),
        _shown(row["burst_chunk_us"]),
        _shown(row["chunk_times_nginx"]),
        *latencies,
        weight,
        _shown(row.get("start_s"), 2),
        str(row["failures"]),
    ]


def _with_best(row: Row, name: str) -> str:
    return "-" if row[name] is None else f"{_shown(row[name])} ({_shown(row[f'{name}_best'])})"


def _shown(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
