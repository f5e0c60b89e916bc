"""`GET /openapi.json`: what is served, as the routes themselves say it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from junctor import __version__
from junctor.chat import UnknownRoute
from junctor.gateway.admit import Doorkeeper
from junctor.gateway.dialect import DIALECTS, canonical_path, render_refusal
from junctor.gateway.key_json import KeyList, NewKeyDocument
from junctor.gateway.reload_api import Reloaded
from junctor.gateway.rest import OPEN_PATHS
from junctor.pool.ledger_store import LedgerRow
from junctor.wire.openapi import Envelope, Served, Server, render_openapi

PATH = "/openapi.json"
_CONVERTOR = re.compile(r":\w+\}")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"In the order of the document; what Starlette adds by itself (HEAD) is not described."
_AZURE = ("/openai", "/openai/deployments/{model}")
"What may stand instead of `/v1`, where `canonical_path` takes it."


def routes(
    others: Iterable[Route], doorkeeper: Doorkeeper, *, max_body_bytes: int, structs: tuple[type, ...] = ()
) -> list[Route]:
    """`GET /openapi.json`, about `others` and itself. `structs`: bodies of other rooms."""

    async def show_description(_: Request) -> Response:
        """All of this as an OpenAPI 3.1 document."""
        return Response(describe(has_keys=not doorkeeper.is_open), media_type="application/json")

    @lru_cache
    def describe(*, has_keys: bool) -> bytes:
        server = Server(
            version=__version__,
            has_keys=has_keys,
            max_body_bytes=max_body_bytes,
            structs=(LedgerRow, KeyList, NewKeyDocument, Reloaded, *structs),
        )
        return render_openapi([*served([*others, route])], server)

    route = Route(PATH, show_description)
    return [route]


def served(routes: Iterable[Route]) -> Iterator[Served]:
    """Everything that is served: the chats, then the routes, each method of a path by itself."""
    chats = [_served("POST", dialect.path, dialect.what) for dialect in DIALECTS.values()]
    others = [
        _read(route, method) for route in routes for method in _METHODS if method in (route.methods or ())
    ]
    yield from (*chats, *others)
    for one in (*chats, *others):
        yield from _azures_forms(one)


def _read(route: Route, method: str) -> Served:
    first_line = (inspect.getdoc(route.endpoint) or "").partition("\n")[0]
    what = first_line.partition(". ")[0].removesuffix(".")
    return _served(method, _CONVERTOR.sub("}", route.path), f"{what}.")


def _azures_forms(one: Served) -> Iterator[Served]:
    for prefix in _AZURE:
        path = f"{prefix}{one.path.removeprefix('/v1')}"
        if canonical_path(path)[0] == one.path != path:
            what = f"As `{one.path}`, for Azure's clients."
            yield msgspec.structs.replace(one, path=path, means=one.path, what=what)


def _served(method: str, path: str, what: str) -> Served:
    return Served(
        method=method,
        path=path,
        means=path,
        what=what,
        envelope=_envelope_of(path),
        needs_key=path not in OPEN_PATHS,
    )


def _envelope_of(path: str) -> Envelope:
    """The form of a path's errors: as `render_refusal` writes one."""
    content_type, body = render_refusal(UnknownRoute("no such path"), path, "")
    if content_type != "application/json":
        return "Problem"
    return "AnthropicError" if "type" in msgspec.json.decode(body) else "OpenAIError"
