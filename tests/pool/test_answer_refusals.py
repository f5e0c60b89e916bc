"""Who answers nothing, in whatever words."""

from __future__ import annotations

import pytest

from junctor.pool.answer_refusals import abstains


@pytest.mark.parametrize(
    "text",
    [
        "I can't answer that.",
        "I\u2019m unable to help",
        "No idea.",
        "I don't know that.",
        "I have no idea!",
        "IDK",
        "I cannot help with that request",
        "I'm sorry, but I can't help with that.",
        "unknown",
        "I'm not sure",
        "It is impossible to say.",
        "As an AI language model, I cannot answer that.",
        "N/A",
        "not enough information",
        "The answer cannot be determined.",
        "There is not enough information to tell.",
        "We cannot know this.",
        "Unfortunately, I do not have enough information.",
        "I'm afraid I can't do that.",
        "I won't answer.",
        "I would rather not say",
        "I must decline.",
        "Sorry, no idea",
        "It's unclear",
        "Beats me!",
        "Who knows?",
        "I really don't know",
        "I am unable to determine it.",
        "That is beyond my knowledge",
        "Unable to determine",
        "Ich weiß es nicht.",
        "Das weiß ich leider nicht",
        "Keine Ahnung",
        "Je ne sais pas.",
        "No lo sé",
        "Não sei",
        "Non lo so",
        "Ik weet het niet",
        "Не знаю",  # noqa: RUF001 - Russian
        "我不知道",
        "わかりません",
    ],
)
def test_a_refusal_answers_nothing(text: str) -> None:
    assert abstains(text)
    assert abstains(f"**{text.upper()}**")


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "none",
        "nothing",
        "No solution",
        "infinitely many",
        "impossible",
        "undefined",
        "not given",
        "false",
        "I",
        "Idaho",
        "Nobody",
        "The unknown soldier",
        "Not the king",
        "5",
        "",
        "no change",
        "Pass",
        "42 is no idea",
        "We are the champions",
        "It is not",
        "x" * 201,
    ],
)
def test_an_answer_in_like_words_is_one(text: str) -> None:
    assert not abstains(text)
