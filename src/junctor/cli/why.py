"""`junctor why ID`: which model answered, why, and why not the others."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from junctor.assemble import database_path
from junctor.chat import Candidate, Decision, Draft, Escalation, Step
from junctor.cli.terminal import ConfigOption, console, load, plain, plain_errors, say_where_from
from junctor.cli.why_fusion import print_fusion
from junctor.gateway.receipt import render_usd
from junctor.pool.ledger_store import LedgerRow, LedgerStore
from junctor.routing.errors import UnknownDecision
from junctor.routing.store import DecisionStore
from junctor.store.database import Database

_REPLY = re.compile(r"^(chatcmpl-|resp_|msg_)(?=[0-9a-f]{32}$)")
"Ids of replies end like those of their requests."
_REFUSED = 400
"Statuses from here on are refusals."
_REFUSALS = {
    "no_model_fits": "the limits that it states are not kept; its reply named each, with its figure",
    "model_not_found": "nothing here is called so",
    "insufficient_quota": "the key's budget is spent, or what is left is less than this may cost",
    "rate_limit_exceeded": "the key's requests or tokens of the minute are used up",
}
"What the ledger's outcomes say, in words."


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(why)


def why(
    id: Annotated[  # noqa: A002
        str | None,
        typer.Argument(help="Of a decision (dec_...), a request (req_...) or a reply; left out: the newest."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Explain a decision. Reads the database on this machine; the server need not run."""
    with plain_errors():
        settings, environment, _ = load(config)
        path = database_path(settings, environment)
        if not path.is_file():
            raise UnknownDecision(f"there is no database at {path} yet; `junctor serve` makes it")
        decision, row = asyncio.run(_find(path, id))
    if decision is not None and decision.fusion is not None:
        print_fusion(decision, decision.fusion)
    elif decision is not None:
        _print_decision(decision)
    if row is not None:
        print_outcome(row)
    say_where_from(settings, path)


async def _find(path: Path, wanted: str | None) -> tuple[Decision | None, LedgerRow | None]:
    async with Database(path) as database:
        ledger = LedgerStore(database)
        if wanted is None:
            newest = await ledger.recent(1)
            if not newest:
                raise UnknownDecision(f"{path} holds no request yet")
            wanted = newest[0].request_id
        wanted = _REPLY.sub("req_", wanted)
        decision = await DecisionStore(database).find(wanted)
        row = await ledger.find(decision.request_id if decision else wanted)
    if decision is None and row is None:
        raise UnknownDecision(
            f"{path} holds no decision or request {wanted!r}; the id stands in the reply headers "
            "x-junctor-decision and x-request-id, and in the reply's own id"
        )
    return decision, row


def _print_decision(decision: Decision) -> None:
    console.print(f"[bold]{decision.chosen}[/] was chosen: {plain(decision.rule)}.", soft_wrap=True)
    floor = f", floor {decision.floor:.0%}" if decision.floor is not None else ""
    console.print(
        f"[dim]{decision.id} for {decision.request_id}; mode {decision.mode}{floor}; decided in "
        f"{decision.took_us:.0f} us by {decision.artefact}; the prompt has about "
        f"{decision.features['tokens']:.0f} tokens[/]\n",
        soft_wrap=True,
    )
    if decision.escalation is not None:
        _print_escalation(decision.escalation, decision.chosen)
    table = Table(box=box.SIMPLE_HEAD, expand=True)
    for heading in ("model", "quality", "est. µUSD", "first / all, ms"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "model" else "right")
    table.add_column("why not", ratio=1)
    for candidate in decision.candidates:
        table.add_row(*_row(candidate, chosen=candidate.name == decision.chosen))
    console.print(table)
    sources = ", ".join(sorted({candidate.p_source for candidate in decision.candidates}))
    measured = any(candidate.p_error is not None for candidate in decision.candidates)
    error = ", ± one standard error, in points" if measured else ""
    console.print(f"[dim]quality: predicted probability of a good answer{error}; from: {sources}[/]")


def _print_escalation(escalation: Escalation, chosen: str) -> None:
    """Step by step: who was asked, what was answered, how sure the vote was, and whether to go on."""
    table = Table(box=box.SIMPLE_HEAD, expand=True)
    for heading in ("asked", "answer", "tokens", "cost, µUSD", "ms"):
        justify = "left" if heading in ("asked", "answer") else "right"
        table.add_column(heading, no_wrap=heading != "answer", justify=justify)
    table.columns[1].ratio = 1
    last = len(escalation.steps)
    for number, step in enumerate(escalation.steps, start=1):
        for draft in step.drafts:
            table.add_row(*_draft_row(draft, number, taken=draft.model == chosen))
        if verdict := _verdict(step, is_last=number == last):
            table.add_row("", f"[italic]{verdict}[/]", end_section=True)
    console.print(table)
    if escalation.degraded:
        console.print("[bold red]degraded:[/] the strongest model failed, so the promise does not hold here")
    console.print(
        f"[dim]all calls together: {escalation.usd * 1e6:.1f} µUSD; promised: "
        f"at least {escalation.floor:.0%} of the strongest model's quality, "
        f"with {escalation.confidence:.0%} confidence, learnt on {escalation.prompts} prompts "
        f"({escalation.ladder})[/]\n",
        soft_wrap=True,
    )


def _draft_row(draft: Draft, step: int, *, taken: bool) -> tuple[str, ...]:
    style = "bold" if taken else "default"
    said = draft.answer if draft.answer is not None else draft.failed and f"failed: {draft.failed}"
    nothing = "free text, given to the caller" if taken else "nothing to compare"
    cells = (
        f"{step}. {draft.model}",
        plain(said) if said else nothing,
        str(draft.output_tokens),
        f"{draft.usd * 1e6:.1f}",
        f"{draft.took_ms:.0f}",
    )
    return tuple(f"[{style}]{cell}[/]" for cell in cells)


def _verdict(step: Step, *, is_last: bool) -> str:
    if step.leads is None:
        return "" if is_last else "no answer can be compared: on to the strongest"
    sure = f"{step.leads}'s answer is right with a probability of {step.p_top:.0%}"
    if step.gain is None:
        return f"{sure}; all have answered"
    going_on = "worth its price: go on" if step.gain > 0 else "not worth its price: stop"
    return f"{sure}; asking on is {going_on} ({step.gain:+.3f})"


def _row(candidate: Candidate, *, chosen: bool) -> tuple[str, ...]:
    style = "bold" if chosen else "dim" if candidate.ruled_out_by else "default"
    cells = (
        candidate.name,
        _quality(candidate),
        f"{candidate.usd * 1e6:.1f}",
        f"{_ms(candidate.first_token_ms)} / {_ms(candidate.total_ms)}",
        "chosen" if chosen else plain(candidate.refused_because or ""),
    )
    return tuple(f"[{style}]{cell}[/]" for cell in cells)


def _quality(candidate: Candidate) -> str:
    error = "" if candidate.p_error is None else f" ± {100 * candidate.p_error:.1f}"
    return f"{candidate.p_good:.1%}{error}"


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def print_outcome(row: LedgerRow) -> None:
    """What a request came to: who answered, how long it took, and what it cost beside the strongest."""
    if row.attempts == 0 and row.http_status >= _REFUSED:
        _print_refusal(row)
        return
    first = "" if row.first_token_ms is None else f", first text after {row.first_token_ms:.0f} ms"
    counted = "about " if row.tokens_estimated else ""
    console.print(
        f"\n{row.request_id}: asked for [bold]{plain(row.asked_model)}[/], answered by "
        f"[bold]{row.model or 'nobody'}[/] ({plain(row.outcome)}) in {row.total_ms:.0f} ms{first}; "
        f"{counted}{row.input_tokens} tokens read, {row.output_tokens} written.",
        soft_wrap=True,
    )
    console.print(f"It cost {render_usd(row.usd)} USD (price: {row.price_source or 'none'}).", soft_wrap=True)
    if row.strongest_model is not None:
        console.print(
            f"{row.strongest_model}, the strongest, would have cost {render_usd(row.strongest_usd)} USD: "
            f"{render_usd(abs(row.saved_usd))} USD {'saved' if row.saved_usd >= 0 else 'more was spent'}.",
            soft_wrap=True,
        )


def _print_refusal(row: LedgerRow) -> None:
    """Of a request that came to nothing: there is no decision, and it cost nothing."""
    because = _REFUSALS.get(row.outcome, "its reply said why")
    console.print(
        f"{row.request_id}: asked for [bold]{plain(row.asked_model) or 'nothing that could be read'}[/], and "
        f"refused before any model was asked ({row.http_status} {plain(row.outcome)}): {because}. It cost "
        "nothing; the words of the refusal are not kept.",
        soft_wrap=True,
    )
