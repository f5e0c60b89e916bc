"""`junctor calibrate --feedback-days`: from what callers say of fused answers to what is answered then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from command import Junctor
from junctor.pool.vote import Vote
from junctor.routing.calibration.store import CalibrationStore
from junctor.routing.calibration.votes import PoolVote, Votes
from running import Running, running
from tables import key_table, model_table

pytestmark = pytest.mark.usefixtures("calm")

AGREED, CONTESTED = "How many legs has a horse?", "How many moons has Mars?"


def model(name: str, moons: int, ability: float) -> str:
    script = (
        f'[{{ when = "legs", text = "\\\\boxed{{4}}" }}, {{ when = "moons", text = "\\\\boxed{{{moons}}}" }}]'
    )
    return model_table(name, script=script, usd=1, ability=ability)


POOL = model("boaster", 7, 0.8) + model("one", 2, 0.6) + model("two", 5, 0.6)
FUSION = '[[fusions]]\nname = "fusion"\nmembers = ["boaster", "one", "two"]\nmode = "vote"\n'
CONFIG = POOL + FUSION + key_table("team") + key_table("admin", admin=True)


def post(server: Running, path: str, body: Any, key: str = "team") -> Any:
    headers = {"authorization": f"Bearer {key}"}
    with urlopen(Request(server.url + path, json.dumps(body).encode(), headers)) as reply:
        return json.loads(reply.read()), reply.headers


def ask(server: Running, prompt: str) -> tuple[str, str]:
    """The answer, and the request's id."""
    body = {"model": "fusion", "messages": [{"role": "user", "content": prompt}]}
    reply, headers = post(server, "/v1/chat/completions", body)
    return reply["choices"][0]["message"]["content"], headers["x-request-id"]


def rate(server: Running, times: int) -> None:
    """Both prompts so often: who says what all say is right, and the boaster alone is not."""
    for _ in range(times):
        for prompt in (AGREED, CONTESTED):
            answer, request_id = ask(server, prompt)
            rating = "good" if answer in ("\\boxed{4}", "\\boxed{2}") else "bad"
            post(server, "/api/feedback", {"request_id": request_id, "rating": rating})


def said(junctor: Junctor, folder: Path, *words: str) -> str:
    result = junctor(*words, "-c", str(folder / "junctor.toml"))
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def test_what_callers_say_changes_who_is_believed(home: Path, junctor: Junctor) -> None:
    folder = home / "data"
    with running(CONFIG, folder) as server:
        assert ask(server, CONTESTED)[0] == "\\boxed{7}", "the boaster is taken for the best"
        rate(server, 40)
        assert server.database.exists(), "with all rows"
        text = said(junctor, folder, "calibrate", "--feedback-days", "30")
        assert "80 fused answers were rated in the last 30 days, by 1 keys; 80 tell of votes." in text
        assert "Vote of boaster, one, two: 80 ratings, 50% good; in force from now on" in text
        assert "A server that runs takes it over" in text
        assert server.reload(CONFIG + "\n# again\n")
        answer, request_id = ask(server, CONTESTED)
        assert answer != "\\boxed{7}"
        assert server.database.exists(), "with all rows"
        assert "rated" in said(junctor, folder, "why", request_id)
    assert "rated votes, in force boaster, one, two: 80 ratings, 50% good" in said(
        junctor, folder, "calibrate", "--list"
    )
    assert "rated" in said(junctor, folder, "models")
    again = said(junctor, folder, "calibrate", "--feedback-days", "30")
    assert "not in force: the one before foretells ratings as well" in again


def test_what_cannot_be_learnt_is_said_with_its_reason(home: Path, junctor: Junctor) -> None:
    """Too few, models that are gone, and members that a calibration knows."""
    folder = home / "data"
    with running(CONFIG, folder) as server:
        assert "0 fused answers were rated" in said(junctor, folder, "calibrate", "--feedback-days", "1")
        rate(server, 3)
        few = said(junctor, folder, "calibrate", "--feedback-days", "1")
        assert "Vote of boaster, one, two: 6 ratings, 50 are the least." in few
        pool = PoolVote(
            members=("boaster", "one", "two"),
            vote=Vote((1.0, 1.0, 1.0), 0.3, 0.1, 1.8),
            best="one",
            prompts=200,
            score=0.9,
            best_score=0.9,
            majority_score=0.9,
        )
        names = dict.fromkeys(pool.members, "")
        identities = {name: f"scripted/{name}" for name in names}
        store = CalibrationStore(server.app.lasting.database)
        server.run(store.save_votes(Votes(pools=(pool,), identities=identities), use=True))
        known = said(junctor, folder, "calibrate", "--feedback-days", "1")
        assert "left as calibrated: prompts with known answers say more." in known
    (folder / "junctor.toml").write_text(model("one", 2, 0.6) + model("two", 5, 0.6))
    gone = said(junctor, folder, "calibrate", "--feedback-days", "1")
    assert "not all of them are models of the pool." in gone


def test_days_are_a_number(home: Path, junctor: Junctor) -> None:
    assert junctor("calibrate", "--feedback-days", "0").exit_code == 2
