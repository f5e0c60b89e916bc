"""Everything that can go wrong with a chat, as one tree.

    JunctorError                     what a caller can be told
    |- BadRequest              400   the caller can mend it
    |  |- AuthenticationFailed 401   no key, or a wrong one
    |  |- ModelForbidden       403   the key may not use this model
    |  |- AdminOnly            403   only an admin key may do this, or this key would give more than it has
    |  |- RateLimited          429   the key's requests or tokens per minute
    |  |- BudgetExhausted      429   the key's budget of the day or the month
    |  |- UnknownModel         404   no model of that name in the pool
    |  |- UnknownResponse      404   no stored response of that id, or it is another caller's
    |  |- UnknownPreviousResponse 404 the response to go on from is not there
    |  |- UnknownKey           404   no API key of that id
    |  |- UnknownRoute         404   no such path
    |  |- WrongMethod          405   the path exists, the method does not
    |  |- MalformedRequest     400   not HTTP/1.1 as we read it
    |  |- BodyTimeout          408   the body did not arrive in time
    |  |- HeadTimeout          408   the request line and the headers did not arrive in time
    |  |- IdempotencyPending   409   a request with this `Idempotency-Key` is still being answered
    |  |- ConfigRefused        409   the configuration to be read again has mistakes
    |  |- IdempotencyMismatch  422   this `Idempotency-Key` belongs to another request
    |  |- BodyTooLarge         413   more bytes than `server.max_body_bytes`
    |  |- TargetTooLong        414   the request line is longer than we read
    |  |- HeadTooLarge         431   more headers, or longer ones, than we read
    |  |- WindowExceeded       400   more tokens than the model can read
    |  |- UnsupportedByModel   400   the model's interface cannot say what is asked
    |  `- NoModelFits          422   the constraints rule every model out
    |- UpstreamError           502   a model, or the way to it, failed
    |  |- UpstreamRefused      4xx   the model refused this request; another try would not help
    |  |- UpstreamUnauthorised 502   the key we hold for it is wrong
    |  |- UpstreamRateLimited  429   it asks us to slow down
    |  |- UpstreamUnreachable  502   no connection
    |  |- UpstreamTimeout      504   it took longer than we wait
    |  |- UpstreamBroken       502   it failed (5xx), reset the line, or answered nonsense
    |  |- EngineDown           503   the local engine crashed or is starting
    |  `- UpstreamUnavailable  503   every model that could answer is set aside, or out of connections
    |- Overloaded              503   more requests than this server can answer now
    |- ServerStopping          503   the server ends and waits for this answer no longer
    `- InternalError           500   our own fault

A message says what to change. `retryable` means: before the first text, another model may succeed;
`transient`: the same one may, when tried again.
"""

from __future__ import annotations

from typing import ClassVar


class JunctorError(Exception):
    """Anything a caller can be told. `str(error)` is the message, written for that caller."""

    status: int = 500
    "HTTP status."
    type: ClassVar[str] = "server_error"
    "The `type` of OpenAI's error envelope."
    code: str = "internal_error"
    "Stable machine-readable name: the `code` of OpenAI's envelope and the ledger's outcome."
    retryable: bool = False
    "Whether, before the first text, another model may succeed."
    transient: bool = False
    "Whether the same model may succeed when tried again."
    said: bytes | None = None
    """The upstream's own error, in the caller's dialect: it goes out as it came. None: ours is written. In a
    stream the data of one event, else a whole body."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        "The request field at fault, as a path such as `junctor.mode`; None when no single one is."


class BadRequest(JunctorError):
    """The request is at fault; the caller can mend it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class AuthenticationFailed(BadRequest):
    """No API key, or one that is not configured."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class ModelForbidden(BadRequest):
    """The caller's key may not use this model."""

    status = 403
    type = "permission_error"
    code = "model_not_allowed"


class AdminOnly(BadRequest):
    """Only an admin key may do this, and give no key more than it has itself."""

    status = 403
    type = "permission_error"
    code = "admin_only"


class RateLimited(BadRequest):
    """The key's requests or tokens per minute are used up."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        "Seconds after which this request would be taken."


class BudgetExhausted(BadRequest):
    """The key's budget of the day or the month is spent, or what is left is less than this may cost."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"


class UnknownModel(BadRequest):
    """The pool holds no model of that name."""

    status = 404
    code = "model_not_found"


class UnknownResponse(BadRequest):
    """No response of that id is stored for this caller."""

    status = 404
    code = "response_not_found"


class UnknownPreviousResponse(BadRequest):
    """The response that the request goes on from is not stored for this caller."""

    status = 404
    code = "previous_response_not_found"


class UnknownKey(BadRequest):
    """There is no API key of that id."""

    status = 404
    code = "key_not_found"


class UnknownRoute(BadRequest):
    """No such path."""

    status = 404
    code = "route_not_found"


class WrongMethod(BadRequest):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow
        "The methods that exist, as the header `Allow` has them: `GET, HEAD`."


class MalformedRequest(BadRequest):
    """Not HTTP/1.1 as we read it: another server might read it differently, so it is not interpreted."""

    code = "malformed_request"


class BodyTimeout(BadRequest):
    """The request's body did not arrive in time."""

    status = 408
    code = "request_timeout"


class HeadTimeout(BadRequest):
    """The request line and the headers did not arrive in time."""

    status = 408
    code = "headers_timeout"


class IdempotencyPending(BadRequest):
    """A request with this `Idempotency-Key` is still being answered, and has been for long."""

    status = 409
    code = "idempotency_pending"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        "Seconds after which another try makes sense."


class ConfigRefused(BadRequest):
    """The configuration has mistakes: the one before it stays in force. The message names each."""

    status = 409
    code = "config_refused"


class IdempotencyMismatch(BadRequest):
    """This `Idempotency-Key` was used with another request: its answer would be the wrong one."""

    status = 422
    code = "idempotency_mismatch"


class BodyTooLarge(BadRequest):
    """More bytes than `server.max_body_bytes`."""

    status = 413
    code = "request_too_large"


class TargetTooLong(BadRequest):
    """The request line is longer than 8 KiB."""

    status = 414
    code = "uri_too_long"


class HeadTooLarge(BadRequest):
    """More than 100 headers, or more than 32 KiB of them."""

    status = 431
    code = "headers_too_large"


class WindowExceeded(BadRequest):
    """More tokens than the model can read. We never truncate in silence."""

    code = "context_length_exceeded"
    retryable = True


class UnsupportedByModel(BadRequest):
    """The model's interface cannot say what is asked, such as `n` above 1; another model's may."""

    code = "unsupported_by_model"
    retryable = True


class NoModelFits(BadRequest):
    """The constraints rule every model out; the message names, for each, the one that did."""

    status = 422
    code = "no_model_fits"


class UpstreamError(JunctorError):
    """A model, or the way to it, failed. `model` is its name in the pool."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    retryable = True
    transient = True

    def __init__(
        self, message: str, *, model: str = "", param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.model = model
        self.retry_after_s = retry_after_s
        "Seconds the upstream asked us to wait; None when it did not say."


class UpstreamRefused(UpstreamError):
    """The model refused this request (a 4xx about its content); another try would not help.

    Keeps the upstream's status, and its code and param where it gave them, so that client libraries act as
    they would without us in between.
    """

    type = "invalid_request_error"
    code = "upstream_refused"
    retryable = False
    transient = False

    def __init__(
        self, message: str, *, status: int, model: str = "", code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, model=model, param=param)
        self.status = status
        # No such model there, or no money for it: not this request's fault.
        self.retryable = status in (402, 404)
        self.code = code or type(self).code


class UpstreamUnauthorised(UpstreamError):
    """The key we hold for the upstream is missing or wrong. A 502: the caller's own key was right."""

    code = "upstream_unauthorised"
    transient = False


class UpstreamRateLimited(UpstreamError):
    """The upstream asks us to slow down, or a quota is used up."""

    status = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"


class UpstreamUnreachable(UpstreamError):
    """No connection: refused, no such host, TLS failure."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """The upstream took longer than we wait (`timeouts`)."""

    status = 504
    code = "upstream_timeout"
    transient = False  # it would cost the same time, and perhaps the same money, once more

    def __init__(
        self, message: str, *, model: str = "", retry_after_s: float | None = None, sent: bool = True
    ) -> None:
        super().__init__(message, model=model, retry_after_s=retry_after_s)
        self.sent = sent
        "Whether the request had gone out: if so, the upstream may charge for reading it."


class UpstreamBroken(UpstreamError):
    """The upstream failed (5xx), reset the line, ended early, or answered nonsense."""

    code = "upstream_broken"


class EngineDown(UpstreamError):
    """The local engine crashed or is still starting; it is being restarted."""

    status = 503
    code = "engine_down"


class UpstreamUnavailable(UpstreamError):
    """Nobody was asked: every model that could is set aside after failures, or we are at our own limit."""

    status = 503
    code = "upstream_unavailable"
    transient = False


class Overloaded(JunctorError):
    """More requests than this server can answer now; it is refused before any work is done for it."""

    status = 503
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        "Seconds after which another try makes sense."


class ServerStopping(JunctorError):
    """The server ends, and waits for this answer no longer."""

    status = 503
    code = "server_stopped"


class InternalError(JunctorError):
    """Our own fault. The message carries the request id under which the log has the rest."""
