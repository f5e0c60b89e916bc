"""Some hundred random requests along our own description. The full figure: lab/fuzz_api.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api_fuzzer import CONFIG, fuzz, read_description
from running import Running, running

CASES = 250
FEW = 20
QUICK = ("examples", "fuzzing")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


@pytest.fixture
def document(server: Running) -> dict[str, Any]:
    return read_description(server.url)


def only(document: dict[str, Any], path: str) -> dict[str, Any]:
    """Leave but this path in the document; gives its item."""
    document["paths"] = {path: document["paths"][path]}
    return document["paths"][path]


def test_nothing_falls_over_and_the_description_holds(server: Running, document: dict[str, Any]) -> None:
    """No 500, and every reply has a status, a content type, headers, a body and a code that are described."""
    tally = fuzz(server.url, document, cases=CASES, seed=1, phases=QUICK)
    assert not tally.failures, "\n".join(tally.examples)
    assert tally.cases >= CASES
    assert len(tally.operations) == sum(
        1 for item in document["paths"].values() for _ in item.keys() - {"servers"}
    )
    assert tally.statuses[200] > CASES / 5, "most cases are turned away at the front desk: nothing was tested"


def test_a_status_that_is_not_described_is_found(server: Running, document: dict[str, Any]) -> None:
    del only(document, "/api/decisions/{id}")["get"]["responses"]["404"]
    tally = fuzz(server.url, document, cases=FEW, seed=1, phases=QUICK)
    assert tally.failures["status_code_conformance: GET /api/decisions/{id}"]


def test_a_code_that_is_not_described_is_found(server: Running, document: dict[str, Any]) -> None:
    only(document, "/v1/models/{name}")["get"]["responses"]["404"]["description"] = "`other`"
    tally = fuzz(server.url, document, cases=FEW, seed=1, phases=QUICK)
    assert tally.failures["code_is_described: GET /v1/models/{name}"]


def test_a_body_that_is_not_as_described_is_found(server: Running, document: dict[str, Any]) -> None:
    only(document, "/healthz")
    document["components"]["schemas"]["Health"]["required"] = ["statuss"]
    tally = fuzz(server.url, document, cases=FEW, seed=1, phases=QUICK)
    assert tally.failures["response_schema_conformance: GET /healthz"]
