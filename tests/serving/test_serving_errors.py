"""The room's errors fit the house's tree."""

from __future__ import annotations

import pytest

from junctor.chat import JunctorError
from junctor.serving.errors import NoSpace, PullFailed, SourceFailed, WrongDigest


def test_the_tree_is_the_one_drawn() -> None:
    """A source's failure is a pull's; a full disk is no source's fault, so no other source is tried."""
    assert issubclass(WrongDigest, SourceFailed)
    assert issubclass(SourceFailed, PullFailed)
    assert not issubclass(NoSpace, SourceFailed)


@pytest.mark.parametrize("kind", [PullFailed, SourceFailed, WrongDigest, NoSpace])
def test_each_is_told_to_people(kind: type[JunctorError]) -> None:
    """With a stable code of its own."""
    assert str(kind("words")) == "words"
    assert kind.code not in {"internal_error", JunctorError.code}
