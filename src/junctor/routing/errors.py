"""What can go wrong in this room, beyond the errors of the hall.

BadRequest
`- UnknownDecision   404   no decision of that id is stored
"""

from __future__ import annotations

from junctor.chat import BadRequest


class UnknownDecision(BadRequest):
    """No decision of that id is stored."""

    status = 404
    code = "decision_not_found"
