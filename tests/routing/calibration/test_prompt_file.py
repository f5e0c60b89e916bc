"""A user's prompts: what is taken, and which line is at fault."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import BadRequest
from junctor.routing.calibration.prompt_file import parse_prompts


def test_prompts_and_messages_with_and_without_answers() -> None:
    text = (
        '{"prompt": "2 + 2?", "answer": 4}\n\n'
        '{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]}\n'
    )
    first, second = parse_prompts(text)
    assert (first.prompt, first.answer, first.messages) == ("2 + 2?", "4", None)
    assert (second.prompt, second.answer, second.kind) == ("Why?", None, "own")
    assert second.messages is not None
    assert msgspec.json.decode(second.messages)[0]["content"] == "Be brief."


def test_what_occurs_twice_is_asked_once() -> None:
    assert len(parse_prompts('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "a"}\n')) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: Input data was truncated"),
        ("[1]", "line 2: Expected `object`, got `array`"),
        ('{"promt": "x"}', "line 2: Object contains unknown field `promt`"),
        ('{"answer": "x"}', "line 2: it needs `prompt` or `messages`"),
        ('{"prompt": "x", "messages": []}', "line 2: it needs `prompt` or `messages`, and not both"),
        ('{"prompt": "  "}', "line 2: `prompt` is empty"),
        ('{"prompt": ["x"]}', "line 2: Expected `str | null`"),
        ('{"messages": []}', "line 2: `messages` is empty"),
        ('{"messages": [{"content": "x"}]}', "line 2: `messages.0.` is not|line 2: `messages"),
        ('{"prompt": "x", "answer": {"a": 1}}', "line 2: Expected"),
    ],
)
def test_the_line_at_fault_is_named(line: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        parse_prompts('{"prompt": "fine"}\n' + line)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_prompts_says_what_a_line_looks_like(text: str) -> None:
    with pytest.raises(BadRequest, match='"prompt"'):
        parse_prompts(text)
