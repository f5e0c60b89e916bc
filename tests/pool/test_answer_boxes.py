r"""What the boxes of a text state."""

from __future__ import annotations

import pytest

from junctor.pool.answer_boxes import MOST_BOXES, find_boxed


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("no box", None),
        (r"\boxed{5", None),
        (r"\boxed{4}... so \boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\fbox {5}", ["5"]),
        (r"$\boxed{1}$ and $\boxed{2}$", ["1", "2"]),
        (r"$x = \boxed{1}$, or $x = \boxed{2}$", ["1", "2"]),
        (r"\boxed{1} \text{ or } \boxed{2}", ["1", "2"]),
        (r"\boxed{1} is wrong, so \boxed{2}", ["2"]),
        (r"-\boxed{5}", ["-5"]),
        (r"3-\boxed{5}", ["5"]),
        (r"= -\boxed{\frac12}", [r"-(\frac12)"]),
        (r"\boxed{5}\pi", []),
        (r"\boxed{5}x", []),
        (r"\boxed{5}/8", []),
        (r"\boxed{5}^2", []),
        (r"\boxed{5}^\circ", ["5"]),
        (r"$\boxed{5}$ million dollars", ["5 million"]),
        (r"\boxed{5} dollars", ["5"]),
        (r"\boxed{5}\text{ cm}", ["5"]),
    ],
)
def test_the_last_answer_in_boxes_is_found(text: str, stated: list[str] | None) -> None:
    assert find_boxed(text) == stated


def test_a_list_is_as_long_as_it_may_be() -> None:
    assert find_boxed(" and ".join([r"\boxed{1}"] * 9)) == ["1"] * MOST_BOXES
