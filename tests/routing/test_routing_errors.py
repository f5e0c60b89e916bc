"""The room's own errors."""

from __future__ import annotations

from junctor.chat import BadRequest, JunctorError
from junctor.routing.errors import CannotCalibrate, UnknownDecision


def test_an_unknown_decision_is_the_callers_to_mend() -> None:
    """A 404 with a code of its own, in the hall's tree."""
    error = UnknownDecision("there is no decision `x`")
    assert isinstance(error, BadRequest)
    assert (error.status, error.code, error.type) == (404, "decision_not_found", "invalid_request_error")


def test_a_calibration_that_cannot_go_on_is_no_callers_fault() -> None:
    error = CannotCalibrate("numpy is missing")
    assert isinstance(error, JunctorError)
    assert not isinstance(error, BadRequest)
    assert error.code == "cannot_calibrate"
