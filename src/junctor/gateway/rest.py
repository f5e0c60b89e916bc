"""All routes but those that ask for an answer: Starlette's, behind the same door as those."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.routing import Router as Routes

from junctor.chat import InternalError, JunctorError, UnknownRoute, WrongMethod
from junctor.gateway.dialect import render_refusal
from junctor.gateway.models_api import OPEN_PATHS
from junctor.gateway.receive import Receive, Scope, Send, read_headers
from junctor.gateway.reply import Reply
from junctor.store.ids import new_id

log = logging.getLogger(__name__)

CALLER = "junctor.caller"
"Key of the ASGI scope: who asks, as `Doorkeeper` names it."
_QUOTED_CHARACTERS = 200
"Of a path in an error."


class Rest:
    """An ASGI application: keys are checked here, and faults end here."""

    def __init__(self, routes: Sequence[Route], admit: Callable[[Mapping[str, str]], str]) -> None:
        """`admit` names the caller of a request by its headers, or raises `BadRequest`."""
        self._admit = admit
        # Not Starlette(): its outermost middleware answers our own faults in plain text, before we can.
        self._routes = ExceptionMiddleware(
            Routes(routes, redirect_slashes=False),
            handlers={HTTPException: _answer_starlettes_error, JunctorError: _answer_error},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        reply = Reply(send, request_id := new_id("req_"))
        try:
            if scope["path"] not in OPEN_PATHS:
                scope[CALLER] = self._admit(read_headers(scope))
            scope["app"] = (
                self  # with it Starlette raises its 404 and 405, instead of answering in plain text
            )
            await self._routes(scope, receive, reply.pass_on)
        except JunctorError as error:
            await reply.error(error, *render_refusal(error, scope["path"], request_id))
        except Exception:
            log.exception("our own fault in %s", request_id)
            error = InternalError(f"Junctor failed; the log has the reason under {request_id}")
            await reply.error(error, *render_refusal(error, scope["path"], request_id))


async def _answer_error(request: Request, error: Exception) -> Response:
    """An error of ours, raised by a route."""
    assert isinstance(error, JunctorError)
    content_type, body = render_refusal(error, request.scope["path"], "")
    return Response(body, error.status, media_type=content_type)


async def _answer_starlettes_error(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405, in the envelope that their path promises."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:_QUOTED_CHARACTERS]
    if error.status_code == WrongMethod.status:
        return await _answer_error(request, WrongMethod(f"{path} does not take {request.method}"))
    return await _answer_error(
        request, UnknownRoute(f"there is no {path} here; docs/reference/routes.md lists what there is")
    )
