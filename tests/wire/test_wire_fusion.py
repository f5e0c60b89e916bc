"""What requests say of a fusion: field and plugin, in every dialect; every mistake is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest, ChatRequest, Draft, Drafted, FusionOptions, Judging, Settled, Verdict
from junctor.wire import messages_request, openai_request, responses_request
from junctor.wire.fusion import (
    RANGES,
    SAID_AS,
    as_fusion,
    drop_fusion,
    parse_fusion,
    render_progress,
    render_verdict,
    wants_progress,
)
from junctor.wire.responses_render import render_request
from verdicts import JUDGED, MERGED

FULL: dict[str, Any] = {
    "analysis_models": ["a", "b", "a"],
    "model": "j",
    "preset": "general-high",
    "max_completion_tokens": 500,
    "temperature": 0.7,
    "reasoning": {"effort": "low"},
    "mode": "best-of",
    "quorum": 2,
    "grace_ms": 0,
    "deadline_ms": 1500.5,
    "max_usd": 0,
    "on_judge_failure": "best",
    "events": True,
}
HELLO = [{"role": "user", "content": "Hi"}]


def encode(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value, separators=(",", ":")).encode())


def fields_of(**fields: Any) -> dict[str, msgspec.Raw]:
    return {name: encode(value) for name, value in fields.items()}


def read(**fields: Any) -> FusionOptions | None:
    return parse_fusion(fields_of(**fields)).options


def openai(**fields: Any) -> ChatRequest:
    body = json.dumps({"model": "gpt", "messages": HELLO, **fields}).encode()
    return openai_request.parse_request(body, {}, request_id="req_1", caller="").request


def responses(**fields: Any) -> ChatRequest:
    body = json.dumps({"model": "gpt", "input": "Hi", **fields}).encode()
    return responses_request.parse_request(body, {}, request_id="req_1", caller="").request


def messages(**fields: Any) -> ChatRequest:
    body = json.dumps({"model": "gpt", "max_tokens": 9, "messages": HELLO, **fields}).encode()
    return messages_request.parse_request(body, {}, request_id="req_1", caller="").request


DIALECTS = pytest.mark.parametrize("parse", [openai, responses, messages])
Parse = Callable[..., ChatRequest]


def test_every_field_is_read() -> None:
    assert set(FULL) == set(FusionOptions.__struct_fields__) == set(SAID_AS), "a new field belongs here"
    options = read(fusion=FULL)
    assert options is not None
    assert json.loads(msgspec.json.encode(options)) == FULL
    assert options.reasoning == encode(FULL["reasoning"])


def test_a_request_without_either_says_nothing() -> None:
    for fields in ({}, {"fusion": None}, {"plugins": None}, {"plugins": [{"id": "web"}]}, {"plugins": "x"}):
        assert read(**fields) is None


def test_an_empty_object_asks_for_a_fusion_all_the_same() -> None:
    assert read(fusion={}) == read(plugins=[{"id": "fusion"}]) == FusionOptions()


def test_null_counts_as_left_out() -> None:
    assert read(fusion=dict.fromkeys(FULL)) == FusionOptions()


def test_openrouters_plugin_says_the_same_as_the_field() -> None:
    assert read(plugins=[{"id": "web"}, {"id": "fusion", "enabled": True, **FULL}]) == read(fusion=FULL)


def test_a_plugin_that_is_switched_off_counts_as_absent() -> None:
    assert read(plugins=[{"id": "fusion", "enabled": False, "model": "j"}]) is None
    assert read(plugins=[{"id": "fusion", "enabled": None, "model": "j"}]) == FusionOptions(model="j")


def test_the_field_wins_over_the_plugin_and_the_rest_joins() -> None:
    plugin = {"id": "fusion", "model": "j", "preset": "general-high"}
    expected = FusionOptions(model="k", preset="general-high", mode="vote")
    assert read(fusion={"model": "k", "mode": "vote"}, plugins=[plugin]) == expected


def test_tool_calls_of_members_are_named_as_not_carried() -> None:
    asked = parse_fusion(fields_of(plugins=[{"id": "fusion", "max_tool_calls": 8}]))
    assert asked.options == FusionOptions()
    assert asked.left_out == ("plugins.max_tool_calls",)
    assert not parse_fusion(fields_of(plugins=[{"id": "fusion", "max_tool_calls": None}])).left_out


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("analysis_models", []),
        ("analysis_models", ["a"] * 9),
        ("analysis_models", ["a", ""]),
        ("analysis_models", ["a", 1]),
        ("analysis_models", "a"),
        ("analysis_models", ["x" * 201]),
        ("model", ""),
        ("model", 1),
        ("model", "x" * 201),
        ("preset", ["general-high"]),
        ("max_completion_tokens", 0),
        ("max_completion_tokens", 1.5),
        ("max_completion_tokens", 10**30),
        ("temperature", 2.01),
        ("temperature", -0.1),
        ("temperature", True),
        ("temperature", "hot"),
        ("reasoning", "low"),
        ("reasoning", []),
        ("mode", "bestof"),
        ("mode", 3),
        ("quorum", 0),
        ("quorum", 9),
        ("quorum", "2"),
        ("grace_ms", -1),
        ("grace_ms", 1e300),
        ("deadline_ms", 0),
        ("deadline_ms", -5),
        ("max_usd", -0.01),
        ("max_usd", 1e9),
        ("on_judge_failure", "retry"),
        ("events", 1),
        ("events", "yes"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        read(fusion={field: value})
    assert caught.value.param == f"fusion.{field}"
    assert SAID_AS[field] in caught.value.message
    with pytest.raises(BadRequest) as caught:
        read(plugins=[{"id": "web"}, {"id": "fusion", field: value}])
    assert caught.value.param == f"plugins[1].{field}"


@pytest.mark.parametrize("value", ["x" * 100_000, ["y" * 100_000], {"z": "é" * 100_000}, 7 * 10**4_000])
def test_a_refusal_quotes_little(value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        read(fusion={"quorum": value})
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("name", ["modus", "judge", "x" * 100_000, "min_agreement", "max_tool_calls", ""])
def test_an_unknown_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(fusion={name: 1})
    assert caught.value.param == f"fusion.{name[:80]}"
    assert "is not a field of a fusion" in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(("name", "says"), [("members", "analysis_models"), ("judge", "model")])
def test_the_names_of_the_file_are_answered_with_those_of_requests(name: str, says: str) -> None:
    with pytest.raises(BadRequest, match=f"`fusion.{name}` is not a field of a fusion; say `{says}`"):
        read(fusion={name: ["a"]})


def test_examples_are_json_and_not_python() -> None:
    with pytest.raises(BadRequest, match=r'such as \{"mode": "vote"\}'):
        read(fusion="vote")


def test_a_refusal_says_what_was_probably_meant() -> None:
    with pytest.raises(BadRequest, match="did you mean `analysis_models`"):
        read(fusion={"analysis_model": ["a"]})


@pytest.mark.parametrize("value", [True, "vote", [], 1])
def test_the_field_must_be_an_object(value: Any) -> None:
    with pytest.raises(BadRequest, match="`fusion` must be an object"):
        read(fusion=value)


@pytest.mark.parametrize("enabled", ["no", 0, [], {}])
def test_enabled_must_be_true_or_false(enabled: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        read(plugins=[{"id": "fusion", "enabled": enabled}])
    assert caught.value.param == "plugins[0].enabled"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"fusion": {"\\ud800": 1}}',
        b'{"fusion": {"model": "\\ud800"}}',
        b'{"plugins": [{"id": "\\ud800"}]}',
        b'{"plugins": [{"\\ud800": "fusion"}]}',
        b'{"fusion": {"mode": nil}}',
        b'{"fusion": {"quorum": 01}}',
        b'{"fusion": {"grace_ms": 1e999}}',
        b'{"fusion": {"reasoning": {"a": tru}}}',
        b'{"fusion": ' + b'{"reasoning":' * 20_000 + b"1" + b"}" * 20_001,
        b'{"plugins": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
)
def test_broken_json_is_the_callers_mistake(raw: bytes) -> None:
    body = raw[:-1] + b',"model":"gpt","messages":[{"role":"user","content":"Hi"}]}'
    with pytest.raises(BadRequest):
        openai_request.parse_request(body, {}, request_id="req_1", caller="")


@DIALECTS
def test_every_dialect_reads_both_forms(parse: Parse) -> None:
    assert parse().fusion is None
    assert parse(fusion={"mode": "vote"}).fusion == FusionOptions(mode="vote")
    request = parse(plugins=[{"id": "fusion", "preset": "general-budget", "max_tool_calls": 3}])
    assert request.fusion == FusionOptions(preset="general-budget")
    assert request.lost_elsewhere == ("plugins.max_tool_calls",)
    with pytest.raises(BadRequest, match="did you mean `mode`"):
        parse(fusion={"mod": "vote"})


@DIALECTS
@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_of_it_reaches_a_model(parse: Parse, enabled: bool) -> None:
    """Neither in the fields of the chat form, nor in a body that is relayed."""
    own = {"id": "fusion", "enabled": enabled, "model": "MARK"}
    request = parse(fusion={"preset": "MARK"}, plugins=[own, {"id": "web", "max_results": 3}])
    relayed = {
        "openai_chat": lambda: openai_request.render_request(request, "up"),
        "openai_responses": lambda: render_request(request, "up").body,
        "anthropic_messages": lambda: messages_request.render_relayed(request, "up").body,
    }[request.relay or ""]()
    sent = json.loads(relayed)
    assert "fusion" not in sent
    assert sent["plugins"] == [{"id": "web", "max_results": 3}]
    assert b"MARK" not in relayed
    translated = openai_request.render_request(request, "up")
    assert b"MARK" not in translated
    assert "fusion" not in json.loads(translated)
    assert "fusion" not in request.lost_elsewhere


@DIALECTS
def test_a_list_of_our_plugin_alone_leaves_nothing(parse: Parse) -> None:
    request = parse(plugins=[{"id": "fusion"}])
    assert "plugins" not in request.passthrough
    assert not request.lost_elsewhere


@DIALECTS
@pytest.mark.parametrize("plugins", [[{"id": "web"}], "x", [1, None], {"id": "fusion"}, [{"name": "fusion"}]])
def test_other_plugins_stay_as_they_came(parse: Parse, plugins: Any) -> None:
    request = parse(plugins=plugins)
    assert request.fusion is None
    if request.relay == "anthropic_messages":
        assert request.lost_elsewhere == ("plugins",)
        assert json.loads(messages_request.render_relayed(request, "up").body)["plugins"] == plugins
    else:
        assert msgspec.json.decode(request.passthrough["plugins"]) == plugins


def test_a_responses_call_that_goes_on_still_asks_for_its_fusion() -> None:
    body = {
        "model": "gpt",
        "input": "Hi",
        "previous_response_id": "resp_1",
        "fusion": {"mode": "vote"},
        "plugins": [{"id": "fusion", "max_tool_calls": 2}],
    }
    call = responses_request.parse_request(json.dumps(body).encode(), {}, request_id="req_1", caller="")
    earlier = [{"type": "message", "role": "user", "content": "Before"}]
    request = responses_request.continue_from(call, earlier, {}).request
    assert request.fusion == FusionOptions(mode="vote")
    assert request.lost_elsewhere == ("plugins.max_tool_calls",)
    assert b"fusion" not in render_request(request, "up").body


def test_counting_tokens_reads_it_too() -> None:
    body = json.dumps({"model": "gpt", "messages": HELLO, "fusion": {"mode": "vote"}}).encode()
    assert messages_request.parse_count_request(body, {}).fusion == FusionOptions(mode="vote")


@given(st.dictionaries(st.text(max_size=4) | st.sampled_from(["id", "a"]), st.integers(), max_size=4))
def test_what_is_not_ours_is_dropped_by_nobody(fields: dict[str, Any]) -> None:
    body = fields_of(**fields)
    kept = {name: value for name, value in body.items() if name not in ("fusion", "plugins")}
    drop_fusion(body)
    assert {name: value for name, value in body.items() if name != "plugins"} == kept


def test_another_model_becomes_the_judge_unless_one_is_named() -> None:
    request = openai(fusion={"mode": "best-of"})
    fused = as_fusion(request, "gpt")
    assert (fused.model, fused.fusion) == ("fusion", FusionOptions(mode="best-of", model="gpt"))
    assert as_fusion(openai(fusion={"model": "j"}), "gpt").fusion == FusionOptions(model="j")
    assert as_fusion(openai(fusion={}), None).fusion == FusionOptions()
    assert fused.messages == request.messages


def test_the_whole_request_is_carried_along() -> None:
    """A body of another dialect, and what only models of that dialect can give."""
    tool = {"type": "web_search_20250305", "name": "web_search"}
    request = messages(tools=[tool], fusion={"mode": "vote"}, cache_control={"type": "ephemeral"})
    fused = as_fusion(request, None)
    assert fused.body == request.body
    assert fused.refused_elsewhere == request.refused_elsewhere != ()
    assert fused.lost_elsewhere == request.lost_elsewhere != ()
    assert (fused.relay, fused.headers, fused.id) == (request.relay, request.headers, request.id)


def test_progress_is_for_those_who_stream_and_ask() -> None:
    assert wants_progress(openai(stream=True, fusion={"events": True}))
    assert not wants_progress(openai(stream=True, fusion={"events": False}))
    assert not wants_progress(openai(fusion={"events": True}))
    assert not wants_progress(openai(stream=True))


def test_a_verdict_says_what_there_is_to_say() -> None:
    shown = render_verdict(JUDGED)
    assert shown["path"] == "vote+judge"
    assert shown["members"][4] == {
        "model": "blind",
        "status": "left_out",
        "reason": "lacks vision",
        "weight": 0.0,
        "input_tokens": 0,
        "output_tokens": 0,
        "usd": 0.0,
        "took_ms": 0.0,
    }
    assert shown["members"][1]["cluster"] == 0, "0 is a place, not nothing"
    assert shown["rulings"][1]["failed"] == "its reply is no JSON"
    assert "preferred" not in shown["rulings"][1]
    assert "analysis" not in shown
    assert set(render_verdict(MERGED)["analysis"]) == {
        "consensus",
        "contradictions",
        "partial_coverage",
        "unique_insights",
        "blind_spots",
    }
    assert not {"chosen", "clusters", "rulings", "degraded", "cost_multiple"} & set(render_verdict(MERGED))


@pytest.mark.parametrize("verdict", [JUDGED, MERGED, Verdict(fusion="f", mode="vote")])
def test_a_verdict_reads_back_as_it_was(verdict: Verdict) -> None:
    assert msgspec.convert(render_verdict(verdict), Verdict) == verdict


def test_progress_is_named_and_complete() -> None:
    done = Drafted(Draft(model="a", answer="42", output_tokens=3, usd=0.1, took_ms=5.0), "It is 42.")
    assert render_progress(done) == {
        "type": "member_done",
        "model": "a",
        "answer": "42",
        "output_tokens": 3,
        "usd": 0.1,
        "took_ms": 5.0,
        "round": 1,
        "text": "It is 42.",
    }
    failed = render_progress(Drafted(Draft(model="a", failed="502"), round=2))
    assert (failed["failed"], "text" in failed, "answer" in failed) == ("502", False, False)
    assert failed["round"] == 2
    assert render_progress(Settled("a", 3, 5)) == {"type": "settled", "model": "a", "awaited": 3, "asked": 5}
    assert render_progress(Judging("j", 2)) == {"type": "judging", "judge": "j", "candidates": 2}


def test_every_number_has_a_range() -> None:
    """`_fits` looks it up for each."""
    numbers = {field.name for field in msgspec.structs.fields(FusionOptions) if "float" in str(field.type)}
    assert numbers <= set(RANGES)
