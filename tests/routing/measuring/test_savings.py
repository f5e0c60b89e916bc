"""The figures: money with its bootstrap, alternatives, quality with its bounds. Unflattering ones, too."""

from __future__ import annotations

import random
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.chat import Price
from junctor.routing.measuring.savings import (
    GROUPS,
    Paid,
    compare_money,
    compare_quality,
    estimate_usd,
    find_alternatives,
    find_mix,
    make_slice,
    predict_quality,
)

CHEAP, DEAR = Price(input=1, output=1, source="t"), Price(input=10, output=10, source="t")
PRICES = {"cheap": CHEAP, "dear": DEAR}


def paid(usd: float, strongest_usd: float, **more: object) -> Paid:
    fields = {
        "model": "cheap",
        "input_tokens": 500_000,
        "output_tokens": 500_000,
        "cached_tokens": 0,
        "attempts": 1,
        "usd": usd,
        "strongest_usd": strongest_usd,
        "strongest": "dear",
    }
    return Paid(**fields | more)  # pyright: ignore[reportArgumentType]


def total_of(sample: list[Paid]):
    spent, strongest = sum(it.usd for it in sample), sum(it.strongest_usd for it in sample)
    return make_slice("total", len(sample), 0, spent, strongest)


def test_what_is_saved_is_the_difference_and_its_share() -> None:
    sample = [paid(1.0, 10.0), paid(10.0, 10.0)]
    money = compare_money(total_of(sample), sample)
    assert (money.saved_usd, money.saved_percent) == (9.0, 45.0)


def test_routing_that_cost_more_is_shown_as_it_is() -> None:
    """Cascades whose several calls came to more than the strongest model alone."""
    sample = [paid(12.0, 10.0)] * 50
    money = compare_money(total_of(sample), sample)
    assert money.saved_usd == -100.0
    assert money.saved_percent == -20.0
    assert money.saved_percent_interval == (pytest.approx(-20.0), pytest.approx(-20.0))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_requests_have_no_interval(count: int) -> None:
    sample = [paid(1.0, 10.0)] * count
    money = compare_money(total_of(sample), sample)
    assert money.saved_usd_interval is None
    assert money.saved_percent_interval is None


def test_free_models_save_nothing_of_nothing() -> None:
    sample = [paid(0.0, 0.0)] * 5
    money = compare_money(total_of(sample), sample)
    assert (money.saved_percent, money.saved_percent_interval) == (None, None)
    assert money.saved_usd_interval == (0.0, 0.0)


def test_the_interval_can_be_repeated_and_another_seed_gives_about_the_same() -> None:
    rng = random.Random(1)
    sample = [paid(rng.random(), 1 + rng.random()) for _ in range(300)]
    one, again, other = (compare_money(total_of(sample), sample, seed) for seed in (0, 0, 1))
    assert one == again
    assert one.saved_percent_interval is not None
    assert other.saved_percent_interval is not None
    assert one.saved_percent_interval != other.saved_percent_interval
    assert one.saved_percent_interval[0] == pytest.approx(other.saved_percent_interval[0], abs=1.0)


def test_the_interval_is_as_wide_as_the_normal_approximation_says() -> None:
    """Of sums of groups likewise: see `GROUPS`."""
    rng = random.Random(2)
    sample = [paid(rng.expovariate(1.0), 2.0 + rng.expovariate(1.0)) for _ in range(3 * GROUPS)]
    money = compare_money(total_of(sample), sample)
    assert money.saved_usd_interval is not None
    low, high = money.saved_usd_interval
    spread = stdev(it.strongest_usd - it.usd for it in sample) * len(sample) ** 0.5
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """100 simulated months of 60 requests: 95 %, three standard errors allowed."""
    rng, runs, held = random.Random(3), 100, 0
    for run in range(runs):
        sample = [paid(1.0 if rng.random() < 0.6 else 10.0, 10.0) for _ in range(60)]
        interval = compare_money(total_of(sample), sample, run).saved_percent_interval
        assert interval is not None
        held += interval[0] <= 54.0 <= interval[1]
    assert held / runs >= 0.95 - 3 * (0.95 * 0.05 / runs) ** 0.5


requests = st.builds(
    paid,
    st.floats(0, 100),
    st.floats(0, 100),
    input_tokens=st.integers(0, 10**6),
    output_tokens=st.integers(0, 10**6),
    attempts=st.integers(1, 5),
    model=st.sampled_from(["cheap", "dear", "gone"]),
    strongest=st.sampled_from(["dear", "gone"]),
    p_good=st.dictionaries(st.sampled_from(["cheap", "dear"]), st.floats(0, 1)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(requests, max_size=15))
def test_any_requests_give_figures_that_agree(sample: list[Paid]) -> None:
    total = total_of(sample)
    money = compare_money(total, sample)
    assert money.saved_usd == pytest.approx(money.strongest_usd - money.spent_usd)
    if money.saved_usd_interval is not None:
        assert money.saved_usd_interval[0] <= money.saved_usd_interval[1]
    cheapest, mix = find_alternatives(total, sample, PRICES)
    if mix is not None and cheapest is not None:
        assert mix.usd >= cheapest.usd * (1 - 1e-9)
        assert sum(mix.models.values()) == pytest.approx(1.0)
        target = predict_quality(sample).quality
        assert target is not None
        assert mix.predicted_quality is not None
        assert mix.predicted_quality >= target - 1e-9


def test_always_cheapest_is_the_ledgers_tokens_at_its_price() -> None:
    sample = [paid(1.0, 10.0), paid(10.0, 10.0, model="dear")]
    cheapest, _ = find_alternatives(total_of(sample), sample, PRICES)
    assert cheapest is not None
    assert (cheapest.models, cheapest.usd) == ({"cheap": 1.0}, 2.0)


def test_tokens_of_several_calls_are_scaled_to_those_of_the_answer() -> None:
    """A cascade of three calls: the ledger has all their tokens, and says what the answer alone costs."""
    cascade = paid(3.0, 10.0, input_tokens=1_500_000, output_tokens=1_500_000, attempts=3)
    assert estimate_usd([cascade], CHEAP, PRICES) == pytest.approx(1.0)
    assert estimate_usd([cascade], DEAR, PRICES) == pytest.approx(cascade.strongest_usd)


def test_a_sample_is_scaled_to_all() -> None:
    sample = [paid(1.0, 10.0)] * 10
    total = make_slice("total", 1000, 0, 1000.0, 10_000.0)
    cheapest, _ = find_alternatives(total, sample, PRICES)
    assert cheapest is not None
    assert cheapest.usd == pytest.approx(1000.0)
    interval = compare_money(total, sample).saved_usd_interval
    assert interval is not None
    assert interval[0] == pytest.approx(9000.0)


def test_the_best_mix_lies_on_the_line_between_two_models() -> None:
    models = {"a": (1.0, 0.5), "b": (10.0, 0.9), "bad": (9.0, 0.6)}
    mix = find_mix(models, 0.7)
    assert mix is not None
    assert mix.models == {"a": pytest.approx(0.5), "b": pytest.approx(0.5)}
    assert mix.usd == pytest.approx(5.5)


def test_one_model_that_is_good_enough_and_cheapest_needs_no_mix() -> None:
    mix = find_mix({"a": (1.0, 0.8), "b": (10.0, 0.9)}, 0.7)
    assert mix is not None
    assert (mix.models, mix.usd) == ({"a": 1.0}, 1.0)


def test_no_mix_reaches_what_no_model_reaches() -> None:
    assert find_mix({"a": (1.0, 0.5), "b": (10.0, 0.9)}, 0.95) is None
    assert find_mix({}, 0.5) is None
    assert find_mix({"a": (1.0, 0.5)}, None) is None


def test_nothing_measured_is_said_so() -> None:
    quality = compare_quality([], [], 0.5)
    assert (quality.points, quality.interval, quality.compared) == (None, None, 0)
    assert quality.needed == 3842, "(1.96 / 0.01)^2 * 0.1: as if one answer in ten differed"


def test_quality_of_all_counts_the_strongests_own_answers_as_equal() -> None:
    shadows = [("equal", 0.0)] * 80 + [("worse", -1.0)] * 20
    quality = compare_quality(shadows, [], 0.5)
    assert (quality.elsewhere_points, quality.points) == (-20.0, -10.0)
    assert quality.elsewhere_interval is not None
    assert quality.interval is not None
    assert quality.elsewhere_interval[0] < -20.0 < quality.elsewhere_interval[1] < 0.0
    assert quality.interval[0] == quality.elsewhere_interval[0] / 2


def test_what_nobody_decided_widens_the_interval_both_ways_and_no_number_would_help() -> None:
    equal = [("equal", 0.0)] * 900
    sure, unsure = (compare_quality(equal + more, [], 1.0) for more in ([], [("differs", None)] * 100))
    assert sure.interval is not None
    assert unsure.interval is not None
    assert unsure.interval[0] < sure.interval[0] - 5
    assert unsure.interval[1] > sure.interval[1] + 5
    assert (sure.undecided, unsure.undecided) == (0, 100)
    assert sure.needed is not None
    assert unsure.needed is None


def test_what_was_not_compared_is_counted_apart() -> None:
    shadows = [("incomparable", None), ("failed", None), ("failed", None), ("tie", 0.0)]
    quality = compare_quality(shadows, [], 1.0)
    assert (quality.compared, quality.incomparable, quality.failed, quality.equal) == (1, 1, 2, 0)


def test_feedback_is_summed_up_by_who_answered() -> None:
    scores = [(False, 1.0)] * 60 + [(False, 0.0)] * 40 + [(True, 1.0)] * 90 + [(True, 0.0)] * 10
    said = compare_quality([], scores, 1.0).feedback
    assert (said.others, said.others_mean, said.strongest, said.strongest_mean) == (100, 0.6, 100, 0.9)
    assert said.interval is not None
    assert said.interval[0] < -30.0 < said.interval[1] < 0.0
    assert compare_quality([], [(True, 1.0)], 1.0).feedback.interval is None


def test_means_are_means_of_the_same_requests() -> None:
    """One of which nothing is known of the strongest model would make the means of different requests."""
    sample = [
        paid(1, 1, p_good={"cheap": 0.5, "dear": 0.9}),
        paid(1, 1, p_good={"cheap": 0.7, "dear": 0.8}),
        paid(1, 1, p_good={"cheap": 0.1}),
        paid(1, 1),
    ]
    predicted = predict_quality(sample)
    assert predicted.quality == pytest.approx(fmean([0.5, 0.7]))
    assert predicted.strongest_quality == pytest.approx(fmean([0.9, 0.8]))
    assert (predicted.share, predicted.by_ladder) == (0.5, 0.0)
    nothing = predict_quality([])
    assert (nothing.quality, nothing.strongest_quality, nothing.share) == (None, None, 0.0)


LADDER = {"cheap": 0.8, "dear": 0.94}
"Right answers on a ladder's prompts, of each model alone."


def test_what_a_ladder_answered_counts_as_the_ladder_and_not_as_one_of_its_models() -> None:
    sample = [paid(1, 1, p_good=LADDER, p_answer=0.98)] * 3 + [paid(1, 1, p_good={"cheap": 0.5, "dear": 0.6})]
    predicted = predict_quality(sample)
    assert predicted.quality == pytest.approx((3 * 0.98 + 0.5) / 4)
    assert predicted.strongest_quality == pytest.approx((3 * 0.94 + 0.6) / 4)
    assert (predicted.share, predicted.by_ladder) == (1.0, 0.75)


def test_no_mix_of_models_is_as_good_as_a_ladder_that_beats_them_all() -> None:
    sample = [paid(1.0, 10.0, p_good=LADDER, p_answer=0.98)] * 10
    cheapest, mix = find_alternatives(total_of(sample), sample, PRICES)
    assert cheapest is not None
    assert cheapest.predicted_quality == pytest.approx(0.8)
    assert mix is None
    worse = [paid(1.0, 10.0, p_good=LADDER, p_answer=0.87)] * 10
    _, mix = find_alternatives(total_of(worse), worse, PRICES)
    assert mix is not None
    assert mix.models == {"cheap": pytest.approx(0.5), "dear": pytest.approx(0.5)}


def test_a_model_that_is_not_known_for_each_request_is_in_no_mix() -> None:
    """Its mean would be that of other requests."""
    known, unknown = {"cheap": 0.99, "dear": 0.9, "mid": 0.8}, {"dear": 0.9, "mid": 0.8}
    sample = [paid(1.0, 10.0, model="mid", p_good=each) for each in (known, unknown)]
    cheapest, mix = find_alternatives(total_of(sample), sample, PRICES)
    assert cheapest is not None
    assert (cheapest.models, cheapest.predicted_quality) == ({"cheap": 1.0}, None)
    assert mix is not None
    assert mix.models == {"dear": 1.0}
