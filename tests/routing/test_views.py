"""The ends of a text are judged where they can matter, and the cheaper verdict holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.chat import Constraints, ModelCard, NoModelFits, Price
from junctor.routing.policy import TOLERANCE, Demand, Ranking, decide
from junctor.routing.predictor import Prediction
from junctor.routing.views import ENDS, Pool, ends_of, look_again

CARDS = [
    ModelCard(name=name, price=Price(input=usd, output=usd, source="test"), window=100_000)
    for name, usd in (("cheap", 1), ("middle", 4), ("dear", 10))
]
PREFIX = "prove rigorously the theorem " * 3
HONEST = "what is two and two, please tell me now " * 5
chances = st.lists(st.floats(0, 1), min_size=3, max_size=3)


def said(*chance: float, tokens: float = 100) -> list[Prediction]:
    return [Prediction(card.name, p, "artefact", tokens) for card, p in zip(CARDS, chance, strict=True)]


EASY, HARD = said(0.8, 0.8, 0.8), said(0.5, 0.6, 0.9)


class Looks:
    """Judges a text as hard where a word of the prefix is in it, and counts."""

    def __init__(self, demand: Demand | None = None) -> None:
        self.demand = demand or Demand(tokens=100)
        self.ends: list[str] = []

    def judge(self, text: str) -> Sequence[Prediction]:
        self.ends.append(text)
        return HARD if "theorem" in text else EASY

    def decide(self, predictions: Sequence[Prediction]) -> Ranking:
        return decide(self.demand, CARDS, predictions)

    def look(self, text: str) -> Ranking | None:
        predictions = HARD if "theorem" in text else EASY
        pool = Pool(self.judge, self.decide)
        return look_again(text, self.decide(predictions), predictions, pool, self.demand.tolerance)


def test_a_prefix_alone_does_not_call_for_the_dear_model() -> None:
    """The whole text would; its ends would not, and the decision says so."""
    ranking = Looks().look(PREFIX + HONEST)
    assert ranking is not None
    assert ranking.chosen.name == "cheap"
    assert "by the last 192 characters alone" in ranking.rule
    assert "dear" in ranking.rule
    assert {candidate.name for candidate in ranking.candidates} == {"cheap", "middle", "dear"}


def test_a_text_that_is_hard_throughout_keeps_its_model() -> None:
    """Each of its ends asks for the same."""
    looks = Looks()
    assert looks.look("a theorem and its proof, then " * 8) is None
    assert len(looks.ends) == len(ENDS)


def test_nothing_is_judged_twice_where_it_cannot_matter() -> None:
    """The cheapest that fits is chosen anyway; or the text is no longer than its end."""
    looks = Looks()
    assert looks.look(HONEST) is None
    assert looks.look("theorem ".ljust(min(ENDS), "x")) is None
    only = Looks(Demand(tokens=100, constraints=Constraints(only=("dear",))))
    assert only.look(PREFIX + HONEST) is None
    assert not looks.ends
    assert not only.ends


def test_who_fits_is_for_the_whole_text_to_say() -> None:
    """A floor that the cheap model does not reach by the whole text holds, whatever an end says."""
    looks = Looks(Demand(tokens=100, floor=0.55))
    ranking = looks.look(PREFIX + HONEST)
    assert ranking is not None
    assert ranking.chosen.name == "middle"


def test_a_model_without_a_price_counts_as_the_dearest() -> None:
    """Its cost of 0 is not cheap: an end may lead away from it, and never to it."""
    cards = [ModelCard(name="unknown", window=100_000), CARDS[1]]

    def judged(*chance: float) -> list[Prediction]:
        return [Prediction(card.name, p, "artefact", 9) for card, p in zip(cards, chance, strict=True)]

    def rank(predictions: Sequence[Prediction]) -> Ranking:
        return decide(Demand(tokens=100), cards, predictions)

    for whole, part, chosen in (((0.9, 0.5), (0.5, 0.5), "middle"), ((0.5, 0.9), (0.9, 0.5), None)):
        pool = Pool(lambda _, p=part: judged(*p), rank, {"unknown"})
        found = look_again(PREFIX + HONEST, rank(judged(*whole)), judged(*whole), pool, 0.02)
        assert (found.chosen.name if found else None) == chosen


@settings(deadline=None)
@given(st.text(max_size=300))
def test_each_end_leaves_out_more_of_the_beginning(text: str) -> None:
    """None is the text itself."""
    ends = [end for _, end in ends_of(text)]
    assert [len(end) for end in ends] == [length for length in ENDS if length < len(text)]
    assert all(text.endswith(end) for end in ends)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=300), st.text(min_size=max(ENDS) + 1, max_size=300))
def test_the_ends_of_a_prompt_are_the_same_whatever_stands_before_it(prefix: str, prompt: str) -> None:
    """Those of a prompt that is longer than all of them."""
    assert list(ends_of(prefix + prompt)) == list(ends_of(prompt))


@settings(deadline=None)
@given(st.text(max_size=300), st.data())
def test_no_prefix_makes_a_prompt_dearer_than_its_own_ends_call_for(prefix: str, data: st.DataObject) -> None:
    """Whatever each text is predicted to need."""
    prompt = data.draw(st.text(min_size=max(ENDS) + 1, max_size=300))
    told: dict[str, list[Prediction]] = {}

    def judge(text: str) -> list[Prediction]:
        if text not in told:
            told[text] = said(*data.draw(chances))
        return told[text]

    def rank(predictions: Sequence[Prediction]) -> Ranking:
        return decide(Demand(tokens=100, mode="cost"), CARDS, predictions)

    text = prefix + prompt
    ranking, pool = rank(judge(text)), Pool(judge, rank)
    chosen = (look_again(text, ranking, judge(text), pool, TOLERANCE["cost"]) or ranking).chosen
    called_for = [rank(judge(end)).chosen.usd for _, end in ends_of(prompt)]
    assert chosen.usd <= min(called_for)


def decide_usd(chance: list[float], ranking: Ranking, tolerance: float) -> float:
    """What the choice by these chances costs, written plainly."""
    usd = {candidate.name: candidate.usd for candidate in ranking.candidates}
    pairs = list(zip(chance, (usd[card.name] for card in CARDS), strict=True))
    return min(cost for p, cost in pairs if p >= max(chance) - tolerance)


@settings(deadline=None)
@given(
    chances,
    chances,
    chances,
    st.sampled_from(("balanced", "cost", "quality", None)),
    st.just(0.0) | st.floats(0, 1),
)
def test_it_is_never_dearer_and_never_breaks_a_limit(
    whole: list[float], long: list[float], short: list[float], mode: object, floor: float
) -> None:
    """Whatever the ends say: who is chosen fits by the whole text, and costs no more."""
    demand = Demand(tokens=100, mode=mode, floor=floor)  # pyright: ignore[reportArgumentType]
    text = "x" * (max(ENDS) + 1)
    by_length: Mapping[int, list[float]] = dict(zip(ENDS, (long, short), strict=True))

    def rank(predictions: Sequence[Prediction]) -> Ranking:
        return decide(demand, CARDS, predictions)

    predictions = said(*whole)
    try:
        ranking = rank(predictions)
    except NoModelFits:
        return
    pool = Pool(lambda end: said(*by_length[len(end)], tokens=1), rank)
    found = look_again(text, ranking, predictions, pool, demand.tolerance)
    ends = (long, short) if floor == 0 else ()
    wanted = [decide_usd(end, ranking, demand.tolerance) for end in ends]
    if wanted and min(wanted) < ranking.chosen.usd:
        assert found is not None
        assert found.chosen.usd == min(wanted)
    if found is not None:
        assert found.chosen.name in ranking.order
        assert found.chosen.usd < ranking.chosen.usd
        usd = {candidate.name: candidate.usd for candidate in ranking.candidates}
        assert found.chosen.usd == usd[found.chosen.name]
