"""What becomes of answers, apart from how they were asked for; the modes are in test_sitting.py."""

from __future__ import annotations

import pytest
from panels import Made, last_verdict, member

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
