"""What an answer came to, as the caller reads it: in reply headers, and in the last comment of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from junctor.chat import Decision
from junctor.pool.ledger import Receipt

_PREFIX = b": junctor "


class StreamReceipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last comment of a streamed reply: `: junctor {...}`. Clients skip comments; people see them."""

    request: str
    model: str | None
    decision: str | None
    usd: float
    saved_usd: float | None = None
    "Left out for a fusion: its cost is compared with nobody's."
    input_tokens: int
    output_tokens: int


def render_receipt_comment(receipt: Receipt, decision: Decision | None = None) -> bytes:
    """The receipt as a comment of a stream of server-sent events."""
    line = StreamReceipt(
        request=receipt.request_id,
        model=receipt.model,
        decision=receipt.decision_id,
        usd=receipt.usd,
        saved_usd=_saved_usd(receipt, decision),
        input_tokens=receipt.input_tokens,
        output_tokens=receipt.output_tokens,
    )
    return _PREFIX + msgspec.json.encode(line) + b"\n\n"


def parse_receipt_comment(tail: bytes) -> StreamReceipt | None:
    """The receipt in the last bytes of a stream; None when there is none."""
    for line in reversed(tail.splitlines()):
        if line.startswith(_PREFIX):
            try:
                return msgspec.json.decode(line.removeprefix(_PREFIX), type=StreamReceipt)
            except msgspec.DecodeError:
                return None
    return None


def render_exact(receipt: Receipt, decision: Decision | None = None) -> Iterator[tuple[str, str]]:
    """Reply headers for an answer that is complete. A fusion's cost is compared with nobody's."""
    yield from render_who(receipt.model, receipt.decision_id)
    yield from _amounts(receipt.usd, _saved_usd(receipt, decision))


def render_estimate(model: str | None, decision: Decision | None) -> Iterator[tuple[str, str]]:
    """Reply headers for an answer that only begins: the router's estimate, where a router has decided."""
    yield from render_who(model, decision.id if decision else None)
    if decision is not None and decision.fusion is not None and not decision.fusion.path:
        return  # its progress goes out first: nothing is known yet
    together = decision and (decision.escalation or decision.fusion)
    if decision is not None and together:
        yield from _amounts(together.usd, None if decision.fusion else decision.saved_usd)
        yield "x-junctor-cost-basis", "estimated"
    elif decision is not None:
        usd = {candidate.name: candidate.usd for candidate in decision.candidates}
        answering = usd[model or decision.chosen]
        yield from _amounts(answering, decision.saved_usd + usd[decision.chosen] - answering)
        yield "x-junctor-cost-basis", "estimated"


def render_who(model: str | None, decision_id: str | None) -> list[tuple[str, str]]:
    """Reply headers that say who answered, and which decision led there."""
    who = (("x-junctor-model", model), ("x-junctor-decision", decision_id))
    return [(name, value) for name, value in who if value is not None]


def render_warning(left_out: Sequence[str], note: str = "") -> Iterator[tuple[str, str]]:
    """The reply header that names what the answering model's dialect could not carry, after the note."""
    said = [note] if note else []
    if left_out:
        shown = ", ".join(name if name.isascii() and name.isprintable() else "?" for name in left_out)
        said.append(f"not sent to the model, whose API has no such field: {shown}")
    if said:
        yield "x-junctor-warning", "; ".join(said)[:1000]


def _saved_usd(receipt: Receipt, decision: Decision | None) -> float | None:
    """None for a fusion."""
    return receipt.saved_usd if decision is None or decision.fusion is None else None


def _amounts(usd: float, saved_usd: float | None) -> Iterator[tuple[str, str]]:
    """`saved_usd`: None where there is nothing to compare with."""
    yield "x-junctor-cost", render_usd(usd)
    if saved_usd is not None:
        yield "x-junctor-saved", render_usd(saved_usd)


def render_usd(amount: float) -> str:
    """An amount in USD as plain decimals, to the nano-dollar: `0.000021`."""
    text = f"{amount:.9f}".rstrip("0").rstrip(".")
    return "0" if text in {"", "-0"} else text
