"""Prompt text to numbers."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.routing.features import BUCKETS, HEAD_BYTES, NAMES, TAIL_BYTES, extract_features


def named(text: str) -> dict[str, float]:
    return dict(zip(NAMES, extract_features(text).named, strict=True))


@given(st.text(st.characters(), max_size=500))
def test_every_text_has_finite_features_within_bounds(text: str) -> None:
    """Lone surrogates and control characters included."""
    features = extract_features(text)
    assert len(features.named) == len(NAMES)
    assert all(math.isfinite(value) and 0 <= value <= 20 for value in features.named)
    assert len(set(features.hashed)) == len(features.hashed)
    assert all(0 <= bucket < BUCKETS for bucket in features.hashed)


@given(st.text('aZ 7\n?$%"_`=</;{}()+*\\-é中', max_size=60))
def test_counted_features_are_what_counting_gives(text: str) -> None:
    """One character after the other, and mark after mark, as the artefact was trained."""
    found, data = named(text), text.encode()
    size = len(data) or 1
    shares = {"digits": b"7", "capitals": b"Z", "operators": b"+*/=<>^", "marks": b'?$%"_`=</;{}()+*\\-'}
    for name, wanted in shares.items():
        assert found[name] == sum(byte in wanted for byte in data) / size
    assert found["non_ascii"] == sum(byte > 127 for byte in data) / size
    counts = {"log_spaces": text.count(" "), "log_lines": text.count("\n"), "question_marks": text.count("?")}
    counts |= {"latex": text.count("\\") + text.count("$$"), "quotes": text.count('"')}
    counts["code"] = sum(map(text.count, ("==", "=>", "</", ";\n", "{\n", "()", "):\n")))
    for name, count in counts.items():
        assert found[name] == math.log1p(count)
    for name, mark in {"code_fence": "```", "blanks": "__", "money": "$", "percent": "%"}.items():
        assert found[name] == (mark in text)


def test_hashing_is_the_same_in_every_process() -> None:
    """Python's own `hash` is salted: an artefact trained with it would be noise elsewhere."""
    text = "Wie viel ist 12 + 30? 你好"
    code = f"from junctor.routing.features import extract_features as f; print(sorted(f({text!r}).hashed))"
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        )
        assert out.stdout.strip() == str(sorted(extract_features(text).hashed))


def test_known_buckets_stay_where_they_are() -> None:
    """The artefact was trained with these: a change needs another FEATURES_VERSION and a new training."""
    assert sorted(extract_features("Compute 12 sums").hashed) == [5280, 20409, 42103]


def test_how_often_and_in_which_order_words_stand_is_not_hashed() -> None:
    """Pairs of words, and more than a sample, predicted no better and cost more time."""
    assert set(extract_features("dog bites man").hashed) == set(extract_features("man bites man, dog").hashed)


def test_numbers_are_alike_but_for_their_length() -> None:
    """Which number it is says nothing about how hard a question is."""
    assert extract_features("17 apples").hashed == extract_features("42 apples").hashed
    assert extract_features("17 apples").hashed != extract_features("4200 apples").hashed


def test_the_number_of_hashed_words_is_bounded() -> None:
    """So is the time."""
    words = " ".join(
        f"{chr(97 + at % 26)}{chr(97 + at // 26 % 26)}{chr(97 + at // 676)}" for at in range(5000)
    )
    assert len(extract_features(words).hashed) <= (HEAD_BYTES + TAIL_BYTES) / 2
    assert extract_features(words).hashed != extract_features(words[:-9] + " unlike it").hashed


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("How many eggs does she sell?", "asks_how_many"),
        ("How many eggs does she sell?", "ends_with_question"),
        ("Which of these is a prime?", "wh_word"),
        ("Explain the tides.", "asks_why"),
        ("Translate to Greek: good day", "instruction"),
        ("a poem about rain", "creative"),
        ("Which is NOT a fruit?", "negation"),
        ("Pick one\nA. red\nB. blue", "choices"),
        ("def f(x):\n    return x", "code"),
        ("```\nls\n```", "code_fence"),
        (r"Solve \frac{1}{2}x = 3", "latex"),
        ("x = 3 + 4", "operators"),
        ("It costs $5", "money"),
        ("20% off", "percent"),
        ("Сколько будет два плюс два", "non_ascii"),
        ("今天天气怎么样", "cjk"),
        ("- one\n- two", "list_items"),
        ("The capital of France is ____", "blanks"),
        ("If x, then y", "conditionals"),
    ],
)
def test_named_features_see_what_their_name_says(text: str, name: str) -> None:
    """And are silent on a plain greeting."""
    assert named(text)[name] > 0
    assert named("hi there")[name] == 0


def test_numpy_is_not_needed() -> None:
    """The server starts fast and stays small: nothing here may import it."""
    code = "import sys, junctor.routing.router; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
