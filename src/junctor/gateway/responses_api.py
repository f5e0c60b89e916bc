"""What a caller may ask of its stored responses: to see one, its input, and to delete it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from junctor.chat import BadRequest, UnknownResponse
from junctor.gateway.response_store import ResponseStore
from junctor.wire.responses_document import (
    MOST_ITEMS,
    Document,
    Order,
    parse_document,
    render_input_items,
)

OwnerOf = Callable[[Request], str]
"Whose responses a request may see: what `memory.owner_of` says of its calls."
_DEFAULT_ITEMS = 20


def routes(store: ResponseStore, owner_of: OwnerOf) -> list[Route]:
    """`GET` and `DELETE /v1/responses/{id}`, `GET /v1/responses/{id}/input_items`."""

    async def find(request: Request) -> Document:
        wanted = request.path_params["id"]
        document = await store.find(owner_of(request), wanted)
        if document is None:
            raise UnknownResponse(f"Response with id '{wanted[:80]}' not found.", param="id")
        return parse_document(document)

    async def show_response(request: Request) -> Response:
        """A stored response."""
        if request.query_params.get("stream", "false").lower() not in ("false", "0"):
            raise BadRequest("a stored response is not streamed again; leave out `stream`", param="stream")
        return Response(bytes((await find(request)).response), media_type="application/json")

    async def delete_response(request: Request) -> Response:
        """Delete a stored response."""
        wanted = request.path_params["id"]
        await find(request)
        await store.delete(owner_of(request), wanted)
        return JSONResponse({"id": wanted, "object": "response", "deleted": True})

    async def list_input_items(request: Request) -> Response:
        """The input of a stored response, that of the ones before it included."""
        order, limit = _read_order(request), _read_limit(request)
        page = render_input_items(
            await find(request), order=order, limit=limit, after=request.query_params.get("after")
        )
        return Response(page, media_type="application/json")

    return [
        Route("/v1/responses/{id}", show_response, methods=["GET"]),
        Route("/v1/responses/{id}", delete_response, methods=["DELETE"]),
        Route("/v1/responses/{id}/input_items", list_input_items, methods=["GET"]),
    ]


def _read_order(request: Request) -> Order:
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest("`order` must be asc or desc", param="order")
    return order


def _read_limit(request: Request) -> int:
    text = request.query_params.get("limit", str(_DEFAULT_ITEMS))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST_ITEMS):
        raise BadRequest(f"`limit` must be a whole number from 1 to {MOST_ITEMS}", param="limit")
    return int(text)
