"""What tests of measuring share: requests, decisions, models, and a ledger on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from junctor.chat import Answer, Candidate, ChatRequest, Decision, ModelCard, Price
from junctor.pool.ledger import Ledger
from junctor.pool.metered import Metered
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.routing.measuring.examiner import Allowance, Examiner
from junctor.routing.measuring.judge import Judge
from junctor.routing.measuring.shadow import Sample
from junctor.routing.measuring.store import MeasureStore, Shadow
from junctor.store.database import Database


def ask(text: str = "What is 2 + 2?", **more: Any) -> ChatRequest:
    messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}]))
    return ChatRequest(**{"model": "auto", "id": "req_1", "messages": messages, "caller": "k1"} | more)


def decide(*names: str, ruled_out: dict[str, str] | None = None, request_id: str = "req_1") -> Decision:
    """A decision among these; the first is chosen."""
    away = ruled_out or {}
    candidates = [
        Candidate(name=name, p_good=0.5, p_source="", usd=0.0, ruled_out_by=away.get(name))
        for name in (*names, *away)
    ]
    return Decision(
        id="dec_1",
        request_id=request_id,
        candidates=tuple(candidates),
        chosen=names[0],
        rule="",
        mode="balanced",
        floor=None,
        features={},
        path="prompt",
        took_us=1.0,
        saved_usd=0.0,
        artefact="",
    )


def scripted(name: str, *texts: str, usd: float = 1.0, steps: Sequence[dict[str, Any]] = ()) -> ScriptedModel:
    """A model of so much USD per million tokens."""
    script = list(steps) or [{"turn": True, "text": text} for text in texts]
    return ScriptedModel(
        ModelCard(name=name, price=Price(input=usd, output=usd, source="test")), parse_script(script)
    )


def sample(text: str = "The answer is 4.", **more: Any) -> Sample:
    fields: dict[str, Any] = {
        "request": ask(),
        "decision": decide("small", "large", "judge"),
        "strongest": "large",
        "answer": Answer(model="small", text=text, reason="stop"),
    }
    return Sample(**fields | more)


class Lab:
    """An examiner over scripted models, on a real database."""

    def __init__(self, database: Database, models: Sequence[ScriptedModel], **more: Any) -> None:
        self.database = database
        self.ledger = Ledger(database, strongest=lambda: None)
        self.store = MeasureStore(database)
        self.allowance = Allowance(self.store)
        self.told: list[Shadow] = []
        self.dropped: list[str] = []
        self.away: set[str] = set()
        metered = {model.card.name: Metered(model, self.ledger.report) for model in models}
        judge = metered.get("judge")
        fields: dict[str, Any] = {
            "ledger": self.ledger,
            "store": self.store,
            "allowance": self.allowance,
            "max_usd_per_day": 1.0,
            "judge": Judge(judge, "Judge. {mark}") if judge else None,
            "away": lambda: self.away,
            "tell": self.told.append,
            "drop": self.dropped.append,
        }
        self.examiner = Examiner(metered, **fields | more)

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return await self.database.read(f"SELECT * FROM {table} ORDER BY request_id")


@asynccontextmanager
async def lab(folder: Path, *models: ScriptedModel, **more: Any) -> AsyncIterator[Lab]:
    async with Database(folder / "lab.db") as database:
        yield Lab(database, models, **more)


async def let_go() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)
