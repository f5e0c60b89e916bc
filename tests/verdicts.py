"""Decisions of fusions, written by hand."""

from __future__ import annotations

from typing import Any

from junctor.chat import (
    Analysis,
    Cluster,
    Contradiction,
    Coverage,
    Decision,
    Draft,
    Drafted,
    Event,
    Finished,
    Insight,
    Judging,
    MemberReply,
    Routed,
    Ruling,
    Settled,
    Stance,
    Started,
    Text,
    Usage,
    Verdict,
)

JUDGED = Verdict(
    fusion="fusion",
    mode="auto",
    path="vote+judge",
    members=(
        MemberReply(
            model="small",
            status="answered",
            answer="41",
            cluster=1,
            weight=0.7,
            input_tokens=100,
            output_tokens=20,
            usd=0.00002,
            took_ms=300.0,
        ),
        MemberReply(
            model="large",
            status="answered",
            answer="42",
            cluster=0,
            weight=1.5,
            input_tokens=100,
            output_tokens=30,
            usd=0.0004,
            took_ms=1200.4,
        ),
        MemberReply(model="slow", status="cut", weight=0.4, usd=0.00001, took_ms=2000.0),
        MemberReply(model="broken", status="failed", reason="it answered [502]", took_ms=12.0),
        MemberReply(model="blind", status="left_out", reason="lacks vision"),
        MemberReply(model="other", status="spared", weight=0.1, took_ms=1201.0),
    ),
    clusters=(
        Cluster(answer="42", members=(1,), p=0.62),
        Cluster(answer="41", members=(0,), p=0.3),
    ),
    chosen=1,
    because="the judge prefers large's answer in both orders",
    judge="judge",
    rulings=(
        Ruling(order=(0, 1), preferred=1, input_tokens=300, output_tokens=5, usd=0.001, took_ms=400.0),
        Ruling(order=(1, 0), failed="its reply is no JSON", usd=0.001, took_ms=410.0),
    ),
    degraded="the judge failed in one order",
    asked=5,
    awaited=4,
    saved_answers=1,
    votes="calibration 2026-11",
    best_member="large",
    usd=0.00243,
    cost_multiple=6.1,
)

MERGED = Verdict(
    fusion="council",
    mode="merge",
    path="merge",
    members=(
        MemberReply(model="small", status="answered", output_tokens=20, usd=0.00002, took_ms=300.0),
        MemberReply(model="large", status="answered", output_tokens=30, usd=0.0004, took_ms=1200.0),
    ),
    because="nothing can be compared",
    judge="large",
    analysis=Analysis(
        consensus=("Both like Rome.",),
        contradictions=(
            Contradiction("the river", (Stance("small", "the Po"), Stance("large", "the Tiber"))),
        ),
        partial_coverage=(Coverage(("large",), "the food"),),
        unique_insights=(Insight("small", "it rains"),),
        blind_spots=("nobody names a price",),
    ),
    asked=2,
    awaited=2,
    best_member="large",
    usd=0.002,
)

PROGRESS: tuple[Event, ...] = (
    Drafted(Draft(model="small", answer="41", output_tokens=20, usd=0.00002, took_ms=300.0), "It is 41."),
    Drafted(Draft(model="broken", failed="it answered 502", took_ms=12.0)),
    Settled("large", 4, 5),
    Judging("judge", 2),
)


def decision_of(verdict: Verdict, **changes: Any) -> Decision:
    """A decision as a fusion makes it."""
    fields: dict[str, Any] = {
        "id": "dec_7",
        "request_id": "req_7",
        "candidates": (),
        "chosen": "large",
        "rule": f"{verdict.mode}: {verdict.because}",
        "mode": verdict.mode,
        "floor": None,
        "features": {"prompt_tokens": 90.0},
        "path": "fusion",
        "took_us": 250.0,
        "saved_usd": 0.0,
        "artefact": "",
        "fusion": verdict,
    }
    return Decision(**{**fields, **changes})


def events_of(verdict: Verdict, *pieces: str, before: Verdict | None = None) -> list[Event]:
    """A fusion's answer, with its progress. `before`: what is known of it when the answer begins."""
    return [
        Routed(decision_of(before or Verdict(fusion=verdict.fusion, mode=verdict.mode))),
        *PROGRESS,
        Routed(decision_of(before or verdict)),
        Started("large"),
        *map(Text, pieces),
        Usage(600, 55),
        Routed(decision_of(verdict)),
        Finished("stop"),
    ]
