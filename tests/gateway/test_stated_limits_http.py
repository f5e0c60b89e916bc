"""A limit that a request states is kept or refused, whatever it names: a model, a fusion, `auto`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from running import Running, running
from tables import model_table

CONFIG = (
    '[retries]\nattempts = 1\n[routing]\ncascade = "off"\n'
    + model_table("haiku", "It is 42.", usd=1, skills=["tools", "json"], ability=0.6)
    + model_table("mini", "It is 42.", usd=2, ability=0.6, max_output=1000, fallbacks=["haiku"])
    + model_table("sonnet", "It is 42.", usd=9, ability=0.8)
    + model_table("broken", script='[{ fail = "upstream_refused" }]', usd=1)
    + model_table("dead", script='[{ fail = "upstream_unreachable" }]', usd=1)
    + model_table("slow", script='[{ delay_s = 20, text = "late" }]', usd=1)
    + model_table("vectors", kind="embeddings", usd=1)
    + """
[[fusions]]
name = "panel"
members = ["haiku", "mini", "sonnet"]
[[fusions]]
name = "lost"
members = ["broken", "dead"]
[[fusions]]
name = "late"
members = ["slow", "slow"]
deadline_ms = 20
"""
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("limits")) as it:
        yield it


def ask(server: Running, model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "What is 6 * 7?"}], **fields}
    return httpx.post(f"{server.api}/chat/completions", json=body, timeout=30)


def refusal(reply: httpx.Response, status: int) -> tuple[str, str]:
    """What it says, and of which field."""
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    return error["message"], error["param"]


@pytest.mark.parametrize(
    "limit", [{"max_usd": 1e-9}, {"needs": ["vision"]}, {"quality": 1}, {"never": ["haiku"]}]
)
def test_a_named_model_that_does_not_keep_a_limit_is_refused(server: Running, limit: dict[str, Any]) -> None:
    message, param = refusal(ask(server, "haiku", junctor=limit), 422)
    assert param == f"junctor.{next(iter(limit))}"
    assert message.startswith("`haiku` does not keep")


def test_a_named_model_that_keeps_them_answers(server: Running) -> None:
    limits = {
        "max_usd": 1,
        "needs": ["tools"],
        "quality": 0.01,
        "never": ["sonnet"],
        "only": ["haiku", "mini"],
    }
    for model in ("haiku", "mini"):
        limits["needs"] = ["tools"] if model == "haiku" else []
        assert ask(server, model, junctor=limits).headers["x-junctor-model"] == model


@pytest.mark.parametrize("model", ["auto", "haiku", "panel"])
@pytest.mark.parametrize("field", ["only", "never"])
def test_a_typing_error_in_a_name_is_a_400_with_what_was_meant(
    server: Running, model: str, field: str
) -> None:
    message, param = refusal(ask(server, model, junctor={field: ["sonnt"]}), 400)
    assert (param, "did you mean `sonnet`?" in message) == (f"junctor.{field}", True)


@pytest.mark.parametrize(
    ("limit", "says"), [("quality", "leave out"), ("max_first_token_ms", "max_total_ms")]
)
def test_what_no_fusion_keeps_is_refused(server: Running, limit: str, says: str) -> None:
    message, param = refusal(ask(server, "panel", junctor={limit: 0.5}), 422)
    assert (param, says in message, "`panel`" in message) == (f"junctor.{limit}", True, True)


def test_what_a_fusion_keeps_is_kept(server: Running) -> None:
    limits = {"max_usd": 1, "max_total_ms": 9000, "never": ["mini"], "mode": "cost", "min_window": 100}
    reply = ask(server, "panel", junctor=limits)
    members = {it["model"]: it["status"] for it in reply.json()["fusion"]["members"]}
    assert members == {"haiku": "answered", "mini": "left_out", "sonnet": "answered"}


@pytest.mark.parametrize("field", ["analysis_models", "model"])
def test_a_typing_error_in_a_member_or_judge_is_answered_with_what_was_meant(
    server: Running, field: str
) -> None:
    name = "haikuu" if field == "model" else ["haikuu"]
    message, param = refusal(ask(server, "fusion", fusion={field: name}), 400)
    assert (param, "did you mean `haiku`?" in message) == (f"fusion.{field}", True)


@pytest.mark.parametrize("asked", [{"tools": [{"type": "web_search"}]}, {"web_search_options": {}}])
def test_a_fusion_refuses_what_every_member_would_have_a_provider_run(
    server: Running, asked: dict[str, Any]
) -> None:
    message, _ = refusal(ask(server, "panel", **asked), 400)
    assert "web_search" in message
    assert ask(server, "haiku", **asked).status_code == 200, "one model may"


def test_a_fusion_whose_members_all_fail_says_so(server: Running) -> None:
    message = ask(server, "lost").json()["error"]["message"]
    assert message.startswith("no member of the fusion `lost` answered: all 2 models failed. broken: ")
    message = ask(server, "lost", fusion={"analysis_models": ["broken"]}).json()["error"]["message"]
    assert message.startswith("no member of the fusion `lost` answered: the script of broken says")


def test_a_fusion_that_is_out_of_time_names_what_gives_it_more(server: Running) -> None:
    message, _ = refusal(ask(server, "late"), 504)
    assert message.endswith("What may help: a longer `fusion.deadline_ms`")
    message, _ = refusal(ask(server, "late", junctor={"max_total_ms": 15}), 504)
    assert message.endswith("`fusion.deadline_ms`, or `junctor.max_total_ms`")


def test_what_is_missing_or_too_much_is_called_by_the_name_that_a_caller_has_for_it(server: Running) -> None:
    message, _ = refusal(ask(server, "auto", junctor={"max_total_ms": 1000}), 422)
    assert "state its `first_token_ms` and `tokens_per_s` in junctor.toml" in message
    message, _ = refusal(ask(server, "auto", max_tokens=100_000), 422)
    assert "What may help: lower `max_tokens`" in message


def test_a_model_at_the_path_of_another_kind_is_told_from_one_that_is_not_there(server: Running) -> None:
    chat = httpx.post(f"{server.api}/embeddings", json={"model": "haiku", "input": "Hi"})
    assert refusal(chat, 404)[0] == "`haiku` chats, and makes no embeddings; these do: vectors"
    assert refusal(ask(server, "vectors"), 404)[0].endswith("ask it at /v1/embeddings")
    assert "does not exist" in refusal(ask(server, "nobody"), 404)[0]
