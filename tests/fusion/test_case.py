"""What a judge is shown: letters, parts, and as much of each as its window holds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import Answer, ChatRequest, ModelCard
from junctor.fusion.case import (
    LEAST_CHARS,
    MOST_TOKENS,
    OWN_TOKENS,
    Part,
    TooLong,
    fit,
    label_answers,
    limit_reply,
    material_of,
    render_candidate,
    render_parts,
)
from junctor.fusion.instructions import read_instructions
from junctor.pool.fence import MOST_CHARS
from junctor.pool.prompt import estimate_tokens

REQUEST = ChatRequest(model="fusion", messages=msgspec.Raw(b'[{"role":"user","content":"2 + 2?"}]'))


def test_no_place_has_the_same_letter_in_both_questions() -> None:
    assert label_answers(2) == label_answers(2, second=True) == ("A", "B")
    assert label_answers(3, second=True) == ("B", "C", "D")
    for count in range(2, 9):
        one, two = label_answers(count), label_answers(count, second=True)
        assert len(set(one)) == len(set(two)) == count
        assert not any(first == second for first, second in zip(one, reversed(two), strict=True))


def test_the_parts_are_the_request_what_belongs_to_it_and_the_answers() -> None:
    plain = material_of(REQUEST, ["4", "5"]).lay_out((1, 0), ("A", "B"))
    assert plain == (("REQUEST", "2 + 2?"), ("ANSWER A", "5"), ("ANSWER B", "4"))
    whole = msgspec.structs.replace(
        REQUEST,
        tools=msgspec.Raw(b'[{"type":"function","function":{"name":"add"}}]'),
        response_format=msgspec.Raw(b'{"type":"json_object"}'),
    )
    parts = dict(material_of(whole, ["4", ""]).lay_out((0, 1), ("A", "B")))
    assert list(parts) == ["REQUEST", "TOOLS", "FORM", "ANSWER A", "ANSWER B"]
    assert parts["ANSWER B"] == "(nothing)"


def test_an_answer_is_shown_as_text() -> None:
    assert render_candidate(Answer(model="m", text="four", reason="stop")) == "four"


@given(
    st.lists(st.integers(1, 40_000), min_size=2, max_size=9),
    st.sampled_from(["word ", "x", "\u4e2d", "9", "\u0436"]),
    st.sampled_from([4096, 8192, 32_768, 200_000]),
)
def test_the_question_and_the_reply_fit_the_window(sizes: list[int], unit: str, window: int) -> None:
    card = ModelCard(name="judge", window=window)
    parts = [Part("ANSWER A", (unit * size)[:size]) for size in sizes]
    try:
        most_chars = fit(card, parts)
    except TooLong:
        assert window == 4096
        return
    shown = render_parts(parts, "m4rk", min(most_chars, MOST_CHARS))
    assert estimate_tokens(shown) + limit_reply(card) + 900 < window
    assert most_chars >= min(LEAST_CHARS, max(sizes))


def test_what_fits_is_not_cut() -> None:
    parts = [Part("ANSWER A", "x" * 9000), Part("ANSWER B", "y" * 100)]
    assert fit(ModelCard(name="judge", window=100_000), parts) >= 9000


def test_a_window_without_room_is_said_to_be_too_small() -> None:
    with pytest.raises(TooLong, match="1,024 tokens, is too small for 2 parts of 900 characters"):
        fit(ModelCard(name="judge", window=1024), [Part("A", "x" * 900), Part("B", "y")])


def test_the_reply_has_room_to_reason_but_not_more_than_the_model_has() -> None:
    assert limit_reply(ModelCard(name="judge", window=200_000)) == MOST_TOKENS
    assert limit_reply(ModelCard(name="judge", window=8192)) == 2048
    assert limit_reply(ModelCard(name="judge", window=200_000, max_output=1000)) == 1000


def test_the_instructions_fit_what_is_set_aside_for_them() -> None:
    for name in ("judge", "analysis"):
        assert estimate_tokens(read_instructions(name)) + 9 * 2 * 16 < OWN_TOKENS
