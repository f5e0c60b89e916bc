"""`junctor why` of a fusion: who answered what, how the answers stood, what the judge said, what it cost."""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from rich.console import Console

from command import Junctor
from junctor.chat import Analysis, Cluster, MemberReply, Ruling, Verdict
from junctor.cli import why_fusion
from junctor.cli.why_fusion import names_of
from junctor.routing.store import DecisionStore
from junctor.store.database import Database
from running import running
from served_fusion import CONFIG, DIFFER
from verdicts import JUDGED, MERGED, decision_of


def printed(verdict: Verdict, home: Path, junctor: Junctor) -> str:
    """What it prints of a decision that is in the database."""

    async def store() -> None:
        async with Database(home / "data" / "junctor.db") as database:
            DecisionStore(database).save(decision_of(verdict))
            await database.write("DELETE FROM ledger WHERE request_id = 'none'")  # decisions go with a row

    asyncio.run(store())
    done = junctor("why", "dec_7")
    assert done.exit_code == 0, done.output
    return done.stdout


def explained(verdict: Verdict, home: Path, junctor: Junctor) -> str:
    """The same without line breaks and paddings."""
    return " ".join(printed(verdict, home, junctor).split())


def test_a_judged_vote_is_told_member_by_member(home: Path, junctor: Junctor) -> None:
    said = explained(JUDGED, home, junctor)
    assert "large's answer was given: the judge prefers large's answer in both orders." in said
    assert "mode auto, by vote+judge; votes: calibration 2026-11" in said
    assert "small 41 2 +0.70 100 / 20 20.0 300" in said
    assert "large 42 1 +1.50 100 / 30 400.0 1200" in said
    assert "slow too late +0.40 0 / 0 10.0 2000" in said
    assert "not asked: lacks vision" in said
    assert "called off +0.10" in said
    assert "1 42 62% large 2 41 30% small" in said
    assert "small, then large large 300 / 5 1000.0 400" in said
    assert "none: its reply is no JSON" in said
    assert "degraded: the judge failed in one order" in said
    assert "5 asked, 4 waited for, 1 called off that could not have changed the outcome" in said
    assert "all calls together: 2430.0 µUSD, 6.1 times what large alone costs" in said


def test_a_merge_is_told_with_its_analysis(home: Path, junctor: Junctor) -> None:
    said = explained(MERGED, home, junctor)
    assert "large wrote a new answer: nothing can be compared." in said
    assert "small nothing to compare" in said
    assert "all say: Both like Rome." in said
    assert "contradiction: the river (small: the Po; large: the Tiber)" in said
    assert "some say: the food (large)" in said
    assert "one says: it rains (small)" in said
    assert "nobody says: nobody names a price" in said
    assert "degraded" not in said
    assert "times what" not in said


def test_one_that_came_to_nothing_is_told_too(home: Path, junctor: Junctor) -> None:
    said = explained(Verdict(fusion="f", mode="vote"), home, junctor)
    assert "no answer was given." in said
    assert "mode vote, nothing came of it; votes: none" in said


def test_answers_that_are_not_kept_are_told_as_such(home: Path, junctor: Junctor) -> None:
    clusters = (Cluster(answer=None, members=(1, 0), p=0.9),)
    said = explained(replace(JUDGED, clusters=clusters, rulings=()), home, junctor)
    assert "1 not kept 90% large, small" in said
    assert "shown to" not in said


def test_a_tie_is_one(home: Path, junctor: Junctor) -> None:
    rulings = (Ruling(order=(0, 1)),)
    assert "small, then large a tie" in explained(replace(JUDGED, rulings=rulings), home, junctor)


def test_a_model_that_was_asked_several_times_is_numbered() -> None:
    members = [MemberReply(model=name, status="answered") for name in ("a", "b", "a", "a")]
    verdict = Verdict(fusion="f", mode="vote", members=tuple(members))
    assert names_of(verdict) == ["a #1", "b", "a #2", "a #3"]


@pytest.mark.parametrize("verdict", [JUDGED, MERGED])
@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_into_a_terminal(verdict: Verdict, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names as long as they come are folded, and none is cut."""
    long = "provider/model-with-a-very-long-name-2026-11-21-preview"
    members = tuple(replace(member, model=long, reason="x" * 80) for member in verdict.members)
    screen = Console(file=StringIO(), width=width)
    monkeypatch.setattr(why_fusion, "console", screen)
    decision = decision_of(replace(verdict, members=members))
    assert decision.fusion is not None
    why_fusion.print_fusion(decision, decision.fusion)
    lines = screen.file.getvalue().splitlines()
    tables = [line for line in lines if line.startswith(" ")]
    assert tables
    assert max(map(len, tables)) <= width
    column = "".join(line[:31].split("  ")[0].strip() for line in tables)
    assert "preview#2" in column.replace(" ", "")


def test_80_columns_have_room_for_usual_names_and_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is broken in its midst."""
    names = ("qwen2.5-coder-0.5b", "claude-sonnet-4-5", "qwen2.5-coder-1.5b")
    sums = {"input_tokens": 345, "output_tokens": 67, "usd": 0.0003456, "took_ms": 12345.0}
    members = tuple(
        MemberReply(model=name, status="failed", reason="upstream_unavailable", **sums) for name in names
    )
    screen = Console(file=StringIO(), width=80)
    monkeypatch.setattr(why_fusion, "console", screen)
    decision = decision_of(replace(JUDGED, members=members, clusters=(), rulings=()))
    assert decision.fusion is not None
    why_fusion.print_fusion(decision, decision.fusion)
    words = screen.file.getvalue().split()
    assert set(names) <= set(words)
    assert words.count("upstream_unavailable") == 3


def test_what_models_wrote_is_neither_markup_nor_control_characters(home: Path, junctor: Junctor) -> None:
    """A terminal obeys nobody but its owner."""
    hostile = "[red]\x1b[2J\x07[/] [link=http://x]\r\n\u202e"
    member = MemberReply(model=hostile, status="answered", answer=hostile)
    failed = MemberReply(model="b", status="failed", reason=hostile)
    verdict = Verdict(
        fusion=hostile,
        mode="auto",
        path=hostile,
        members=(member, failed),
        clusters=(Cluster(answer=hostile, members=(0,), p=1.0),),
        chosen=0,
        because=hostile,
        judge=hostile,
        rulings=(Ruling(order=(0, 9), failed=hostile),),
        analysis=Analysis(consensus=(hostile,), blind_spots=(hostile,)),
        degraded=hostile,
        votes=hostile,
        best_member=hostile,
        cost_multiple=1.0,
    )
    said = printed(verdict, home, junctor)
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
    assert "[red]" in said


def test_places_that_do_not_exist_break_nothing(home: Path, junctor: Junctor) -> None:
    """A record may be older or newer than this program."""
    verdict = replace(JUDGED, chosen=17, clusters=(Cluster(answer="1", members=(99,), p=0.5),))
    assert "?'s answer was given" in explained(verdict, home, junctor)


def test_a_served_fusion_is_told_with_what_it_came_to(home: Path, junctor: Junctor) -> None:
    """From the request to the explanation, by the id in the reply's headers."""
    with running(CONFIG, home / "data") as server:
        body = {"model": "fusion", "messages": [{"role": "user", "content": DIFFER}]}
        reply = httpx.post(f"{server.api}/chat/completions", json=body, timeout=30)
    by_decision = junctor("why", reply.headers["x-junctor-decision"])
    by_request = junctor("why", reply.headers["x-request-id"])
    assert by_decision.exit_code == 0
    assert by_decision.stdout == by_request.stdout
    said = " ".join(by_decision.stdout.split())
    assert "large's answer was given" in said
    assert "mode auto, by vote+judge; votes: prior" in said
    assert "3 asked, 3 waited for; all calls together: 5830.0 µUSD" in said
    assert "asked for fusion, answered by large (ok)" in said
    assert "It cost 0.00583 USD" in said
    assert "the strongest" not in said
