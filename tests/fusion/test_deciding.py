"""What becomes of answers, apart from how they were asked for; the modes are in test_sitting.py."""

from __future__ import annotations

import pytest
from panels import Made, Picky, last_verdict, member

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("said", "path", "chosen"),
    [
        (("42", "42", "41"), "vote", 1),
        (("41", "42", "42"), "vote", 1),
        (("An essay about this and that, and more of it.",) * 3, "best member", 1),
        (("An essay about this and that, and more of it.", "42", None), "vote", 1),
        ((None, None, "42"), "one answer", 2),
        (("42", None, "41"), "vote", 0),
    ],
)
async def test_whose_answer_is_given(said: tuple[str | None, ...], path: str, chosen: int) -> None:
    models = [
        member(name, {"fail": "upstream_broken"} if text is None else text)
        for name, text in zip("abc", said, strict=True)
    ]
    made = Made(models, mode="vote", abilities={"a": 0.7, "b": 0.72, "c": 0.7})
    verdict = last_verdict(await made.ask())
    assert (verdict.path, verdict.chosen) == (path, chosen)
    assert verdict.because


async def test_the_first_of_two_that_settles_the_vote_is_not_called_the_likeliest_of_one() -> None:
    """The abler of two always wins: the other is called off, and the words say why."""
    made = Made(
        [member("a", "42"), member("b", {"delay_s": 60}, "41")],
        mode="vote",
        abilities={"a": 0.8, "b": 0.5},
    )
    verdict = last_verdict(await made.ask())
    assert verdict.saved_answers == 1
    assert verdict.because.startswith("those called off could not have outvoted it, right with")


@pytest.mark.parametrize(("fourth", "judge"), [(None, None), (Picky("d", "42", writes="43"), "d")])
async def test_who_agrees_with_a_contested_answer_does_not_judge_it(
    fourth: Picky | None, judge: str | None
) -> None:
    """Not only the one whose words stand for the group: without anybody else the vote stands."""
    own = Picky("c", "41", writes="41")
    models = [member("a", "42"), member("b", "41"), own, *([fourth] if fourth else [])]
    abilities = {"a": 0.8, "b": 0.7, "c": 0.69, "d": 0.3}
    verdict = last_verdict(await Made(models, abilities=abilities, judge_accuracy=0.98).ask())
    assert verdict.judge == judge
    assert len(own.requests) == 1, "it has answered, and no more"


async def test_the_best_member_chooses_the_best_of_where_each_has_an_answer_of_its_own() -> None:
    """Not a weaker one, because another speaks for its group."""
    own, best = Picky("c", "41", writes="41"), Picky("a", "42", writes="42")
    made = Made([best, member("b", "41"), own], abilities={"a": 0.9, "b": 0.7, "c": 0.6}, mode="best-of")
    assert last_verdict(await made.ask()).judge == "a"
    assert len(own.requests) == 1
