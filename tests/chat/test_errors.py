"""The tree of errors is what its docstring draws, and each leaf has a name and a status of its own."""

from __future__ import annotations

import re

from junctor.chat import JunctorError, UpstreamRefused, errors


def _tree(root: type[JunctorError]) -> list[type[JunctorError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


CLASSES = [error for error in _tree(JunctorError) if error.__module__ == errors.__name__]


def test_the_docstring_draws_every_error_with_its_status() -> None:
    drawn = dict(re.findall(r"[|`]- (\w+) +(\dxx|4xx|\d{3})", errors.__doc__ or ""))
    assert set(drawn) == {error.__name__ for error in CLASSES if error is not JunctorError}
    for error in CLASSES:
        if drawn.get(error.__name__, "4xx") != "4xx":
            assert drawn[error.__name__] == str(error.status), error


def test_every_code_is_unique_and_plain() -> None:
    codes = [error.code for error in CLASSES if error not in (JunctorError,)]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_only_failures_of_upstreams_are_tried_again_and_only_where_that_can_help() -> None:
    for error in CLASSES:
        if error.transient:
            assert issubclass(error, errors.UpstreamError)
            assert error.retryable
    assert not errors.UpstreamTimeout.transient


def test_a_refusal_for_want_of_the_model_or_of_money_lets_another_model_try() -> None:
    refused = {status: UpstreamRefused("no", status=status).retryable for status in (400, 402, 404, 422)}
    assert refused == {400: False, 402: True, 404: True, 422: False}


def test_a_refusal_keeps_the_upstreams_own_words() -> None:
    error = UpstreamRefused("no such parameter", status=404, code="unknown_parameter", param="top_q")
    assert (error.status, error.code, error.param, str(error)) == (
        404,
        "unknown_parameter",
        "top_q",
        "no such parameter",
    )
    assert UpstreamRefused("x", status=400).code == "upstream_refused"
