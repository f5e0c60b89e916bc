"""A model that a request names keeps the limits that are stated, or is refused; so do its fallbacks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from junctor.chat import BadRequest, ChatRequest, Constraints, ModelCard, NoModelFits, Price, collect
from junctor.lasting import ARTEFACT
from junctor.pool.choice import Policy
from junctor.pool.resilient import Resilience
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.routing.named import Named, forecast_of
from junctor.routing.predictor import Predictor, parse_artefact
from ladders import request_of

pytestmark = pytest.mark.anyio

PREDICTOR = Predictor(parse_artefact(ARTEFACT.read_bytes()))
NAMES = ("first", "second", "other", "auto")


def model(name: str, usd: float, *, fails: bool = False, **facts: Any) -> ScriptedModel:
    price = Price(input=usd, output=usd, source="test")
    card = ModelCard(name=name, price=price, window=8000, ability=0.6, **facts)
    script: list[dict[str, Any]] = [{"fail": "upstream_broken"}] if fails else [{"text": name}]
    return ScriptedModel(card, parse_script(script))


def named(*models: ScriptedModel) -> Named:
    cards = [it.card for it in models]
    forecast = forecast_of(PREDICTOR, cards)
    return Named(models, Resilience(Policy(attempts=1)), names=NAMES, forecast=forecast)


def asking(**limits: Any) -> ChatRequest:
    request = request_of()
    return ChatRequest(
        model="first", messages=request.messages, constraints=Constraints(**limits), id="req_1"
    )


@pytest.mark.parametrize(
    ("limits", "param", "figure"),
    [
        ({"max_usd": 1e-8}, "junctor.max_usd", "max_usd of 1e-08 USD"),
        ({"needs": ("vision",)}, "junctor.needs", "lacks the skill vision"),
        ({"min_window": 9000}, "junctor.min_window", "window of 8000 tokens < 9000"),
        ({"quality": 1.0}, "junctor.quality", "< the floor of 100.0%"),
        ({"never": ("first",)}, "junctor.never", "excluded by the request"),
        ({"only": ("second",)}, "junctor.only", "not among the models asked for (second)"),
        ({"max_first_token_ms": 1}, "junctor.max_first_token_ms", "estimated 500 ms"),
        ({"max_total_ms": 1000}, "junctor.max_total_ms", "state its `first_token_ms` and `tokens_per_s`"),
    ],
)
async def test_a_limit_that_the_named_model_does_not_keep_is_refused_with_its_figure(
    limits: dict[str, Any], param: str, figure: str
) -> None:
    """A limit that is stated is kept or refused, never assumed: before anybody is asked."""
    with pytest.raises(NoModelFits) as refused:
        named(model("first", 1.0, first_token_ms=500.0)).answer(asking(**limits))
    assert refused.value.param == param
    assert figure in refused.value.message
    assert "`first`" in refused.value.message


async def test_limits_that_it_keeps_and_a_mode_change_nothing() -> None:
    """What chooses among models has nothing to choose here."""
    first = named(model("first", 1.0, first_token_ms=5.0, skills=frozenset({"vision"})))
    kept = {"max_usd": 1.0, "needs": ("vision",), "max_first_token_ms": 10, "only": ("first", "other")}
    for limits in (kept, {"mode": "quality"}, {}):
        assert (await collect(first.answer(asking(**limits)))).text == "first"


async def test_what_is_only_estimated_too_long_is_the_upstreams_to_refuse() -> None:
    request = asking(max_usd=1.0)
    long = ChatRequest(
        model="first", messages=request.messages, max_tokens=100_000, constraints=request.constraints
    )
    assert (await collect(named(model("first", 1.0)).answer(long))).text == "first"


async def test_a_fallback_that_does_not_keep_the_limits_is_not_asked() -> None:
    pool = (model("first", 1.0, fails=True), model("second", 5000.0), model("other", 1.0))
    assert (await collect(named(*pool).answer(asking()))).model == "second"
    assert (await collect(named(*pool).answer(asking(max_usd=0.01)))).model == "other"
    assert (await collect(named(*pool).answer(asking(never=("second",))))).model == "other"


async def test_an_unknown_name_is_a_mistake_and_no_limit() -> None:
    with pytest.raises(BadRequest, match="did you mean `second`"):
        named(model("first", 1.0)).answer(asking(never=("secnd",)))


async def test_embeddings_have_a_price_and_no_quality() -> None:
    """Their text is none of a chat: nothing of it is read."""
    card = ModelCard(name="first", price=Price(input=1000.0, output=0.0, source="test"), window=8000)
    vectors = Named([ScriptedModel(card, parse_script([{"text": "v"}]))], Resilience(Policy()), names=NAMES)
    tokens = msgspec.Raw(b"[[1, 2, 3]]")
    with pytest.raises(NoModelFits, match="max_usd of 1e-08 USD"):
        vectors.answer(ChatRequest(model="first", messages=tokens, constraints=Constraints(max_usd=1e-8)))
    with pytest.raises(NoModelFits, match="how good the embeddings of `first` are"):
        vectors.answer(ChatRequest(model="first", messages=tokens, constraints=Constraints(quality=0.1)))
    fits = ChatRequest(model="first", messages=tokens, constraints=Constraints(max_usd=1.0))
    assert (await collect(vectors.answer(fits))).text == "v"
