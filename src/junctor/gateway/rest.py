"""All routes but those that ask for an answer: Starlette's, behind the same door as those."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.routing import Router as Routes

from junctor.chat import InternalError, JunctorError, UnknownRoute, WrongMethod
from junctor.gateway.dialect import render_refusal
from junctor.gateway.keys import Caller
from junctor.gateway.receive import Receive, Scope, Send, read_headers
from junctor.gateway.reply import Reply
from junctor.store.ids import new_id

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"For probes: they carry no key, and learn which parts work."
CALLER = "junctor.caller"
"Key of the ASGI scope: who asks, as `Doorkeeper` names it."
_QUOTED_CHARACTERS = 200
"Of a path in an error."


class Rest:
    """An ASGI application: keys are checked here, and faults end here."""

    def __init__(self, routes: Sequence[Route], admit: Callable[[Mapping[str, str]], Caller]) -> None:
        """`admit` names the caller of a request by its headers, or raises `BadRequest`."""
        self._admit = admit
        self._routes = routes
        # Not Starlette(): its outermost middleware answers our own faults in plain text, before we can.
        self._router = Routes(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        reply = Reply(send, request_id := new_id("req_"))
        try:
            if scope["path"] not in OPEN_PATHS:
                scope[CALLER] = self._admit(read_headers(scope))
            await self._dispatch(scope, receive, reply.pass_on)
        except JunctorError as error:
            await reply.error(error, *render_refusal(error, scope["path"], request_id))
        except Exception:
            log.exception("our own fault in %s", request_id)
            error = InternalError(f"Junctor failed; the log has the reason under {request_id}")
            await reply.error(error, *render_refusal(error, scope["path"], request_id))

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The route's reply. Raises `UnknownRoute` and `WrongMethod` when there is none."""
        scope["app"] = self  # with it Starlette raises its 404 and 405, instead of answering in plain text
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            raise self._in_our_words(error, scope) from None

    def _in_our_words(self, error: HTTPException, scope: Scope) -> JunctorError:
        path = scope["path"][:_QUOTED_CHARACTERS]
        if error.status_code == WrongMethod.status:
            return WrongMethod(f"{path} does not take {scope['method']}", allow=_allowed(self._routes, scope))
        return UnknownRoute(f"there is no {path} here; docs/reference/routes.md lists what there is")


def _allowed(routes: Sequence[Route], scope: Scope) -> str:
    """The methods of all routes of a path, as the header `Allow` has them."""
    of_path = [route.methods or set[str]() for route in routes if route.matches(scope)[0] is not Match.NONE]
    return ", ".join(sorted(set[str]().union(*of_path)))
