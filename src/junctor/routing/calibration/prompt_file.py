"""A user's own prompts, to calibrate with: JSON lines -> questions. Pure.

    {"prompt": "What is the capital of Peru?", "answer": "Lima"}
    {"messages": [{"role": "system", "content": "..."}, {"role": "user", "content": "..."}]}

Without an `answer`, what the strongest model answers counts as right.
"""

from __future__ import annotations

import msgspec

from junctor.chat import BadRequest, ChatRequest
from junctor.pool.prompt import parse_prompt
from junctor.routing.calibration.questions import Question

OWN = "own"
"The kind of these questions."


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    prompt: str | None = None
    messages: msgspec.Raw = msgspec.Raw()
    answer: str | int | float | None = None


def parse_prompts(text: str) -> list[Question]:
    """The questions of a file, without those that occur twice. Raises `BadRequest`, which names the line."""
    questions = dict[tuple[str, bytes], Question]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                question = _parse_line(line)
            except (BadRequest, msgspec.DecodeError) as error:
                raise BadRequest(f"line {number}: {error}") from error
            questions.setdefault((question.prompt, bytes(question.messages or b"")), question)
    if not questions:
        raise BadRequest('it holds no prompt; a line looks like {"prompt": "...", "answer": "..."}')
    return list(questions.values())


def _parse_line(line: str) -> Question:
    said = msgspec.json.decode(line.encode("utf-8", "surrogatepass"), type=_Line)
    answer = None if said.answer is None else str(said.answer)
    messages = bytes(said.messages)
    if (said.prompt is None) == (not messages):
        raise BadRequest("it needs `prompt` or `messages`, and not both")
    if not messages:
        if not (said.prompt or "").strip():
            raise BadRequest("`prompt` is empty")
        return Question(prompt=said.prompt or "", answer=answer, kind=OWN)
    ask = parse_prompt(ChatRequest(model="", messages=msgspec.Raw(messages)))
    return Question(prompt=ask.text, answer=answer, kind=OWN, messages=msgspec.Raw(messages))
