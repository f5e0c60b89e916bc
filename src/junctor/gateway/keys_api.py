"""`/api/keys`: make, list, change, rotate and revoke API keys. For admin keys, or on an open server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from junctor.chat import BadRequest
from junctor.gateway.admit import Doorkeeper
from junctor.gateway.key_json import (
    KeyDocument,
    KeyList,
    parse_changes,
    parse_grace_h,
    parse_new_key,
    show_configured,
    show_key,
    show_new_key,
)
from junctor.gateway.key_registry import KeyRegistry, NewKey, refuse_all_but_admins
from junctor.gateway.key_store import KeyStore, Use
from junctor.gateway.keys import Caller, Key
from junctor.gateway.pepper import Pepper
from junctor.gateway.receive import ClientGone, read_body, read_headers
from junctor.gateway.rest import CALLER

PATH = "/api/keys"
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 10.0

Refresh = Callable[[], Awaitable[None]]
"Makes what was written count at once, in this process."


class KeysApi:
    """What the routes share."""

    def __init__(
        self,
        registry: KeyRegistry,
        store: KeyStore,
        doorkeeper: Doorkeeper,
        refresh: Refresh,
        names: Collection[str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`names`: of models, fusions and presets, all that a key may name."""
        self._registry = registry
        self._store = store
        self._doorkeeper = doorkeeper
        self._refresh = refresh
        self._names = names
        self._now = now

    async def list_keys(self, request: Request) -> Response:
        """Every API key: what it may do and has spent, never the key."""
        refuse_all_but_admins(_caller(request))
        now, configured = self._now(), self._doorkeeper.configured
        kept = await self._store.keys()
        ids = [*(it.key_id for it in configured), *(key.id for key in kept)]
        uses = await self._store.uses_of(ids, now)
        shown = [
            show_configured(it.key_id, it.name, it, uses[it.key_id], now, self._names) for it in configured
        ]
        shown += [show_key(key, uses[key.id], now, self._names) for key in kept]
        return _json(KeyList(keys=tuple(shown)))

    async def create_key(self, request: Request) -> Response:
        """Make an API key. This reply alone shows it."""
        caller = _caller(request)
        refuse_all_but_admins(caller)
        name, grant = parse_new_key(await _read(request))
        return await self._show_new(await self._registry.create(caller, name, grant), 201)

    async def change_key(self, request: Request) -> Response:
        """Give an API key another name or other limits: those named in the body."""
        caller = _caller(request)
        refuse_all_but_admins(caller)
        key = await self._registry.find_live(_id(request))
        name, grant = parse_changes(await _read(request), key.name, key)
        changed = await self._registry.change(caller, key.id, name, grant)
        await self._refresh()
        return _json(await self._show(changed))

    async def rotate_key(self, request: Request) -> Response:
        """Replace an API key. This reply alone shows the new one."""
        caller = _caller(request)
        refuse_all_but_admins(caller)
        grace_h = parse_grace_h(await _read(request))
        return await self._show_new(await self._registry.rotate(caller, _id(request), grace_h), 200)

    async def revoke_key(self, request: Request) -> Response:
        """Revoke an API key, for good."""
        key = await self._registry.revoke(_caller(request), _id(request))
        await self._refresh()
        return _json(await self._show(key))

    async def _show(self, key: Key) -> KeyDocument:
        now = self._now()
        return show_key(key, await self._use_of(key, now), now, self._names)

    async def _show_new(self, made: NewKey, status: int) -> Response:
        await self._refresh()
        now = self._now()
        use = await self._use_of(made.key, now)
        return _json(show_new_key(made.key, made.text, use, now, self._names), status)

    async def _use_of(self, key: Key, now: datetime) -> Use:
        return (await self._store.uses_of([key.id], now))[key.id]


def routes(
    store: KeyStore, pepper: Pepper, doorkeeper: Doorkeeper, refresh: Refresh, names: Collection[str]
) -> list[Route]:
    """`GET` and `POST /api/keys`, `PATCH` and `DELETE /api/keys/{id}`, `POST /api/keys/{id}/rotate`."""
    api = KeysApi(KeyRegistry(store, pepper), store, doorkeeper, refresh, names)
    return [
        Route(PATH, api.list_keys, methods=["GET"]),
        Route(PATH, api.create_key, methods=["POST"]),
        Route(PATH + "/{id}", api.change_key, methods=["PATCH"]),
        Route(PATH + "/{id}", api.revoke_key, methods=["DELETE"]),
        Route(PATH + "/{id}/rotate", api.rotate_key, methods=["POST"]),
    ]


def _caller(request: Request) -> Caller:
    return request.scope[CALLER]


def _id(request: Request) -> str:
    return request.path_params["id"]


async def _read(request: Request) -> bytes:
    headers: Mapping[str, str] = read_headers(request.scope)
    try:
        return await read_body(headers, request.receive, max_bytes=MAX_BODY_BYTES, timeout_s=BODY_TIMEOUT_S)
    except ClientGone:
        raise BadRequest("the client left before the end of its request") from None


def _json(document: msgspec.Struct, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(document),
        status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )
