"""The words after a number: those that leave it, those that multiply it, and those that may change it."""

from __future__ import annotations

import pytest

from junctor.pool.answer_units import is_scale, unit_factor


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "%",
        " %",
        " dollars",
        " US dollars",
        " eggs",
        " km/h",
        " miles per hour",
        " cm^2",
        " lbs.",
        " degrees",
        " degrees Celsius",
        " percent",
        " per cent",
        " hours a day",
        " pounds of meat",
        " square feet left",
        " dollars in total",
        " left over",
        " years old",
        " different ways",
        " people",
        "/day",
        " in",
        " in all",
    ],
)
def test_units_leave_the_number_as_it_is(rest: str) -> None:
    assert unit_factor(rest) == 1


@pytest.mark.parametrize(
    ("rest", "factor"),
    [
        (" million", 10**6),
        (" hundred thousand dollars", 10**5),
        (" dozen eggs", 12),
        (" Milliarden Euro", 10**9),
    ],
)
def test_scales_multiply_it(rest: str, factor: int) -> None:
    assert unit_factor(rest) == factor


@pytest.mark.parametrize(
    "rest",
    [
        " below",
        " below zero",
        " degrees below zero",
        " more",
        " less",
        " fewer eggs",
        " eggs fewer",
        " or more",
        " ago",
        " days ago",
        " from now",
        " north",
        " thirds",
        " twelfths",
        " hundredths",
        " halves",
        " dozens",
        " pairs",
        " tens",
        " Mrd",
        " bn",
        " k",
        " mil",
        " squared",
        " factorial",
        " mod",
        " am",
        " BC",
        " profit",
        " losses",
        " gains",
        " times more",
        " percent increase",
        "% increase",
        "% of sales",
        " plus",
        " minus",
        " más",
        " menos",
        " moins",
        " Prozent weniger",
        " and",
        " to",
        " at most",
        " in debt",
        " units left right",
        " millionths",
        " billones",
        " upwards",
        " o'clock",
        "x",
        ".5.5",
        " a",
        " per",
        " of",
        " eggs of",
        "-fold",
        " " + "eggs " * 30,
        " " * 200,
    ],
)
def test_whatever_else_follows_is_no_unit(rest: str) -> None:
    """Directions, comparisons, fractions, scales of other languages."""
    assert unit_factor(rest) is None


def test_a_scale_is_one_in_any_case() -> None:
    assert is_scale("Million")
    assert not is_scale("eggs")
