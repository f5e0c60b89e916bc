"""From raw rounds to the table: medians, differences to the direct way, ratios. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rounds = Sequence[Mapping[str, Any]]
Row = dict[str, Any]
Cell = Callable[[Row], str]
Columns = Mapping[str, Cell]
"What stands above a column, and what stands in it."

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


def render_tables(rows: Mapping[str, Row]) -> str:
    """Markdown: processor time a request; chunks, memory and start; latency. The cheapest a request first."""
    names = sorted(rows, key=lambda name: (name != DIRECT, rows[name]["cpu_us"] or 0))
    gateways = [name for name in names if name != DIRECT]
    tables = ((_REQUESTS, gateways), (_CHUNKS, gateways), (_LATENCIES, names))
    return "\n\n".join(_table(columns, rows, shown) for columns, shown in tables)


def _table(columns: Columns, rows: Mapping[str, Row], names: Sequence[str]) -> str:
    lines = ["| target | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for name in names:
        cells = [cell(rows[name]) for cell in columns.values()]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def _shown(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits if abs(value) < 1000 else 0}f}"


def _figure(name: str, digits: int = 1) -> Cell:
    return lambda row: _shown(row.get(name), digits)


def _with_best(name: str) -> Cell:
    return lambda row: "-" if row[name] is None else f"{_shown(row[name])} ({_shown(row[f'{name}_best'])})"


def _latency(connections: int) -> Cell:
    return lambda row: " / ".join(_shown(row[f"added_{p}_us_{connections}"], 0) for p in ("p50", "p99"))


def _whole_latency(connections: int) -> Cell:
    return lambda row: " / ".join(_shown(row[f"{p}_us_{connections}"], 0) for p in ("p50", "p99"))


def _memory(row: Row) -> str:
    idle, after, requests = (row.get(f"rss_{x}") for x in ("idle_mb", "after_mb", "after_requests"))
    return "-" if idle is None else f"{idle:.0f} -> {_shown(after, 0)} ({requests:,})"


_REQUESTS: Columns = {
    "CPU us a request, 16 connections: median (best)": _with_best("cpu_us"),
    "1 connection": _figure("cpu_us_one"),
    "long run": _figure("cpu_us_long"),
    "x nginx": _figure("times_nginx"),
    "times less than LiteLLM": _figure("times_less_than_litellm", 0),
}
_CHUNKS: Columns = {
    "CPU us a chunk, 5 ms apart: median (best)": _with_best("chunk_us"),
    "no pause": _figure("burst_chunk_us"),
    "x nginx (5 ms)": _figure("chunk_times_nginx"),
    "RSS MB idle -> after (requests)": _memory,
    "start, s": _figure("start_s", 2),
    "failures": _figure("failures", 0),
}
_LATENCIES: Columns = {
    "added p50 / p99 us, 1 connection": _latency(1),
    "in all": _whole_latency(1),
    "added p50 / p99 us, 16 connections": _latency(16),
    "in all, 16": _whole_latency(16),
}
