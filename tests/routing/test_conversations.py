"""Who has read the beginning of a conversation: found by its hash, for a while, within bounds."""

from __future__ import annotations

import tracemalloc

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.chat import ChatRequest, ModelCard, Price
from junctor.pool.metered import Spent
from junctor.routing.conversations import SHORTEST_PROMPT, Conversations, fingerprint

Message = dict[str, object]


def card(name: str, cached: float | None, written: float | None = None) -> ModelCard:
    price = Price(input=10, output=10, cached_input=cached, cache_write=written, source="test")
    return ModelCard(name=name, price=price)


CARDS = [card("auto-caching", 1), card("told", 1, 12), card("plain", None)]


def request(*messages: Message, caller: str = "k1", tools: bytes | None = None) -> ChatRequest:
    return ChatRequest(
        model="auto",
        messages=msgspec.Raw(msgspec.json.encode(messages)),
        tools=None if tools is None else msgspec.Raw(tools),
        caller=caller,
    )


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def model(text: str) -> Message:
    return {"role": "assistant", "content": text}


def spent(name: str, tokens: int = 5000, **more: object) -> Spent:
    return Spent(model=name, input_tokens=tokens, text_seen=True, **more)  # pyright: ignore[reportArgumentType]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_next_turn_finds_who_read_the_last_one() -> None:
    """Its messages before the last answer are those that the answer was given to."""
    memory = Conversations(CARDS, clock=Clock())
    first = fingerprint(request(user("a long document")), begun=False)
    assert first.before is None
    memory.expect("req_1", "auto-caching", first.now)
    memory.note("req_1", spent("auto-caching"))
    turns = (user("a long document"), model("Yes."), user("And then?"))
    second = fingerprint(request(*turns), begun=True)
    assert second.before == first.now
    assert memory.recall(second.before) == {"auto-caching": 5000}
    memory.expect("req_2", "auto-caching", second.now)
    memory.note("req_2", spent("auto-caching", 5100))
    calls = (model("..."), {"role": "tool", "content": "4"}, {"role": "tool", "content": "5"})
    third = fingerprint(request(*turns, *calls), begun=True)
    assert memory.recall(third.before) == {"auto-caching": 5100}


def test_several_models_may_have_read_it() -> None:
    """A cascade asks more than one, and each has the prompt in its cache."""
    memory = Conversations([*CARDS, card("other", 2)], clock=Clock())
    memory.expect("req_1", "auto-caching", b"1")
    memory.expect("req_1", "other", b"1")
    memory.note("req_1", spent("auto-caching"))
    memory.note("req_1", spent("other", 4000))
    assert memory.recall(b"1") == {"auto-caching": 5000, "other": 4000}


def test_what_else_is_asked_for_a_request_says_nothing_of_its_prompt() -> None:
    """A fusion's judge is asked under the same id, and reads something else, before and after."""
    memory = Conversations([*CARDS, card("judge", 1)], clock=Clock())
    memory.expect("req_1", "auto-caching", b"1")
    memory.note("req_1", spent("judge", 9000))
    memory.note("req_1", spent("auto-caching"))
    memory.note("req_1", spent("auto-caching", 9000))
    assert memory.recall(b"1") == {"auto-caching": 5000}


def test_calls_of_one_model_end_in_the_order_in_which_they_begin() -> None:
    """As far as anybody can tell: a debate asks again once the first round has ended."""
    memory = Conversations(CARDS, clock=Clock())
    memory.expect("req_1", "auto-caching", b"1")
    memory.expect("req_1", "auto-caching", b"2")
    memory.note("req_1", spent("auto-caching"))
    assert (memory.recall(b"1"), memory.recall(b"2")) == ({"auto-caching": 5000}, {})
    memory.note("req_1", spent("auto-caching", 6000))
    assert memory.recall(b"2") == {"auto-caching": 6000}
    assert not memory._expected


def test_another_key_other_tools_or_another_beginning_find_nothing() -> None:
    """Caches of upstreams hold for an exact beginning, and one key learns nothing of another's."""
    asked = fingerprint(request(user("hello")), begun=False).now
    rest = (model("Yes."), user("more"))
    assert fingerprint(request(user("hello"), *rest), begun=True).before == asked
    for other in (
        request(user("hello"), *rest, caller="k2"),
        request(user("hello"), *rest, tools=b'[{"type":"function"}]'),
        request(user("hullo"), *rest),
        request(user("hel"), user("lo"), *rest),
    ):
        assert fingerprint(other, begun=True).before != asked


def test_what_is_not_in_a_cache_is_not_remembered() -> None:
    """Short prompts; models that take the same for cached input; those that did not write; failed calls."""
    memory = Conversations(CARDS, clock=Clock())
    calls = (
        spent("auto-caching", SHORTEST_PROMPT - 1),
        spent("plain"),
        spent("told"),
        Spent(model="auto-caching", input_tokens=5000),
    )
    for call in calls:
        memory.expect("req_1", call.model, b"1")
        memory.note("req_1", call)
    memory.note("req_2", spent("auto-caching"))
    assert not memory.recall(b"1")
    memory.expect("req_1", "told", b"1")
    memory.note("req_1", spent("told", cached_tokens=1500, cache_written_tokens=2000))
    assert memory.recall(b"1") == {"told": 3500}


def test_it_matters_where_cached_input_costs_less() -> None:
    """Without such a model nothing is hashed; nor where it is switched off."""
    assert Conversations(CARDS).matters
    assert not Conversations([card("plain", None), card("same", 10), ModelCard(name="free")]).matters
    assert not Conversations(CARDS, seconds=0).matters
    assert not Conversations(CARDS, capacity=0).matters


def test_it_forgets_in_time() -> None:
    """As the upstream's cache does; each use of it begins anew."""
    clock = Clock()
    memory = Conversations(CARDS, clock=clock)
    memory.expect("req_1", "auto-caching", b"1")
    memory.note("req_1", spent("auto-caching"))
    clock.now += 299
    assert memory.recall(b"1")
    clock.now += 2
    assert not memory.recall(b"1")
    assert len(memory) == 0


def test_a_hundred_thousand_conversations_stay_within_bounds() -> None:
    """The oldest make room; the memory that is held stays that of `capacity`."""
    memory = Conversations(CARDS, capacity=1000)
    tracemalloc.start()
    for at in range(100_000):
        if at == 2000:
            held = tracemalloc.get_traced_memory()[0]
        memory.expect(f"req_{at}", "auto-caching", at.to_bytes(16))
        memory.note(f"req_{at}", spent("auto-caching"))
    grown = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    assert len(memory) == 1000
    assert grown < 100_000
    assert memory.recall((99_999).to_bytes(16))
    assert not memory.recall((0).to_bytes(16))


texts = st.lists(st.text(max_size=20), min_size=1, max_size=5)


@settings(deadline=None)
@given(texts, texts)
def test_fingerprints_differ_where_messages_do(one: list[str], other: list[str]) -> None:
    """Borders between messages count, too."""
    prints = [fingerprint(request(*map(user, each)), begun=False).now for each in (one, other)]
    assert (prints[0] == prints[1]) == (one == other)
