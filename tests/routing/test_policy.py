"""Which model answers, and the reasons."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from junctor.chat import BadRequest, Candidate, Constraints, Mode, ModelCard, NoModelFits, Price, Skill
from junctor.routing.policy import TOLERANCE, Demand, Ranking, decide, pass_over, put_first
from junctor.routing.predictor import Prediction

SKILLS: tuple[Skill, ...] = ("tools", "vision", "json", "audio")
NAMES = ("ant", "bee", "cat", "dog", "eel")
modes = st.sampled_from(("balanced", "cost", "quality"))


@st.composite
def offers(draw: st.DrawFn, *, priced: bool = False) -> list[tuple[ModelCard, Prediction]]:
    """A pool, with predictions."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=len(NAMES), unique=True))
    prices = st.floats(0, 100).map(lambda usd: Price(input=usd, output=usd, source="test"))
    return [
        (
            ModelCard(
                name=name,
                price=draw(prices if priced else st.none() | prices),
                window=draw(st.integers(10, 5000)),
                max_output=draw(st.none() | st.integers(1, 2000)),
                skills=frozenset(draw(st.sets(st.sampled_from(SKILLS)))),
                first_token_ms=draw(st.none() | st.floats(1, 5000)),
                tokens_per_s=draw(st.none() | st.floats(1, 500)),
            ),
            Prediction(name, draw(st.floats(0, 1)), "artefact", draw(st.floats(8, 2000))),
        )
        for name in names
    ]


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    """A request with any constraints, on names that every pool may hold."""
    few = st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple)
    return Demand(
        tokens=draw(st.integers(0, 3000)),
        max_tokens=draw(st.none() | st.integers(1, 2000)),
        needs=frozenset(draw(st.sets(st.sampled_from(SKILLS), max_size=2))),
        mode=draw(modes),
        floor=draw(st.none() | st.floats(0, 1)),
        constraints=Constraints(
            max_usd=draw(st.none() | st.floats(0, 0.5)),
            max_first_token_ms=draw(st.none() | st.floats(0, 5000)),
            max_total_ms=draw(st.none() | st.floats(0, 60_000)),
            min_window=draw(st.none() | st.integers(0, 5000)),
            only=draw(few),
            never=draw(few),
        ),
    )


def try_to_decide(demand: Demand, pool: list[tuple[ModelCard, Prediction]]) -> Ranking | None:
    """None when no model fits, or a name is unknown."""
    try:
        return decide(demand, [card for card, _ in pool], [said for _, said in pool])
    except BadRequest:
        return None


def satisfies(demand: Demand, card: ModelCard, candidate: Candidate, said: Prediction) -> bool:
    """The constraints once more, written plainly."""
    limits = demand.constraints
    wanted = demand.max_tokens
    if wanted is None:
        wanted = round(min(said.output_tokens, card.max_output or said.output_tokens))
    return all(
        (
            not limits.only or card.name in limits.only,
            card.name not in limits.never,
            demand.needs <= card.skills,
            demand.tokens + wanted <= card.window,
            demand.max_tokens is None or card.max_output is None or demand.max_tokens <= card.max_output,
            limits.min_window is None or card.window >= limits.min_window,
            limits.max_usd is None or (card.price is not None and candidate.usd <= limits.max_usd),
            limits.max_first_token_ms is None
            or (card.first_token_ms is not None and card.first_token_ms <= limits.max_first_token_ms),
            limits.max_total_ms is None
            or (candidate.total_ms is not None and candidate.total_ms <= limits.max_total_ms),
            demand.floor is None or said.p_good >= demand.floor,
        )
    )


@given(demands(), offers())
def test_exactly_the_models_that_satisfy_every_constraint_may_answer(
    demand: Demand, pool: list[tuple[ModelCard, Prediction]]
) -> None:
    """The chosen one first of all; and whoever may not is told which constraint it was."""
    ranking = try_to_decide(demand, pool)
    if ranking is None:
        return
    by_name = {card.name: (card, said) for card, said in pool}
    assert ranking.order[0] == ranking.chosen.name
    assert sorted(candidate.name for candidate in ranking.candidates) == sorted(by_name)
    for candidate in ranking.candidates:
        card, said = by_name[candidate.name]
        assert satisfies(demand, card, candidate, said) == (candidate.ruled_out_by is None)
        assert (candidate.refused_because is None) == (candidate.name == ranking.chosen.name)


@given(demands(), offers())
def test_no_model_fits_means_that_none_does(demand: Demand, pool: list[tuple[ModelCard, Prediction]]) -> None:
    """And the message names each model with its constraint."""
    cards, said = [card for card, _ in pool], [prediction for _, prediction in pool]
    assume(
        all(
            name in {card.name for card in cards}
            for name in demand.constraints.only + demand.constraints.never
        )
    )
    if try_to_decide(demand, pool) is not None:
        return
    with pytest.raises(NoModelFits) as refused:
        decide(demand, cards, said)
    assert all(f"{card.name}: " in refused.value.message for card in cards)


@given(demands(), offers(priced=True))
def test_the_choice_is_the_cheapest_within_the_modes_tolerance(
    demand: Demand, pool: list[tuple[ModelCard, Prediction]]
) -> None:
    """Quality never takes a lower p than another it may take."""
    ranking = try_to_decide(demand, pool)
    if ranking is None:
        return
    able = [candidate for candidate in ranking.candidates if candidate.ruled_out_by is None]
    best = max(candidate.p_good for candidate in able)
    assert ranking.chosen.p_good >= best - demand.tolerance
    for candidate in able:
        assert candidate.p_good < best - demand.tolerance or candidate.usd >= ranking.chosen.usd


@given(demands(), offers(priced=True))
def test_modes_are_ordered_in_cost(demand: Demand, pool: list[tuple[ModelCard, Prediction]]) -> None:
    """`cost` never costs more than `balanced`, nor that more than `quality`."""
    rankings = [
        try_to_decide(msgspec.structs.replace(demand, mode=mode), pool)
        for mode in ("cost", "balanced", "quality")
    ]
    costs = [ranking.chosen.usd for ranking in rankings if ranking is not None]
    assert all(low <= high for low, high in pairwise(costs))


@given(demands(), offers(), st.randoms())
def test_the_order_of_the_pool_does_not_matter(
    demand: Demand, pool: list[tuple[ModelCard, Prediction]], random: object
) -> None:
    """Nor does anything else: the same demand gives the same ranking."""
    shuffled = list(pool)
    random.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue]
    one, other = try_to_decide(demand, pool), try_to_decide(demand, shuffled)
    assert one == other


@given(demands(), demands(), offers())
def test_a_tighter_constraint_lets_nobody_in(
    loose: Demand, more: Demand, pool: list[tuple[ModelCard, Prediction]]
) -> None:
    """What was ruled out stays ruled out."""
    both = set(loose.constraints.only) & set(more.constraints.only)
    assume(both or not loose.constraints.only or not more.constraints.only)
    tight = tighten(loose, more)
    before, after = try_to_decide(loose, pool), try_to_decide(tight, pool)
    if after is None:
        return
    assert before is not None
    assert set(after.order) <= set(before.order)


def tighten(loose: Demand, more: Demand) -> Demand:
    """The limits of both."""
    one, other = loose.constraints, more.constraints

    def least(first: float | None, second: float | None) -> float | None:
        given_ones = [value for value in (first, second) if value is not None]
        return min(given_ones, default=None)

    return msgspec.structs.replace(
        loose,
        needs=loose.needs | more.needs,
        floor=max((value for value in (loose.floor, more.floor) if value is not None), default=None),
        constraints=Constraints(
            max_usd=least(one.max_usd, other.max_usd),
            max_first_token_ms=least(one.max_first_token_ms, other.max_first_token_ms),
            max_total_ms=least(one.max_total_ms, other.max_total_ms),
            min_window=max((one.min_window or 0, other.min_window or 0)),
            only=tuple(sorted(set(one.only) & set(other.only)))
            if one.only and other.only
            else one.only or other.only,
            never=tuple({*one.never, *other.never}),
        ),
    )


def card(name: str, usd: float | None = 1.0, **more: object) -> ModelCard:
    """A model; `usd`: per million tokens."""
    price = None if usd is None else Price(input=usd, output=usd, source="test")
    return ModelCard(name=name, price=price, **more)  # pyright: ignore[reportArgumentType]


def choose(demand: Demand, *offered: tuple[ModelCard, float]) -> Ranking:
    return decide(
        demand,
        [one for one, _ in offered],
        [Prediction(one.name, p, "artefact", 100.0) for one, p in offered],
    )


@pytest.mark.parametrize(("mode", "wanted"), [("balanced", "mid"), ("cost", "small"), ("quality", "big")])
def test_each_mode_gives_up_so_many_points(mode: Mode, wanted: str) -> None:
    """2, 6 and 0 of predicted quality."""
    pool = (card("big", 30), 0.90), (card("mid", 3), 0.885), (card("small", 0.3), 0.845)
    ranking = choose(Demand(tokens=100, mode=mode), *pool)
    assert ranking.chosen.name == wanted
    assert TOLERANCE[mode] >= 0.90 - ranking.chosen.p_good
    assert wanted == "big" or ranking.saved_usd == pytest.approx(
        200 * (30 - (3 if wanted == "mid" else 0.3)) / 1e6
    )


def test_a_floor_without_a_mode_takes_the_cheapest_that_reaches_it() -> None:
    """However much better another one is."""
    pool = (card("big", 30), 0.95), (card("mid", 3), 0.80), (card("small", 0.3), 0.60)
    ranking = choose(Demand(tokens=100, mode=None, floor=0.75), *pool)
    assert ranking.order == ("mid", "big")
    assert ranking.candidates[-1].ruled_out_by == "quality"
    assert "75" in ranking.rule


def test_the_ranking_is_the_choice_among_the_rest_again_and_again() -> None:
    """What to fall back on is chosen by the same rule."""
    pool = (card("a", 9), 0.90), (card("b", 1), 0.885), (card("c", 5), 0.88), (card("d", 2), 0.70)
    assert choose(Demand(tokens=100), *pool).order == ("b", "c", "a", "d")


def test_equal_costs_go_to_the_better_then_to_the_first_by_name() -> None:
    """Deterministic to the end."""
    pool = (card("b"), 0.80), (card("c"), 0.81), (card("a"), 0.80)
    assert choose(Demand(tokens=100), *pool).order == ("c", "a", "b")


def test_a_model_without_a_price_counts_as_the_dearest() -> None:
    """Unknown is not free."""
    ranking = choose(Demand(tokens=100), (card("x", None), 0.9), (card("y", 100), 0.89))
    assert ranking.order == ("y", "x")
    assert "price is not known" in (ranking.candidates[1].refused_because or "")


@pytest.mark.parametrize(
    ("constraint", "fragments"),
    [
        ({"max_usd": 1e-9}, ("max_usd", "USD")),
        ({"max_first_token_ms": 5}, ("max_first_token_ms", "800")),
        ({"max_total_ms": 5}, ("max_total_ms", "ms")),
        ({"min_window": 10_000}, ("min_window", "10000", "8192")),
        ({"never": ("only-one",)}, ("never", "excluded")),
    ],
)
def test_a_refusal_names_the_model_the_constraint_and_the_figures(
    constraint: dict[str, object], fragments: tuple[str, ...]
) -> None:
    """So that the caller can mend it."""
    demand = Demand(tokens=100, constraints=Constraints(**constraint))  # pyright: ignore[reportArgumentType]
    with pytest.raises(NoModelFits) as refused:
        choose(demand, (card("only-one", first_token_ms=800, tokens_per_s=10), 0.9))
    assert refused.value.status == 422
    for fragment in ("only-one", *fragments):
        assert fragment in refused.value.message


@pytest.mark.parametrize("limit", ["max_usd", "max_first_token_ms", "max_total_ms"])
def test_what_is_not_known_does_not_satisfy_a_limit(limit: str) -> None:
    """A limit that is stated is kept or refused, never assumed."""
    demand = Demand(tokens=100, constraints=Constraints(**{limit: 1e9}))  # pyright: ignore[reportArgumentType]
    with pytest.raises(NoModelFits, match="is not known: state its"):
        choose(demand, (card("dark", None), 0.9))


def test_a_window_must_hold_the_prompt_and_the_answer() -> None:
    """The answer as long as asked, else as long as expected."""
    small, large = card("small", window=1000), card("large", 9.0, window=10_000)
    assert choose(Demand(tokens=850), (small, 0.9), (large, 0.9)).chosen.name == "small"
    expected = choose(Demand(tokens=950), (small, 0.9), (large, 0.9))
    asked = choose(Demand(tokens=850, max_tokens=500), (small, 0.9), (large, 0.9))
    for ranking in (expected, asked):
        assert ranking.chosen.name == "large"
        assert ranking.candidates[1].ruled_out_by == "window"
        assert "1000" in (ranking.candidates[1].refused_because or "")


def test_a_model_that_cannot_write_so_much_is_ruled_out() -> None:
    """Upstreams refuse a `max_tokens` above their own limit, and no other try would help."""
    ranking = choose(
        Demand(tokens=10, max_tokens=5000), (card("short", max_output=4096), 0.9), (card("long"), 0.5)
    )
    assert ranking.order == ("long",)
    assert ranking.candidates[1].ruled_out_by == "max_tokens"


@pytest.mark.parametrize("field", ["only", "never"])
def test_an_unknown_name_is_refused_with_a_suggestion(field: str) -> None:
    """A typing error in `never` must not let the model in."""
    demand = Demand(tokens=1, constraints=Constraints(**{field: ("gpt-4o-mni",)}))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadRequest, match="did you mean `gpt-4o-mini`") as refused:
        choose(demand, (card("gpt-4o-mini"), 0.9))
    assert refused.value.param == f"junctor.{field}"


def test_savings_are_measured_against_the_strongest_that_could_take_the_request() -> None:
    """Not against one that a price limit or `never` excluded, which could have; but against it, too."""
    pool = (
        (card("blind", 900), 0.99),
        (card("eyes", 30, skills=frozenset({"vision"})), 0.9),
        (
            card("cheap", 1, skills=frozenset({"vision"})),
            0.6,
        ),
    )
    demand = Demand(tokens=100, needs=frozenset({"vision"}), constraints=Constraints(never=("eyes",)))
    ranking = choose(demand, *pool)
    assert ranking.chosen.name == "cheap"
    assert ranking.saved_usd == pytest.approx(200 * 29 / 1e6)


def test_an_empty_pool_says_how_to_fill_it() -> None:
    """No crash, no silence."""
    with pytest.raises(NoModelFits, match=r"junctor\.toml"):
        choose(Demand(tokens=1))


@given(demands(), offers(), st.sets(st.sampled_from(NAMES)))
def test_models_that_are_set_aside_come_last_of_those_that_may_answer(
    demand: Demand, pool: list[tuple[ModelCard, Prediction]], names: set[str]
) -> None:
    """Nobody joins or leaves, the order is kept otherwise, and whoever is not chosen knows why."""
    ranking = try_to_decide(demand, pool)
    if ranking is None:
        return
    after = pass_over(ranking, dict.fromkeys(names, "set aside"))
    ready = [name for name in ranking.order if name not in names]
    if not ready:
        assert after == ranking
        return
    assert list(after.order) == [*ready, *(name for name in ranking.order if name in names)]
    assert after.chosen == after.candidates[0]
    assert [c for c in after.candidates if c.ruled_out_by] == [
        c for c in ranking.candidates if c.ruled_out_by
    ]
    for candidate in after.candidates:
        assert (candidate.refused_because is None) == (candidate is after.chosen)
    strongest_usd = ranking.saved_usd + ranking.chosen.usd
    assert after.saved_usd + after.chosen.usd == pytest.approx(strongest_usd)


caches = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 4000), max_size=3)


def with_caches(pool: list[tuple[ModelCard, Prediction]]) -> list[tuple[ModelCard, Prediction]]:
    """The same pool, whose priced models take a tenth for cached input."""
    replace = msgspec.structs.replace
    return [
        (card, said)
        if card.price is None
        else (replace(card, price=replace(card.price, cached_input=card.price.input / 10)), said)
        for card, said in pool
    ]


@settings(deadline=None)
@given(demands(), offers(priced=True), caches)
def test_to_know_of_prompt_caches_never_costs_more(
    demand: Demand, pool: list[tuple[ModelCard, Prediction]], cached: dict[str, int]
) -> None:
    """At equal tolerance, by what the answers will really cost: what is in a cache is there either way."""
    pool = with_caches(pool)
    knowing = try_to_decide(msgspec.structs.replace(demand, cached=cached), pool)
    blind = try_to_decide(demand, pool)
    if knowing is None or blind is None or demand.constraints.max_usd is not None:
        return  # max_usd may fit by the cache alone
    usd = {candidate.name: candidate.usd for candidate in knowing.candidates}
    assert usd[knowing.chosen.name] <= usd[blind.chosen.name]
    able = [candidate for candidate in knowing.candidates if candidate.ruled_out_by is None]
    assert knowing.chosen.p_good >= max(candidate.p_good for candidate in able) - demand.tolerance
    assert ("stays with" in knowing.rule) == (knowing.chosen.name != blind.chosen.name)


def test_a_conversation_stays_where_leaving_would_lose_more_than_it_saves() -> None:
    """And the rule says what both are worth; the candidate how much of the prompt it has."""
    price = Price(input=10, output=10, cached_input=1, source="test")
    cards = [
        ModelCard(name="first", price=price, window=100_000),
        ModelCard(name="second", price=Price(input=8, output=8, source="test"), window=100_000),
    ]
    said = [Prediction("first", 0.8, "artefact", 100), Prediction("second", 0.8, "artefact", 100)]
    assert decide(Demand(tokens=2000), cards, said).chosen.name == "second"
    ranking = decide(Demand(tokens=2000, cached={"first": 1500}), cards, said)
    assert ranking.chosen.name == "first"
    assert ranking.chosen.cached_tokens == 1500
    assert ranking.chosen.usd == pytest.approx((500 * 10 + 1500 * 1 + 100 * 10) / 1e6)
    said_why = "its prompt cache saves 0.0135 USD, the switch to second would save 0.0042"
    assert ranking.rule == f"balanced: stays with first: {said_why}"
    better = [said[0], Prediction("second", 0.9, "artefact", 100)]
    assert decide(Demand(tokens=2000, cached={"first": 1500}), cards, better).chosen.name == "second"
    uncached = [msgspec.structs.replace(cards[0], price=cards[1].price), cards[1]]
    assert decide(Demand(tokens=2000, cached={"first": 1500}), uncached, said).chosen.cached_tokens == 0


def test_what_a_key_may_not_have_now_is_ruled_out_by_name() -> None:
    """With the reason that its share gives."""
    cards = [
        ModelCard(name=name, price=Price(input=1, output=1, source="test")) for name in ("weak", "strong")
    ]
    said = [Prediction("weak", 0.5, "artefact", 100), Prediction("strong", 0.9, "artefact", 100)]
    ranking = decide(Demand(tokens=10, withheld={"strong": "20 of 100 are used"}), cards, said)
    assert ranking.order == ("weak",)
    assert ranking.candidates[1].ruled_out_by == "key.strongest_share"
    assert ranking.candidates[1].refused_because == "20 of 100 are used"


@given(offers(priced=True), demands(), st.sampled_from(NAMES))
def test_a_model_is_put_first_where_it_may_answer_and_the_order_of_the_others_stays(
    pool: list[tuple[ModelCard, Prediction]], demand: Demand, name: str
) -> None:
    cards, said = zip(*pool, strict=True)
    try:
        ranking = decide(demand, cards, said)
    except (NoModelFits, BadRequest):
        assume(False)
        return
    changed = put_first(ranking, name, "so it is")
    if name not in ranking.order or name == ranking.chosen.name:
        assert changed == ranking
        return
    assert changed.order == (name, *(each for each in ranking.order if each != name))
    assert (changed.chosen.name, changed.chosen.refused_because) == (name, None)
    assert "so it is" in changed.rule
    assert "so it is" in (changed.candidates[1].refused_because or "")
    saved = changed.saved_usd + changed.chosen.usd
    assert saved == pytest.approx(ranking.saved_usd + ranking.chosen.usd, abs=1e-9)
