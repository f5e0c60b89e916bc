"""More than one look at a text, so that what is put before it cannot move a decision alone. Pure.

Whoever may put words into other people's prompts, or resells access by the request, can look for a prefix
that pushes every prompt to the dearest model, and a few words do (Shafran et al., "Rerouting LLM Routers",
2025; docs/abuse.md measures ours). So where the whole text asks for more than the cheapest model that fits,
its ends are judged, too, and where they disagree with it the cheapest verdict holds.

The ends are of fixed lengths. So they are the same whatever stands before them: no prefix can make a prompt
dearer than its own last characters call for. (Halves and quarters are not: a long prefix moves where they
begin, and with it what they say.) An end says less than the whole, so honest prompts pay as well: some that
deserved a dearer model do not get it. That is measured beside what it is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from junctor.chat import NoModelFits
from junctor.routing.policy import Ranking
from junctor.routing.predictor import Prediction

ENDS = (192, 64)
"""Characters: two or three sentences, and one. A shorter one says less, and protects shorter prompts: it
protects none that is shorter than itself."""
DISAGREE = "views_disagree"
"Name of the feature of a decision that its text's ends have changed."

Judge = Callable[[str], Sequence[Prediction]]
"Predicts for all models, in the order of the pool."
Decide = Callable[[Sequence[Prediction]], Ranking]
"Ranks by predictions. Raises `NoModelFits`."


def ends_of(text: str) -> Iterator[tuple[str, str]]:
    """The other views of a text, and their names. None of a text that is no longer than they."""
    for length in ENDS:
        if len(text) > length:
            yield f"last {length} characters", text[-length:]


class Pool(msgspec.Struct, frozen=True):
    """Those who may be chosen, as `look_again` asks them."""

    judge: Judge
    decide: Decide
    unpriced: Collection[str] = ()
    "Models whose price is not known: they count as the dearest."


def look_again(
    text: str, whole: Ranking, predictions: Sequence[Prediction], pool: Pool, tolerance: float
) -> Ranking | None:
    """The cheapest verdict of the text's ends where it is cheaper than that of the whole; None: it is not.

    `whole`: the verdict of the whole text, by `predictions`; `tolerance`: as `Demand.tolerance`. An end is
    judged only where it can matter: while something cheaper fits. Who fits is for the whole text to say, and
    so are lengths of answers and costs: a quality floor is a limit, not a verdict.
    """
    fitting = {
        it.name: (it.name in pool.unpriced, it.usd) for it in whole.candidates if it.ruled_out_by is None
    }
    cheapest, held, found = min(fitting.values()), fitting[whole.chosen.name], None
    if held == cheapest:
        return None
    for name, end in ends_of(text):
        said = pool.judge(end)
        if _least_that_will_do(said, fitting, tolerance) >= held:
            continue
        low = {it.name for it in whole.candidates if it.ruled_out_by == "quality"}
        try:
            ranking = pool.decide(_of_end(said, predictions, low))
        except NoModelFits:
            continue
        chosen = ranking.chosen.name
        if chosen in fitting and fitting[chosen] < held:
            held, found = fitting[chosen], _explain(ranking, whole, name)
        if held == cheapest:
            break
    return found


def _least_that_will_do(
    said: Sequence[Prediction], fitting: Mapping[str, tuple[bool, float]], tolerance: float
) -> tuple[bool, float]:
    """The cost of what would be chosen by these predictions."""
    chances = [(it.p_good, fitting[it.name]) for it in said if it.name in fitting]
    best = max(chances)[0]
    return min([cost for p_good, cost in chances if p_good >= best - tolerance])


def _of_end(end: Sequence[Prediction], whole: Sequence[Prediction], low: Collection[str]) -> list[Prediction]:
    """What an end says of quality, and the whole of length, and of those that it finds below the floor."""
    return [
        it
        if it.name in low
        else Prediction(it.name, said.p_good, said.source, it.output_tokens, said.p_error)
        for said, it in zip(end, whole, strict=True)
    ]


def _explain(ranking: Ranking, whole: Ranking, end: str) -> Ranking:
    dearer = whole.chosen
    rule = (
        f"{ranking.rule}, by the {end} alone; all of the text would call for {dearer.name}, and where "
        "they disagree the cheaper verdict holds"
    )
    return msgspec.structs.replace(ranking, rule=rule)
