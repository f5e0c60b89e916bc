r"""Fences: how text of unknown writers is shown to a model that judges it, or writes from it. Pure.

    <<<ANSWER A 5f0c94e1d27b6a38>>>
    whatever it says
    <<<END OF ANSWER A 5f0c94e1d27b6a38>>>

The mark is drawn after the text was written, so that its writer cannot know it. What `fence` promises of any
text whatsoever, whether its writer guessed the mark or not:

- The mark stands on the two lines of the fence, and nowhere between them.
- No line between them begins with `<<<`: one that does, or looks as if it did, gets a backslash before it.
- Of control characters only tabs and ends of lines are left; nothing that changes the direction of writing,
  none of the invisible copies of ASCII (Unicode's tags), and no lone surrogates.
- Nothing in it is a token of a chat template (`<|im_end|>`, `[/INST]`, `<end_of_turn>`): a space is put in.
  Servers of open models read these as the end of a turn wherever they stand (llama.cpp, vLLM).
- It is no longer than `most_chars`, but for one note and what is put in.

A fence keeps what is inside apart from what is not. Whether the reader believes what it reads is another
matter: that is for the instructions around it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

MOST_CHARS = 16_000
"Of each part; a longer one is cut in its middle."

_END_OF_LINE = re.compile(r"[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_DROPPED = re.compile(
    r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f"
    r"\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
_UNSEEN = r"\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200c\u200d\u2800\u3164\ufe00-\ufe0f\uffa0"
_BRACKETS = r"<\uff1c\ufe64\u2039\xab\u276e\u3008\u300a\u27e8\u27ea"
_LIKE_A_FENCE = re.compile(
    rf"^(?=(?:[^\S\n]|[{_UNSEEN}])*(?:[{_BRACKETS}]{{3}}|[\u226a\u22d8]))", re.MULTILINE
)
_NAMES = "s|bos|eos|pad|unk|start_of_turn|end_of_turn|SYS|turn"
# Each alternative begins with one character: the search is four times as fast for that.
_TEMPLATE_TOKEN = re.compile(
    rf"<(?=[|\uff5c]|/?(?:{_NAMES})>)|\|(?=>)|\uff5c(?=>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT|ARGS|THINK)\])"
)


def make_mark() -> str:
    """A mark that nobody can guess: 64 random bits in hexadecimal."""
    return secrets.token_hex(8)


def fence(name: str, text: str, mark: str, most_chars: int = MOST_CHARS) -> str:
    """The text between its two lines. `name`: ours, in capitals; `mark`: letters and digits, not empty."""
    # Cut before anything is put in: a cut makes beginnings of lines.
    shown = cut(clean(text), most_chars)
    shown = _LIKE_A_FENCE.sub(r"\\", _TEMPLATE_TOKEN.sub(_set_apart, shown))
    shown = shown.replace(mark, "*" * len(mark))
    return f"<<<{name} {mark}>>>\n{shown}\n<<<END OF {name} {mark}>>>"


def clean(text: str) -> str:
    """The text as it reads: one kind of line end, and nothing that is not to be seen."""
    return _DROPPED.sub("", _END_OF_LINE.sub("\n", text.replace("\r\n", "\n")))


def cut(text: str, most_chars: int = MOST_CHARS) -> str:
    """At most so many characters of a text, its beginning and its end, and a note between them."""
    if len(text) <= most_chars:
        return text
    head = most_chars - most_chars // 2
    tail = most_chars // 2
    left_out = f"\n[... {len(text) - most_chars} characters left out ...]\n"
    return text[:head] + left_out + (text[-tail:] if tail else "")


def share(sizes: Sequence[int], room: int) -> int:
    """The most characters that each of some texts (one or more) may have, such that together they fit.

    Short ones leave what they do not need to the others.
    """
    waiting = sorted(sizes)
    longest = waiting[-1]
    while waiting and waiting[0] * len(waiting) <= room:
        room -= waiting.pop(0)
    return max(0, room) // len(waiting) if waiting else longest


def _set_apart(token: re.Match[str]) -> str:
    return f"{token[0]} "
