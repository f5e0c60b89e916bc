"""`junctor why`: which model answered, why, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import openai
import pytest

from command import Junctor
from running import running

CONFIG = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 1, output = 2 }
ability = 0.3
script = [{ text = "Hi" }]
[[models]]
name = "large"
provider = "scripted"
price = { input = 10, output = 20 }
ability = 0.9
script = [{ text = "Good day." }]
[[models]]
name = "blind"
provider = "scripted"
script = [{ text = "Hm." }]
"""


@pytest.fixture
def answered(home: Path) -> Mapping[str, str]:
    """The headers of one routed answer."""
    with (
        running(CONFIG, home / "data") as server,
        openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client,
    ):
        reply = client.chat.completions.with_raw_response.create(
            model="auto",
            messages=[{"role": "user", "content": "Say hello."}],
            extra_body={"junctor": {"never": ["blind"], "mode": "quality"}},
        )
    return reply.headers


def test_it_explains_by_decision_or_request_also_when_the_server_is_gone(
    answered: Mapping[str, str], junctor: Junctor
) -> None:
    by_decision = junctor("why", answered["x-junctor-decision"])
    by_request = junctor("why", answered["x-request-id"])
    assert by_decision.exit_code == by_request.exit_code == 0
    assert by_decision.stdout == by_request.stdout
    said = " ".join(by_decision.stdout.split())
    assert "large was chosen: quality: the best predicted quality" in said
    assert "small" in said
    assert "points below the best" in said
    assert "excluded by the request" in said
    assert "answered by large (ok)" in said
    assert "USD" in said


def test_an_unknown_id_is_explained(answered: Mapping[str, str], junctor: Junctor) -> None:
    done = junctor("why", "dec_nothing")
    assert done.exit_code == 1
    assert "x-junctor-decision" in done.stderr


def test_without_a_database_it_says_who_makes_it(junctor: Junctor) -> None:
    done = junctor("why", "dec_nothing")
    assert done.exit_code == 1
    assert "junctor serve" in done.stderr
