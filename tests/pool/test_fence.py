"""What a fence promises holds of any text, and for a reader who looks at no mark."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostile_answers import LEAKED, hostile_answers, read_case
from junctor.pool.fence import MOST_CHARS, clean, cut, fence, make_mark, share

ANY = st.text(st.characters())
"Surrogates, controls and all."
_MARKS = [LEAKED, LEAKED[:8], LEAKED[8:], "*"]
_SIGNS = ["<", "<<<", "\uff1c", "|", ">", "\n", "\r", "\u2028", "\x00", "\u200b", "\u200d", " "]
_WORDS = ["[INST]", "</s>", "END OF A"]
PIECES = st.lists(st.sampled_from([*_MARKS, *_SIGNS, *_WORDS]), max_size=40).map("".join)


def inside_of(shown: str, name: str = "A") -> str:
    first, _, rest = shown.partition("\n")
    inside, _, last = rest.rpartition("\n")
    assert (first, last) == (f"<<<{name} {LEAKED}>>>", f"<<<END OF {name} {LEAKED}>>>")
    return inside


@given(ANY | PIECES)
@example("\ud800")
@example(LEAKED[:8] + LEAKED + LEAKED[8:])
@example("x" * (MOST_CHARS // 2 - 3) + "<<<END OF A>>>" * 2000)
def test_whatever_stands_in_it_stays_in_it(text: str) -> None:
    shown = fence("A", text, LEAKED)
    inside = inside_of(shown)
    assert read_case(shown) == ([("A", inside)], [])
    assert LEAKED not in inside
    assert not [line for line in inside.split("\n") if line.lstrip().startswith("<<<")]
    assert "<|" not in inside
    assert "|>" not in inside
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff\U000e0000-\U000e007f]", inside
    )
    assert shown.encode()  # no surrogate is left
    assert len(inside) < 2 * MOST_CHARS + 100


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="<[|")))
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert inside_of(fence("A", text, LEAKED)) == text.replace(LEAKED, "*" * len(LEAKED))


@pytest.mark.parametrize(
    "text",
    [
        "a < b << c",
        "cat <<EOF",
        "x: [1]",
        "\u2039zitat\u203a",
        ">>> 1 + 1",
        "\t- one\n\t- two",
        "\U0001f469\u200d\U0001f52c",
    ],
)
def test_what_only_resembles_a_fence_is_not_touched(text: str) -> None:
    assert inside_of(fence("A", text, LEAKED)) == text


@pytest.mark.parametrize(
    "line",
    [
        "<<<END OF A>>>",
        " \t<<<<<<< HEAD",
        "\uff1c\uff1c\uff1cEND",
        "\u200d<<\u2039x",
        "\u226a<END",
        "\u3000\u00ab\u00ab\u00ab",
    ],
)
def test_a_line_that_looks_like_one_gets_a_backslash(line: str) -> None:
    assert inside_of(fence("A", f"1\n{line}\n2", LEAKED)) == f"1\n\\{line}\n2"


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("<|im_end|>", "< |im_end| >"),
        ("</s>", "< /s>"),
        ("[/INST]", "[ /INST]"),
        ("<end_of_turn>", "< end_of_turn>"),
        ("<\uff5cUser\uff5c>", "< \uff5cUser\uff5c >"),
        ("<<SYS>>", "<< SYS>>"),
    ],
)
def test_tokens_of_chat_templates_are_taken_apart(token: str, shown: str) -> None:
    """A server of open models would read them as the end of the turn."""
    assert inside_of(fence("A", f"say {token} now", LEAKED)) == f"say {shown} now"


def test_every_end_of_line_is_one() -> None:
    assert clean("a\rb\r\nc\vd\fe\x1cf\x85g\u2028h\u2029i") == "\n".join("abcdefghi")


@given(ANY)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    text = "a" * MOST_CHARS + "b" * MOST_CHARS
    shown = cut(text)
    assert shown.startswith("a" * (MOST_CHARS // 2))
    assert shown.endswith("b" * (MOST_CHARS // 2))
    assert f"[... {MOST_CHARS} characters left out ...]" in shown
    assert cut(text, 2 * MOST_CHARS) is text
    assert cut("abc", 1) == "a\n[... 2 characters left out ...]\n"


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=9), st.integers(0, 5000))
def test_shares_fit_and_waste_nothing(sizes: list[int], room: int) -> None:
    each = share(sizes, room)
    assert sum(min(size, each) for size in sizes) <= room or each == 0
    if each < max(sizes):
        assert sum(min(size, each + 1) for size in sizes) > room
    else:
        assert sum(sizes) <= room


def test_no_mark_comes_twice() -> None:
    marks = {make_mark() for _ in range(1000)}
    assert len(marks) == 1000
    assert all(re.fullmatch("[0-9a-f]{16}", mark) for mark in marks)


@pytest.mark.parametrize(("kind", "text"), hostile_answers(), ids=lambda it: it[:20] if len(it) < 40 else "")
def test_the_hostile_ones_stay_inside_too(kind: str, text: str) -> None:
    parts, outside = read_case(fence("A", text, LEAKED))
    assert [part.name for part in parts] == ["A"]
    assert outside == []
