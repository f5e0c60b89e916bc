"""`junctor why` of a fusion: what each member answered, how the answers stood, and what the judge said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from junctor.chat import Analysis, Decision, MemberReply, Ruling, Verdict
from junctor.cli.terminal import console, plain

_WITHOUT = {
    "answered": "nothing to compare",
    "failed": "failed",
    "cut": "too late",
    "spared": "called off",
    "left_out": "not asked",
}
"What is said of a member without an answer, by its status."

_WHOLE_NAME = 30
"Columns of a screen: a member's name that is longer is broken, so that 80 have room for the answers."


def print_fusion(decision: Decision, verdict: Verdict) -> None:
    """All that is known of it, for people."""
    names = names_of(verdict)
    because = f": {plain(verdict.because)}" if verdict.because else ""
    console.print(f"[bold]{_headline(verdict, names)}[/]{because}.", soft_wrap=True)
    console.print(
        f"[dim]{decision.id} for {decision.request_id}; fusion {plain(verdict.fusion)}, mode {verdict.mode}, "
        f"{_by(verdict)}; votes: {plain(verdict.votes) or 'none'}[/]",
        soft_wrap=True,
    )
    console.print(_members(verdict, names))
    if verdict.clusters:
        console.print(_clusters(verdict, names))
    if verdict.rulings:
        console.print(_rulings(verdict, names))
    if verdict.analysis is not None:
        for line in _analysis(verdict.analysis):
            console.print(line, soft_wrap=True)
        console.print()
    if verdict.degraded is not None:
        console.print(f"[bold red]degraded:[/] {plain(verdict.degraded)}", soft_wrap=True)
    console.print(f"[dim]{_bill(verdict)}[/]", soft_wrap=True)


def names_of(verdict: Verdict) -> list[str]:
    """What the members are called: a model that was asked several times is numbered."""
    models = [member.model for member in verdict.members]
    return [
        plain(name) if models.count(name) == 1 else f"{plain(name)} #{models[:at].count(name) + 1}"
        for at, name in enumerate(models)
    ]


def _by(verdict: Verdict) -> str:
    return f"by {plain(verdict.path)}" if verdict.path else "nothing came of it"


def _headline(verdict: Verdict, names: Sequence[str]) -> str:
    if verdict.chosen is not None:
        return f"{_called(verdict.chosen, names)}'s answer was given"
    if verdict.path:
        return f"{plain(verdict.judge or 'nobody')} wrote a new answer"
    return "no answer was given"


def _called(place: int, names: Sequence[str]) -> str:
    return names[place] if 0 <= place < len(names) else "?"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0))


def _add_words(table: Table, heading: str, share: int) -> None:
    """A column of text that has this share of the width that is left."""
    table.add_column(heading, ratio=share, overflow="fold")


def _add_figures(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right")


def _members(verdict: Verdict, names: Sequence[str]) -> Table:
    table = _table()
    table.add_column("member", overflow="fold", max_width=_WHOLE_NAME)
    _add_words(table, "answer", 1)
    _add_figures(table, "group", "vote", "read /\nwritten", "cost,\nµUSD", "ms")
    for at, member in enumerate(verdict.members):
        style = "bold" if at == verdict.chosen else "default" if member.status == "answered" else "dim"
        cells = (
            names[at],
            _said(member),
            "" if member.cluster is None else str(member.cluster + 1),
            f"{member.weight:+.2f}" if member.weight else "",
            f"{member.input_tokens} / {member.output_tokens}",
            f"{member.usd * 1e6:.1f}",
            f"{member.took_ms:.0f}",
        )
        table.add_row(*(f"[{style}]{cell}[/]" for cell in cells))
    return table


def _said(member: MemberReply) -> str:
    if member.answer is not None:
        return plain(member.answer)
    why = f": {plain(member.reason)}" if member.reason else ""
    return _WITHOUT[member.status] + why


def _clusters(verdict: Verdict, names: Sequence[str]) -> Table:
    table = _table()
    table.add_column("group", no_wrap=True)
    _add_words(table, "answer", 1)
    _add_figures(table, "p(right)")
    _add_words(table, "given by", 1)
    for rank, cluster in enumerate(verdict.clusters, start=1):
        style = "bold" if verdict.chosen in cluster.members else "default"
        told = "not kept" if cluster.answer is None else plain(cluster.answer)
        given_by = ", ".join(_called(at, names) for at in cluster.members)
        cells = (str(rank), told, f"{cluster.p:.0%}", given_by)
        table.add_row(*(f"[{style}]{cell}[/]" for cell in cells))
    return table


def _rulings(verdict: Verdict, names: Sequence[str]) -> Table:
    table = _table()
    _add_words(table, f"shown to {plain(verdict.judge or 'the judge')}", 1)
    _add_words(table, "verdict", 1)
    _add_figures(table, "read /\nwritten", "cost,\nµUSD", "ms")
    for ruling in verdict.rulings:
        table.add_row(
            ", then ".join(_called(at, names) for at in ruling.order),
            _ruled(ruling, names),
            f"{ruling.input_tokens} / {ruling.output_tokens}",
            f"{ruling.usd * 1e6:.1f}",
            f"{ruling.took_ms:.0f}",
        )
    return table


def _ruled(ruling: Ruling, names: Sequence[str]) -> str:
    if ruling.failed is not None:
        return f"[red]none: {plain(ruling.failed)}[/]"
    return "a tie" if ruling.preferred is None else _called(ruling.preferred, names)


def _analysis(analysis: Analysis) -> Iterator[str]:
    for point in analysis.consensus:
        yield f"[bold]all say:[/] {plain(point)}"
    for topic in analysis.contradictions:
        stances = "; ".join(f"{plain(it.model)}: {plain(it.stance)}" for it in topic.stances)
        yield f"[bold]contradiction:[/] {plain(topic.topic)} ({stances})"
    for part in analysis.partial_coverage:
        yield f"[bold]some say:[/] {plain(part.point)} ({', '.join(map(plain, part.models))})"
    for insight in analysis.unique_insights:
        yield f"[bold]one says:[/] {plain(insight.insight)} ({plain(insight.model)})"
    for point in analysis.blind_spots:
        yield f"[bold]nobody says:[/] {plain(point)}"


def _bill(verdict: Verdict) -> str:
    spared = ""
    if verdict.saved_answers:
        spared = f", {verdict.saved_answers} called off that could not have changed the outcome"
    multiple = ""
    if verdict.cost_multiple is not None:
        multiple = f", {verdict.cost_multiple:.1f} times what {plain(verdict.best_member)} alone costs"
    return (
        f"{verdict.asked} asked, {verdict.awaited} waited for{spared}; "
        f"all calls together: {verdict.usd * 1e6:.1f} µUSD{multiple}"
    )
