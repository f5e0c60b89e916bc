"""Events travel and are stored as tagged JSON."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import Candidate, Decision, Event, Finished, Routed, Started, Text, Thought, ToolCall, Usage

CANDIDATE = Candidate(name="small", p_good=0.5, p_source="artefact", usd=0.001)
DECISION = Decision(
    id="dec_1",
    request_id="req_1",
    candidates=(CANDIDATE,),
    chosen="small",
    rule="the only one",
    mode="balanced",
    floor=None,
    features={"chars": 4.0},
    path="prompt",
    took_us=100.0,
    saved_usd=0.0,
    artefact="v1",
)
EVENTS = st.one_of(
    st.just(Routed(DECISION)),
    st.builds(Started, st.text()),
    st.builds(Text, st.text()),
    st.builds(Thought, st.text()),
    st.builds(ToolCall, st.integers(0, 9), id=st.text(), name=st.text(), arguments=st.text()),
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.booleans()),
    st.builds(Finished, st.sampled_from(["stop", "length", "tool_calls", "content_filter"])),
)


@given(EVENTS)
def test_an_event_survives_json(event: Event) -> None:
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
