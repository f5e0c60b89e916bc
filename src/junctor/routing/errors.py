"""What can go wrong in this room, beyond the errors of the hall.

BadRequest
|- UnknownDecision   404   no decision of that id is stored
`- UnknownRequest    404   no answered request of that id, or it is another caller's
"""

from __future__ import annotations

from junctor.chat import BadRequest


class UnknownDecision(BadRequest):
    """No decision of that id is stored."""

    status = 404
    code = "decision_not_found"


class UnknownRequest(BadRequest):
    """No answered request of that id is in the ledger for this caller."""

    status = 404
    code = "request_not_found"
