"""The dialects of callers: their paths, and the envelopes of their errors."""

from __future__ import annotations

import json

import pytest

from junctor.chat import BadRequest
from junctor.gateway.dialect import DIALECTS, canonical_path, render_refusal


@pytest.mark.parametrize(
    ("path", "canonical", "model"),
    [
        ("/v1/chat/completions", "/v1/chat/completions", ""),
        ("/openai/v1/chat/completions", "/v1/chat/completions", ""),
        ("/openai/v1/responses", "/v1/responses", ""),
        ("/openai/responses", "/v1/responses", ""),
        ("/openai/deployments/gpt/chat/completions", "/v1/chat/completions", "gpt"),
        ("/openai/deployments/org/gpt/embeddings", "/v1/embeddings", "org/gpt"),
        ("/openai/deployments/gpt", "/openai/deployments/gpt", ""),
        ("/openai/deployments/gpt/chat/completions/x", "/openai/deployments/gpt/chat/completions/x", ""),
    ],
)
def test_azures_paths_mean_ours(path: str, canonical: str, model: str) -> None:
    assert canonical_path(path) == (canonical, model)


def test_each_path_has_its_own_envelope() -> None:
    error = BadRequest("mend it", param="model")
    azure = "/openai/deployments/x"
    for path in ("/v1/chat/completions", "/v1/nothing", f"{azure}/chat/completions", f"{azure}/nothing"):
        kind, body = render_refusal(error, path, "req_1")
        assert kind == "application/json"
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    kind, body = render_refusal(error, "/api/decisions/x", "req_1")
    assert kind == "application/problem+json"
    assert json.loads(body)["detail"] == "mend it"


def test_everything_under_messages_has_anthropics_envelope() -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        kind, body = render_refusal(BadRequest("mend it"), path, "req_1")
        assert kind == "application/json"
        said = json.loads(body)
        assert (said["type"], said["error"]["type"], said["request_id"]) == (
            "error",
            "invalid_request_error",
            "req_1",
        )


def test_dialects_are_found_by_their_path() -> None:
    assert all(dialect.path == path and dialect.what for path, dialect in DIALECTS.items())
