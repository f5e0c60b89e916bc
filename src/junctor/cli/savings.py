"""`junctor savings`: what routing saved, and what that did to quality."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from junctor.assemble import choose_members, database_path, terms_of
from junctor.chat import BadRequest
from junctor.cli.terminal import ConfigOption, console, load, plain_errors, say_where_from
from junctor.gateway.key_store import KeyStore
from junctor.routing.calibration.store import CalibrationStore
from junctor.routing.measuring.promise import PromiseReport
from junctor.routing.measuring.savings import Alternative, Interval, Quality, Slice
from junctor.routing.measuring.savings_store import Savings, SavingsStore
from junctor.settings import Environment, Settings
from junctor.store.database import Database

MOST_DAYS = 3660
_SHOWN_DAYS = 14
"Days in the table; `--json` has all."
_A_DAY = len("2026-11-21")
_PROMISE = {
    "kept": "[green]kept[/]: comparisons prove it",
    "unproven": "[yellow]unproven[/]: comparisons neither prove nor refute it yet",
    "broken": "[red]broken[/]: comparisons refute it",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(savings)


def savings(
    days: Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="Of so many days (UTC), with today.")] = 30,
    key: Annotated[str | None, typer.Option(help="Of this key's requests alone; its name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for machines.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show what routing saved. Reads the database on this machine; the server need not run."""
    with plain_errors():
        settings, environment, _ = load(config)
        path = database_path(settings, environment)
        if not path.is_file():
            raise BadRequest(f"there is no database at {path} yet; `junctor serve` makes it")
        report, keys = asyncio.run(_report(settings, environment, path, days, key))
        if as_json:
            typer.echo(msgspec.json.encode(report).decode())
            return
        if key is not None and key not in keys and not report.money.requests + report.named_requests:
            raise BadRequest(f"no key is named {key!r}; there are: {', '.join(keys) or 'none'}")
    for part in _render(report):
        console.print(part, soft_wrap=isinstance(part, str))
    say_where_from(settings, path)


async def _report(
    settings: Settings, environment: Environment, path: Path, days: int, key: str | None
) -> tuple[Savings, list[str]]:
    """The report, and the names of all keys."""
    members = await choose_members(settings, environment)
    async with Database(path) as database:
        terms = terms_of(settings, members, await CalibrationStore(database).current())
        kept = await KeyStore(database).keys()
        names = sorted({*(it.name for it in settings.keys), *(it.name for it in kept)})
        return await SavingsStore(database).report(terms, days, key), names


def _render(report: Savings) -> Iterator[Table | str]:
    whose = f"key {escape(report.key)}" if report.key is not None else "all keys"
    yield f"[bold]What `auto` saved[/], {report.since} until today (UTC), {whose}\n"
    if not report.money.requests:
        yield 'Nothing yet: no request with `"model": "auto"` was answered in this time.'
        return
    usd = _Dollars(max(report.money.strongest_usd, report.money.spent_usd))
    yield _ways(report, usd)
    yield from _remarks(report, usd)
    yield "\n[bold]Quality[/], beside the strongest model's answers to the same requests"
    yield from _quality(report.quality, report)
    yield f"\n[bold]The promise[/]: {_describe_promise(report.promise)}\n"
    yield _slices("By day", "day (UTC)", report.by_day[-_SHOWN_DAYS:], usd)
    if len(report.by_key) > 1:
        yield _slices("By key", "key", report.by_key, usd)


def _ways(report: Savings, usd: _Dollars) -> Table:
    money = report.money
    table = Table(box=box.SIMPLE_HEAD, title=f"{money.requests:,} requests, answered", title_justify="left")
    table.add_column("")
    for heading in ("USD", "saved", "95 % interval", "predicted\nquality"):
        table.add_column(heading, justify="right", no_wrap=True)
    interval = money.saved_percent_interval
    table.add_row(
        "[bold]by `auto`: what you paid[/]",
        f"[bold]{usd(money.spent_usd)}[/]",
        f"[bold]{_percent(money.saved_percent)}[/]",
        f"{interval[0]:.1f} .. {interval[1]:.1f} %" if interval else "",
        _quality_percent(report.predicted_quality),
    )
    strongest = _quality_percent(report.strongest_predicted_quality)
    table.add_row("always by the strongest model", usd(money.strongest_usd), "", "", strongest)
    for name, way in (
        ("always by the cheapest", report.always_cheapest),
        ("by the best mix of two", report.static_mix),
    ):
        if way is not None:
            table.add_row(
                f"{name} [dim](estimate)[/]\n[dim]{_describe_mix(way)}[/]",
                usd(way.usd),
                _percent(_saved_percent(way, money.strongest_usd)),
                "",
                _quality_percent(way.predicted_quality),
            )
    if report.static_mix is None and report.predicted_quality is not None:
        table.add_row("by the best mix of two [dim](estimate)[/]\n[dim]none is predicted to be as good[/]")
    return table


def _remarks(report: Savings, usd: _Dollars) -> Iterator[str]:
    money = report.money
    interval = money.saved_usd_interval
    between = f", with 95 % confidence {usd(interval[0])} to {usd(interval[1])}" if interval else ""
    verb = "Saved" if money.saved_usd >= 0 else "[red]Cost more[/]"
    yield (
        f"{verb}: {usd(abs(money.saved_usd))} USD{between}. Measuring cost {usd(report.measuring_usd)} USD "
        f"on top, which leaves {usd(money.saved_usd - report.measuring_usd)}."
    )
    yield (
        f"Another model than the strongest answered {money.elsewhere:,} of the {money.requests:,} requests."
    )
    if report.named_requests:
        yield (
            f"Not in these figures: {report.named_requests:,} requests that named a model "
            f"({usd(report.named_usd)} USD)."
        )
    if report.unpriced_requests:
        yield (
            f"Not in these figures: {report.unpriced_requests:,} requests where a price is unknown "
            f"({usd(report.unpriced_usd)} USD that are known); set `price` in junctor.toml."
        )
    yield (
        "[dim]Estimates: the same tokens at another model's price; it would have written more or fewer. "
        f"{' '.join(describe_predictions(report))}[/]"
    )


def describe_predictions(report: Savings) -> Iterator[str]:
    """What the predicted quality is, and what of."""
    climbed = report.predicted_by_ladder
    if report.predicted_quality is None:
        yield "Predicted quality: not known of any of these requests."
        return
    if climbed == 0:
        yield "Predicted quality is the router's own expectation, not a measurement."
    else:
        whose, others = f"the {climbed:.1%} of the requests", "; of the others the router's own expectation"
        if climbed == 1:
            whose, others = "the requests", ""
        yield (
            f"Predicted quality, of {whose} that climbed a ladder: the share that was right in its "
            "calibration, by the ladder on prompts held back, and by each model alone on the same "
            f"prompts{others}. It is not a measurement of these answers."
        )
    if report.predicted_agreement:
        yield "Right was, in such a calibration, what the strongest model said."
    if report.predicted_share < 1:
        yield f"It leaves out {1 - report.predicted_share:.1%} of the requests, of which that is not known."
    if report.always_cheapest is not None and report.always_cheapest.predicted_quality is None:
        cheapest = ", ".join(map(escape, report.always_cheapest.models))
        yield f"Of {cheapest} it is not known for each request, so no mix has it in it."


def _quality(quality: Quality, report: Savings) -> Iterator[str]:
    if quality.elsewhere_points is None or quality.elsewhere_interval is None:
        yield "[yellow]Not measured.[/] " + _how_to_measure(report)
    else:
        assert quality.points is not None
        assert quality.interval is not None
        mean = f"[bold]{quality.points:+.1f} points[/], 95 % interval "
        elsewhere = f"{quality.elsewhere_points:+.1f}, "
        if quality.undecided:
            mean, elsewhere = "in points, at 95 % somewhere in ", ""
        yield (
            f"All routed requests: {mean}{_points(quality.interval)}. Those that other models answered: "
            f"{elsewhere}{_points(quality.elsewhere_interval)}."
        )
        yield (
            f"By {quality.compared:,} comparisons: {quality.equal:,} gave the same answer, "
            f"{quality.compared - quality.equal - quality.undecided:,} were judged, "
            f"{quality.undecided:,} differ undecided."
        )
    if quality.undecided and report.judge is None:
        yield (
            "Who is right where answers differ is not known, and the interval allows for either: name a "
            "`judge` in `\\[routing.shadow]`."
        )
    if quality.incomparable:
        yield f"{quality.incomparable:,} more had no final answer to compare: a `judge` compares them."
    if quality.failed:
        yield f"{quality.failed:,} more failed: the strongest model did not answer."
    if quality.needed is not None:
        yield f"An interval of +-1 point needs about {quality.needed:,} comparisons."
    yield from _feedback(quality)


def _how_to_measure(report: Savings) -> str:
    if report.sampling > 0:
        return f"{report.sampling:.1%} of the requests are sampled; none of these was compared yet."
    return (
        r"`\[routing.shadow]` with `share = 0.02` in junctor.toml has a sample of the requests answered by "
        "the strongest model, too, and compares."
    )


def _feedback(quality: Quality) -> Iterator[str]:
    said = quality.feedback
    if said.others_mean is None and said.strongest_mean is None:
        yield "No feedback: callers give it to `POST /api/feedback`."
        return
    others = "" if said.others_mean is None else f"{said.others_mean:.2f} for other models ({said.others:,})"
    strongest = (
        ""
        if said.strongest_mean is None
        else f"{said.strongest_mean:.2f} for the strongest ({said.strongest:,})"
    )
    apart = f"; {_points(said.interval)} points apart at 95 %" if said.interval else ""
    yield (
        f"Feedback of callers, 0 to 1: {', '.join(filter(None, (others, strongest)))}{apart}. "
        "[dim]Harder prompts go to the strongest.[/]"
    )


def _describe_promise(promise: PromiseReport) -> str:
    fallback = " The strongest model answers until you calibrate again." if promise.fallback else ""
    terms = f"at most {promise.margin_points:.1f} points below the strongest model, at "
    sure = f"{100 * promise.confidence:.0f} % ({escape(promise.version)})"
    return f"{terms}{sure}: {_PROMISE[promise.status]}, {promise.compared:,} so far.{fallback}"


def _slices(title: str, heading: str, slices: Iterable[Slice], usd: _Dollars) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column(heading, overflow="fold", min_width=_A_DAY)
    headings = ("requests", "not by the\nstrongest", "paid,\nUSD", "strongest,\nUSD", "saved,\nUSD", "saved")
    for name in headings:
        table.add_column(name, justify="right", no_wrap=True)
    for it in slices:
        figures = (usd(it.spent_usd), usd(it.strongest_usd), usd(it.saved_usd), _percent(it.saved_percent))
        table.add_row(escape(it.name) or "(no key)", f"{it.requests:,}", f"{it.elsewhere:,}", *figures)
    return table


def _describe_mix(way: Alternative) -> str:
    return ", ".join(f"{100 * share:.0f} % {escape(name)}" for name, share in way.models.items())


def _saved_percent(way: Alternative, strongest_usd: float) -> float | None:
    return 100 * (1 - way.usd / strongest_usd) if strongest_usd > 0 else None


class _Dollars:
    """Writes amounts with as many decimals as the largest of them needs."""

    def __init__(self, largest: float) -> None:
        self._decimals = 2 if largest >= 10 else 4 if largest >= 0.1 else 6

    def __call__(self, usd: float) -> str:
        return f"{usd:,.{self._decimals}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"[red]{value:.1f} %[/]" if value < 0 else f"{value:.1f} %"


def _quality_percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _points(interval: Interval) -> str:
    return f"{interval[0]:+.1f} .. {interval[1]:+.1f}"
