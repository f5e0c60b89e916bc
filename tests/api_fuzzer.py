"""Schemathesis over a running server's own OpenAPI description, and what became of the cases.

For tests/test_fuzz.py and lab/fuzz_api.py. Besides schemathesis' own checks (no 5xx; statuses, content
types, headers and bodies as described; 405 for other methods, 401 without a key) there are two of ours: the
description of a status must name the error's code and every header, so that it leaves nothing out.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

KEY = "junctor_fuzz"
"Of an admin: otherwise the first key that a case makes would lock out the others."
CONFIG = f"""
[[keys]]
name = "fuzz"
sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
admin = true

[[models]]
name = "small"
provider = "scripted"
price = {{ input = 0.1, output = 0.4 }}
ability = 0.4
skills = ["tools", "json"]
script = [{{ text = "Hello there." }}]

[[models]]
name = "large"
provider = "scripted"
price = {{ input = 3.0, output = 15.0 }}
ability = 0.8
skills = ["tools", "json", "vision"]
script = [
  {{ thought = "Let me see." }},
  {{ text = "Good day." }},
  {{ turn = true, tool_call = {{ name = "get_weather", arguments = '{{"city": "Rome"}}' }} }},
]

[[models]]
name = "vectors"
provider = "scripted"
kind = "embeddings"
price = {{ input = 0.02, output = 0.0 }}
"""
"Models that never fail by themselves: every 5xx is ours."

AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "code_is_described",
    "headers_are_described",
)
PLAIN_HTTP = {"cache-control", "connection", "content-length", "content-type", "date", "transfer-encoding"}
PHASES = ("examples", "coverage", "fuzzing")
"Of schemathesis: the document's own examples, enumerated edges, random values."
COUNTED = ("statuses", "phases", "operations", "failures")
_SAID_NO_MORE_OF = 5
"Failures of one kind: further ones are only counted."


@schemathesis.check
def code_is_described(ctx: Any, response: Any, case: Any) -> None:
    """The code of an error is one of those that the document names for the status."""
    described = _described(response, case)
    if response.status_code >= 400 and described is not None:
        code = _code_of(response.json())
        said = described["description"]
        assert f"`{code}`" in said, f"{response.status_code} is not said to mean {code}"


@schemathesis.check
def headers_are_described(ctx: Any, response: Any, case: Any) -> None:
    """The document names every header that is not plain HTTP, and the request's name is always there."""
    described = _described(response, case)
    if described is not None:
        sent = {name.lower() for name in response.headers} - PLAIN_HTTP
        assert sent <= set(described["headers"]), f"{response.status_code} has {sent} beside those described"
        assert {"x-request-id", "request-id"} <= sent


def _described(response: Any, case: Any) -> dict[str, Any] | None:
    """What the document says of the status; None for what it says nothing of: that is for other checks."""
    if case.method.upper() != case.operation.method.upper():
        return None
    return case.operation.definition.raw["responses"].get(str(response.status_code))


def _code_of(body: dict[str, Any]) -> str:
    """The code, in any of the three envelopes."""
    error = body.get("error", body)
    return error.get("code") or error.get("details", {}).get("error_code", "none")


@dataclass
class Tally:
    """What became of the cases."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    "Of failures: what was sent, and what came."

    def render(self) -> dict[str, Any]:
        """As JSON has it."""
        counts = {name: dict(sorted(getattr(self, name).items())) for name in COUNTED}
        return {"cases": self.cases, **counts, "examples": self.examples}

    def take(self, event: Any) -> None:
        """Count one scenario: the cases of one operation."""
        recorder = event.recorder
        for id_, exchange in recorder.interactions.items():
            self.cases += 1
            self.operations[recorder.label] += 1
            self.phases[event.phase.value] += 1
            self.statuses[exchange.response.status_code if exchange.response else 0] += 1
            for check in recorder.checks.get(id_, ()):
                if check.failure_info is not None:
                    self._fail(f"{check.name}: {recorder.label}", check.failure_info.failure, exchange)

    def error(self, event: Any) -> None:
        """Schemathesis itself could not go on."""
        self.failures[f"schemathesis: {event.value}"] += 1

    def _fail(self, kind: str, failure: Any, exchange: Any) -> None:
        self.failures[kind] += 1
        if self.failures[kind] <= _SAID_NO_MORE_OF:
            asked, got = exchange.request, exchange.response
            reply = f"{got.status_code} {got.content!r:.500}" if got else "no reply"
            self.examples.append(
                f"{kind}: {failure.title}: {failure.message[:300]}\n"
                f"  {asked.method} {asked.uri} {asked.headers} {asked.body!r:.500}\n  {reply}"
            )


def fuzz(
    url: str, document: dict[str, Any], *, cases: int, seed: int, phases: tuple[str, ...] = PHASES
) -> Tally:
    """At least so many cases along what `read_description` gave. Phases that enumerate run once."""
    tally = Tally()
    # Some have no parameters, and therefore few cases: the others make up for them.
    per_operation = max(2, 6 * cases // 5 // sum(1 for _ in _operations(document)))
    while tally.cases < cases:
        for event in _events(url, document, seed, per_operation, phases):
            if isinstance(event, events.ScenarioFinished):
                tally.take(event)
            elif isinstance(event, events.NonFatalError):
                tally.error(event)
            elif isinstance(event, events.FatalError):
                raise event.exception
        phases, seed = ("fuzzing",), seed + 1
    return tally


def _events(
    url: str, document: dict[str, Any], seed: int, per_operation: int, phases: tuple[str, ...]
) -> Iterator[Any]:
    every = ("examples", "coverage", "fuzzing", "stateful")
    config = SchemathesisConfig.from_dict(
        {
            "base-url": url,
            "headers": AUTHORIZED,
            "seed": seed,
            "continue-on-failure": True,
            "generation": {"max-examples": per_operation, "no-shrink": True, "database": "none"},
            "phases": {name: {"enabled": name in phases} for name in every},
            "checks": {"enabled": False} | {name: {"enabled": True} for name in CHECKS},
        }
    )
    return from_schema(schemathesis.openapi.from_dict(document, config=config)).execute()


def read_description(url: str) -> dict[str, Any]:
    """The server's own document, made likelier to get past the front desk.

    Models are those of the pool. `Idempotency-Key` and the constraints' headers stay at one operation each:
    with both everywhere, nearly all cases would be refused for them, and nothing behind would be reached.
    """
    with urlopen(Request(f"{url}/openapi.json", headers=AUTHORIZED)) as reply:
        document = json.load(reply)
    for name, schema in document["components"]["schemas"].items():
        if "model" in schema.get("properties", {}) and name.endswith("Request"):
            names = ["vectors"] if "Embeddings" in name else ["small", "large", "auto"]
            schema["properties"]["model"] = {"enum": names}
    for path, operation in _operations(document):
        operation["parameters"] = [
            {**it, "schema": {"enum": ["small", "large", "auto", "vectors"]}} if it["name"] == "model" else it
            for it in operation["parameters"]
            if not _is_in_the_way(path, it["name"])
        ]
    return document


def _is_in_the_way(path: str, name: str) -> bool:
    if name.startswith("x-junctor-"):
        return path != "/openai/deployments/{model}/chat/completions"
    return name == "idempotency-key" and path != "/openai/responses"


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in ("get", "post", "put", "patch", "delete"):
            if method in item:
                yield path, item[method]
