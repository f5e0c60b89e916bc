"""Narrowing JSON of unknown form."""

from __future__ import annotations

import pytest

from junctor.wire.json_value import as_count, as_list, as_object, as_text


@pytest.mark.parametrize("value", [None, 1, "x", [1], {"a": 1}, True])
def test_only_the_wanted_kind_comes_through(value: object) -> None:
    assert as_object(value) == (value if isinstance(value, dict) else {})
    assert as_list(value) == (value if isinstance(value, list) else [])
    assert as_text(value) == (value if isinstance(value, str) else "")


def test_counts_are_bounded() -> None:
    assert [as_count(value) for value in (None, -1, 0, 7, 10**30)] == [0, 0, 0, 7, 10**12]
