"""What can go wrong in this room, beyond the errors of the hall.

BadRequest
|- UnknownDecision   404   no decision of that id is stored
`- UnknownRequest    404   no answered request of that id, or it is another caller's

JunctorError
`- CannotCalibrate   500   of `junctor calibrate` alone: what it needs is missing, or a model does not answer
"""

from __future__ import annotations

from junctor.chat import BadRequest, JunctorError


class UnknownDecision(BadRequest):
    """No decision of that id is stored."""

    status = 404
    code = "decision_not_found"


class UnknownRequest(BadRequest):
    """No answered request of that id is in the ledger for this caller."""

    status = 404
    code = "request_not_found"


class CannotCalibrate(JunctorError):
    """`junctor calibrate` lacks something, or a model does not answer; the message says what to do."""

    code = "cannot_calibrate"
