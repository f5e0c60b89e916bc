"""`POST /api/reload`: bring a changed configuration into force. For admin keys, or on an open server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from junctor.gateway.key_registry import refuse_all_but_admins
from junctor.gateway.rest import CALLER

PATH = "/api/reload"


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force now."""

    models: tuple[str, ...]
    "The models that answer, in the order of the configuration; `auto` is not among them."
    keys: int
    "How many keys the configuration has; those of `/api/keys` are not among them."
    reloads: int
    "How often new settings came into force since the start."


Reload = Callable[[], Awaitable[Reloaded]]
"Reads the configuration again and goes by it. Raises `ConfigRefused`: then nothing has changed."


def routes(reload: Reload) -> list[Route]:
    """`POST /api/reload`."""

    async def reload_config(request: Request) -> Response:
        """Read the configuration again. With any mistake in it nothing changes."""
        refuse_all_but_admins(request.scope[CALLER])
        return Response(msgspec.json.encode(await reload()), media_type="application/json")

    return [Route(PATH, reload_config, methods=["POST"])]
