"""The answers of a calibration in progress, on the disk: a run that is cut short goes on where it was.

One line of JSON an answer, appended as it comes; a line is whole, or it is the last one of a killed process
and does not count. What a reply said is not kept, only its final answer, and of a question only a digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Self

import msgspec

from junctor.routing.calibration.questions import Question


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one model made of one question."""

    model: str
    "Its name in the pool."
    identity: str
    "What answered under that name (`abilities.identity_of`)."
    question: str
    "`key_of` the question."
    answer: str | None
    "The final answer, in comparable form; None: the reply has none."
    usd: float
    "All calls that it took, by the model's price; 0 without one."
    tokens: int
    "Output tokens."
    seconds: float
    refused: bool = False
    "The model refused the question: no answer, and a wrong one."


Key = tuple[str, str, str]
"Model, identity, question."


def key_of(question: Question) -> str:
    """A digest of what is asked."""
    asked = bytes(question.messages) if question.messages is not None else question.prompt.encode()
    return sha256(asked).hexdigest()[:24]


def digest_of(questions: Iterable[Question]) -> str:
    """A digest of a set of questions."""
    return sha256("".join(map(key_of, questions)).encode()).hexdigest()[:16]


class AnswerLog:
    """A file of answers, open for more."""

    def __init__(self, path: Path) -> None:
        """Reads what is there. Raises `OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab")
        text = path.read_bytes()
        if text and not text.endswith(b"\n"):
            self._file.write(b"\n")
        self.said: dict[Key, Said] = {}
        for line in text.splitlines():
            try:
                self._note(msgspec.json.decode(line, type=Said))
            except msgspec.DecodeError:
                continue

    def add(self, said: Said) -> None:
        """Keep an answer: once this returns, it survives the death of the process."""
        self._note(said)
        if not said.refused:
            self._file.write(msgspec.json.encode(said) + b"\n")
            self._file.flush()

    def _note(self, said: Said) -> None:
        self.said[said.model, said.identity, said.question] = said

    def remove(self) -> None:
        """The calibration is complete: the file goes."""
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
