"""The table of what each route does."""

from __future__ import annotations

import re

import pytest

from junctor.wire.openapi_operations import ALL_HEADERS, OPERATIONS, PATH_PARAMETERS, Operation
from junctor.wire.openapi_schemas import BODIES


def test_ids_are_unique() -> None:
    """Generators of clients make functions of them."""
    ids = [operation.id for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)


WITHOUT_BODY = {"/api/reload"}
"They say all by their address."


@pytest.mark.parametrize(("route", "operation"), OPERATIONS.items(), ids=lambda it: getattr(it, "id", ""))
def test_an_operation_is_whole(route: tuple[str, str], operation: Operation) -> None:
    """Its body has a schema and an example, its path only parameters that are described."""
    method, path = route
    assert all(name in PATH_PARAMETERS for name in re.findall(r"\{(\w+)\}", path))
    takes_a_body = method in ("POST", "PATCH") and path not in WITHOUT_BODY
    assert bool(operation.body) == takes_a_body
    if operation.body:
        schema = BODIES[operation.body]
        assert isinstance(operation.example, dict)
        assert set(schema.get("required", ())) <= set(operation.example)


def test_headers_are_lower_case() -> None:
    """As they go out."""
    assert all(name == name.lower() for name in ALL_HEADERS)
