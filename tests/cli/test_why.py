"""`junctor why`: which model answered, why, and why not the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import openai
import pytest

from command import Junctor
from junctor.chat import Candidate, Decision, Draft, Escalation, Step
from junctor.cli.why import print_outcome
from junctor.pool.ledger_store import LedgerRow
from junctor.routing.store import DecisionStore
from junctor.store.database import Database
from running import running

CONFIG = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 1, output = 2 }
ability = 0.3
script = [{ text = "Hi" }]
[[models]]
name = "large"
provider = "scripted"
price = { input = 10, output = 20 }
ability = 0.9
script = [{ text = "Good day." }]
[[models]]
name = "blind"
provider = "scripted"
script = [{ text = "Hm." }]
"""


@pytest.fixture
def answered(home: Path) -> Mapping[str, str]:
    """The headers of one routed answer."""
    with (
        running(CONFIG, home / "data") as server,
        openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client,
    ):
        reply = client.chat.completions.with_raw_response.create(
            model="auto",
            messages=[{"role": "user", "content": "Say hello."}],
            extra_body={"junctor": {"never": ["blind"], "mode": "quality"}},
        )
    return reply.headers


def test_it_explains_by_decision_or_request_also_when_the_server_is_gone(
    answered: Mapping[str, str], junctor: Junctor
) -> None:
    by_decision = junctor("why", answered["x-junctor-decision"])
    by_request = junctor("why", answered["x-request-id"])
    assert by_decision.exit_code == by_request.exit_code == 0
    assert by_decision.stdout == by_request.stdout
    said = " ".join(by_decision.stdout.split())
    assert "large was chosen: quality: the best predicted quality" in said
    assert "small" in said
    assert "points below the best" in said
    assert "excluded by the request" in said
    assert "answered by large (ok)" in said
    assert "USD" in said


@pytest.mark.parametrize("prefix", ["chatcmpl-", "resp_", "msg_"])
def test_it_explains_by_the_id_of_a_reply(answered: Mapping[str, str], junctor: Junctor, prefix: str) -> None:
    """curl shows no headers unless asked to; the reply's own id is what a caller has before the eyes."""
    by_request = junctor("why", answered["x-request-id"])
    by_reply = junctor("why", answered["x-request-id"].replace("req_", prefix))
    assert by_reply.exit_code == 0
    assert by_reply.stdout == by_request.stdout


def test_without_an_id_it_explains_the_newest(answered: Mapping[str, str], junctor: Junctor) -> None:
    newest = junctor("why")
    assert newest.exit_code == 0
    assert newest.stdout == junctor("why", answered["x-request-id"]).stdout


def test_a_refusal_is_told_as_one(home: Path, junctor: Junctor) -> None:
    """Nobody was asked: there is neither an answer nor a price to compare, and the words are not kept."""
    refused: list[str] = []
    with (
        running(CONFIG, home / "data") as server,
        openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client,
    ):
        for limit in ({"max_usd": 1e-12}, {"quality": 1}):
            with pytest.raises(openai.UnprocessableEntityError) as caught:
                client.chat.completions.create(
                    model="auto", messages=[{"role": "user", "content": "Hi"}], extra_body={"junctor": limit}
                )
            refused.append(caught.value.response.headers["x-request-id"])
    for request_id in refused:
        said = " ".join(junctor("why", request_id).stdout.split())
        assert said.startswith(f"{request_id}: asked for auto, and refused before any model was asked (422 ")
        assert "the limits that it states are not kept; its reply named each" in said
        assert "would have cost" not in said


@pytest.mark.parametrize(("saved", "words"), [(0.25, "0.25 USD saved."), (-0.25, "0.25 USD more was spent.")])
def test_what_was_spent_on_top_is_not_told_as_a_saving(
    capsys: pytest.CaptureFixture[str], saved: float, words: str
) -> None:
    row = LedgerRow(
        request_id="req_1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        caller="",
        route="/v1/chat/completions",
        asked_model="auto",
        stream=False,
        model="small",
        strongest_model="large",
        strongest_usd=1.0,
        saved_usd=saved,
        attempts=1,
        outcome="ok",
        http_status=200,
    )
    print_outcome(row)
    assert words in capsys.readouterr().out


def test_without_an_id_and_a_request_it_says_so(home: Path, junctor: Junctor) -> None:
    async def make() -> None:
        async with Database(home / "data" / "junctor.db"):
            pass

    (home / "data").mkdir(exist_ok=True)
    asyncio.run(make())
    done = junctor("why")
    assert done.exit_code == 1
    assert "holds no request yet" in done.stderr.replace("\n", "")


def test_an_unknown_id_is_explained(answered: Mapping[str, str], junctor: Junctor) -> None:
    done = junctor("why", "dec_nothing")
    assert done.exit_code == 1
    assert "x-junctor-decision" in done.stderr


def test_without_a_database_it_says_who_makes_it(junctor: Junctor) -> None:
    done = junctor("why", "dec_nothing")
    assert done.exit_code == 1
    assert "junctor serve" in done.stderr


def explained(decision: Decision, home: Path, junctor: Junctor) -> str:
    """What it prints of a decision that is in the database."""

    async def store() -> None:
        async with Database(home / "data" / "junctor.db") as database:
            DecisionStore(database).save(decision)
            await database.write("DELETE FROM ledger WHERE request_id = 'none'")  # decisions go with a row

    asyncio.run(store())
    done = junctor("why", decision.id)
    assert done.exit_code == 0
    return " ".join(done.stdout.split())


def cascade(*steps: Step, degraded: bool = False) -> Decision:
    names = ("cheap", "other", "strong")
    return Decision(
        id="dec_1",
        request_id="req_1",
        candidates=tuple(Candidate(name=name, p_good=0.8, p_source="test", usd=0.1) for name in names),
        chosen=steps[-1].drafts[0].model,
        rule="balanced, a cascade: so it came",
        mode="balanced",
        floor=None,
        features={"tokens": 9.0},
        path="cascade",
        took_us=1.0,
        saved_usd=0.0,
        artefact="test",
        escalation=Escalation(
            ladder="ladder-1-x",
            floor=0.98,
            confidence=0.95,
            prompts=500,
            steps=steps,
            because="so it came",
            degraded=degraded,
            usd=0.000123,
        ),
    )


def test_what_was_measured_is_told_with_its_uncertainty(home: Path, junctor: Junctor) -> None:
    """Also of one that was ruled out; nothing stands beside what was not measured."""
    told = (("a", 0.87, 0.03, None), ("b", 0.8, None, None), ("c", 0.9, 0.0041, "never"))
    candidates = tuple(
        Candidate(name=name, p_good=p, p_source="test", p_error=error, usd=0.1, ruled_out_by=out)
        for name, p, error, out in told
    )
    decision = msgspec.structs.replace(cascade(Step(drafts=(Draft(model="a"),))), escalation=None)
    said = explained(msgspec.structs.replace(decision, candidates=candidates), home, junctor)
    assert "a 87.0% ± 3.0 100000.0" in said
    assert "b 80.0% 100000.0" in said
    assert "c 90.0% ± 0.4 100000.0" in said
    assert "a good answer, ± one standard error, in points; from: test" in said
    assert "±" not in explained(msgspec.structs.replace(decision, id="dec_2"), home, junctor)


def test_a_cascade_is_told_step_by_step(home: Path, junctor: Junctor) -> None:
    """Who was asked, what was answered, how sure that was, why it went on, and what is promised."""
    first = Step(
        drafts=(Draft(model="cheap", answer="[red]42[/]", usd=1e-6), Draft(model="other", answer="41")),
        leads="cheap",
        p_top=0.41,
        gain=0.2,
    )
    last = Step(drafts=(Draft(model="strong", answer="41", usd=1e-4),), leads="other", p_top=0.9)
    said = explained(cascade(first, last), home, junctor)
    assert "1. cheap [red]42[/]" in said
    assert (
        "cheap's answer is right with a probability of 41%; asking on is worth its price: go on (+0.200)"
        in said
    )
    assert "2. strong 41" in said
    assert "other's answer is right with a probability of 90%; all have answered" in said
    assert "all calls together: 123.0 µUSD" in said
    assert "at least 98% of the strongest model's quality, with 95% confidence, learnt on 500 prompts" in said
    assert "degraded" not in said


def test_a_cascade_over_free_text_or_failures_says_so(home: Path, junctor: Junctor) -> None:
    drafts = Step(drafts=(Draft(model="cheap"), Draft(model="other", failed="it broke")))
    live = Step(drafts=(Draft(model="strong", output_tokens=7),))
    said = explained(cascade(drafts, live, degraded=True), home, junctor)
    assert "1. cheap nothing to compare" in said
    assert "1. other failed: it broke" in said
    assert "no answer can be compared: on to the strongest" in said
    assert "2. strong free text, given to the caller 7" in said
    assert "degraded: the strongest model failed" in said
