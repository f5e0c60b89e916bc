"""What can go wrong in this room, beyond the errors of the hall.

BadRequest
|- RateLimited
|  `- StrongestShareUsed 429   only the strongest model fits, and the key's share of it is used up
|- UnknownDecision   404   no decision of that id is stored
`- UnknownRequest    404   no answered request of that id, or it is another caller's

JunctorError
`- CannotCalibrate   500   of `junctor calibrate` alone: what it needs is missing, or a model does not answer
"""

from __future__ import annotations

from junctor.chat import BadRequest, JunctorError, RateLimited


class StrongestShareUsed(RateLimited):
    """Only the strongest model of the pool fits, and the key has had its share of that one for now."""

    code = "strongest_share_used"
    retryable = True


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
