"""Judges tried on pairs of answers of which it is known which is right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from command import Junctor
from fusion.judges import Case, RuleJudge
from junctor.chat import ModelCard, Price
from junctor.cli.calibrate_judges import Purse, examine, judges_of
from junctor.pool.choice import Policy
from junctor.routing.abilities import Abilities, Ability
from junctor.routing.calibration.judges import Pair
from junctor.routing.calibration.questions import Question
from junctor.settings import FusionSettings
from test_cli_calibrate import write_pool

PAIRS = [
    Pair(Question(prompt=f"Q{at}?", answer=None, kind="own"), f"right {at}", f"wrong {at}")
    for at in range(40)
]


def prefer_right(case: Case) -> str:
    label = next(label for label, text in case.answers.items() if "right" in text)
    return f'{{"best": "{label}"}}'


def prefer_first(case: Case) -> str:
    return f'{{"best": "{next(iter(case.answers))}"}}'


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("rule", "accuracy"), [(prefer_right, 41 / 42), (prefer_first, 0.5), (lambda _case: "no idea", None)]
)
async def test_a_judge_is_worth_what_it_gets_right_in_both_orders(rule, accuracy: float | None) -> None:
    """Who prefers a place is right in one order and wrong in the other: a tie."""
    (examined,) = await examine({"judge": RuleJudge(rule)}, PAIRS, Purse(5.0), Policy(attempts=1), 4)
    assert examined.asked == 40
    if accuracy is None:
        assert examined.skill is None
        assert examined.failed
    else:
        assert examined.skill is not None
        assert examined.skill.accuracy == pytest.approx(accuracy, abs=1e-4)
        assert examined.usd == pytest.approx(40 * 2 * (100 * 1 + 10 * 10) / 1e6)


@pytest.mark.anyio
async def test_it_stops_before_it_costs_too_much() -> None:
    """By the most that a pair can cost; what it did not cost can be spent on the next."""
    judge = RuleJudge(prefer_right)
    judge.card = ModelCard(name="judge", price=Price(input=0.0, output=10.0, source="test"), max_output=1000)
    most = 4 * 1000 * 10 / 1e6
    (examined,) = await examine({"judge": judge}, PAIRS, Purse(most - 1e-9), Policy(), 4)
    assert (examined.asked, examined.usd, judge.requests) == (0, 0, [])
    (examined,) = await examine({"judge": judge}, PAIRS, Purse(most * 1.01), Policy(), 1)
    assert 1 <= examined.asked < 40
    assert examined.usd <= most * 1.01


def ability(name: str, p: float) -> Ability:
    return Ability(
        model=name, identity=f"x/{name}", logits=0, error=0.1, p=p, p_error=0.1, score=p, prompts=9
    )


def test_who_judges() -> None:
    """The one that is named, else the best member that was measured."""
    abilities = Abilities(
        artefact="router-1", models=(ability("a", 0.4), ability("b", 0.8), ability("c", 0.9))
    )
    fusions = [
        FusionSettings(name="one", members=("a", "b"), judge="z"),
        FusionSettings(name="two", members=("a", "b")),
        FusionSettings(name="three", members=("auto", "unknown")),
    ]
    assert judges_of(fusions, abilities) == {"z", "b"}
    assert judges_of([FusionSettings(name="all")], abilities) == {"c"}
    assert judges_of([], abilities) == set()


FUSION = """
[[models]]
name = "umpire"
provider = "scripted"
price = { input = 1, output = 1 }
script = [{ text = '{"best": "A"}' }]

[[fusions]]
name = "trio"
members = ["mini", "small", "large"]
judge = "umpire"
"""
SKILLS = {"mini": 0.6, "small": 0.65, "large": 0.8}


def test_votes_and_the_judge_of_a_fusion_are_measured(home: Path, junctor: Junctor) -> None:
    write_pool(home, 200, skills=SKILLS)
    with (home / "junctor.toml").open("a") as file:
        file.write(FUSION)
    words = ("calibrate", "--prompts", "prompts.jsonl", "--models", "mini,small,large")
    done = junctor(*words)
    assert done.exit_code == 0, done.output
    vote = (
        r"Vote of mini, small, large: (\d\d\.\d)% right; its best member, large, (\d\d\.\d)%; counted plainly"
    )
    said = re.search(vote, done.stdout)
    assert said
    assert float(said[1]) > float(said[2])
    assert re.search(r"votes cal_\w+: in force from now on", done.stdout)
    assert re.search(
        r"Judge umpire: prefers the right one of two answers in 50% \(38 \.\. 62 %\), on 60", done.stdout
    )
    listed = junctor("calibrate", "--list").stdout
    assert re.search(r"votes, in force\n +mini, small, large: \d\d\.\d% right", listed)
    assert re.search(r"judges, in force\n +umpire 50% of 60 pairs", listed)
    assert "as judges" not in junctor(*words, "--judge-pairs", "0").output


def test_without_pairs_no_judge_is_tried(home: Path, junctor: Junctor) -> None:
    write_pool(home, 60, skills={"mini": 1.0, "small": 1.0, "large": 1.0})
    with (home / "junctor.toml").open("a") as file:
        file.write(FUSION)
    done = junctor("calibrate", "--prompts", "prompts.jsonl", "--models", "mini,small,large")
    assert "No judge is tried: 0 questions" in done.stdout


def test_where_a_model_says_what_is_right_no_votes_are_learnt(home: Path, junctor: Junctor) -> None:
    write_pool(home, 60, skills=SKILLS)
    lines = [json.loads(line) for line in (home / "prompts.jsonl").read_text().splitlines()]
    own = "\n".join(json.dumps({"prompt": line["prompt"]}) for line in lines)
    (home / "own.jsonl").write_text(own)
    done = junctor("calibrate", "--prompts", "own.jsonl", "--strongest", "large")
    assert "No votes for fusions: what one of the models said counts as right" in done.stdout
