"""What a reply answers, as a value that can be compared with another reply's.

Pure. Two replies agree when `parse_answer` gives the same text for both; where it gives None there is nothing
to compare. What is recognised, in this order:

    a tool call                     its name and arguments, as canonical JSON          (`answer_of` alone)
    nothing but JSON                its field `answer`, else all of it, canonical
    nothing but a block of code     the code, without blank lines and trailing space
    ... "answer": "42" ...          that field, where the JSON around it is not whole
    ... \\boxed{42} ...              the last one, or the last ones that are one list
    #### 42                         the last one (GSM8K's form)
    the final answer is 42          the last one, as a whole; also `Answer: C`, and in some other languages
    a few words, a letter, a number the whole reply, without what leads up to it (`It is 42.`)
    So she makes **$18** a day.     the one number of the last line, where that line concludes

Numbers compare by value: `1,234.50`, `1.234,5` and `$1234.5` are equal, and so are `0.5`, `1/2` and
`\\frac{1}{2}`. Units are left off: `18 eggs` is 18, and `50%` is 50, not 0.5: whoever asks for per cent, or
for minutes, gets them from every model. A number that is rounded (`0.33`) is not the fraction (`1/3`).
Words compare without case, articles and punctuation. `I don't know` answers nothing, and so do refusals.

Where the reading is in doubt, the whole statement is the value, or nothing can be compared: a call too many
costs money, and two answers that only look alike cost the right one. So a number is none next to words that
may change it (`at least 5`, `5 below zero`, `2 thirds`), and only reasons and further sentences are cut off.

Free text is None. `text_similarity` says how much of it is the same; nothing here takes it for agreement.

Time is linear in what is looked at: all of a reply up to 32,000 characters, else its last 4,000.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from junctor.chat import Answer, ToolCall
from junctor.pool.answer_boxes import find_boxed
from junctor.pool.answer_choices import lists_choices, offered_choices, parse_choice
from junctor.pool.answer_refusals import abstains
from junctor.pool.answer_sentences import changes, cut_statement, leads_to_number
from junctor.pool.answer_units import unit_factor
from junctor.pool.answer_values import parse_sentence, parse_value, render_number

WHOLE_CHARS = 32_000
"A longer reply is not looked at as a whole: not as JSON, and not as code."
TAIL_CHARS = 4_000
"Answers stand at the end."
SHORT_CHARS = 80
"A reply that is longer is not `a few words`."
WORDS = 5
"More words are free text."
COMPARED_WORDS = 4_000
"As many words of a text are compared with another's."

Finder = Callable[[str, frozenset[str]], str | None]
"The answer, if the text has this form; empty: it has, but answers nothing. None: another form."


def answer_of(answer: Answer, question: str = "") -> str | None:
    """The comparable answer of a collected reply; None where there is none.

    With the question, as `Prompt.text` has it, `B. Paris` is read as its choice B; without, it may be a name.
    A reply that was cut short, or held back by a filter, answers nothing, whatever it says so far.
    """
    if answer.reason in ("length", "content_filter"):
        return None
    if answer.tool_calls:
        return _canonical_calls(answer.tool_calls)
    return parse_answer(answer.text, question)


def parse_answer(text: str, question: str = "") -> str | None:
    """The answer that a text gives to a question; None where nothing can be compared."""
    offered = offered_choices(question)
    _, _, text = text.rpartition("</think>")
    if len(text) <= WHOLE_CHARS:
        text = text.strip()
        if (whole := _whole_json(text, offered)) is None:
            whole = _whole_code(text)
        if whole is not None:
            return whole or None
    tail = _normalise(text[-TAIL_CHARS:])
    finders: list[Finder] = [_json_field, _boxed, _after_hashes, _after_marker]
    if len(text) <= TAIL_CHARS:
        finders.append(_short)
    for find in (*finders, _conclusion):
        if (found := find(tail, offered)) is not None:
            return found or None
    return None


def text_similarity(one: str, other: str) -> float:
    """How much of two texts is the same, 0..1: their common words over all their words.

    A weighted Jaccard (Ruzicka) similarity of bags of words: numbers weigh three times as much, words of up
    to three letters a third, and a word that comes n times about 1 + log2(n) times. For use with a threshold
    calibrated on such texts; alone it proves nothing: `it is safe` and `it is not safe` are much alike.
    """
    left, right = _bag(one), _bag(other)
    words = left.keys() | right.keys()
    if not words:
        return 1.0 if one == other else 0.0
    common = sum(min(left.get(word, 0.0), right.get(word, 0.0)) for word in words)
    return common / sum(max(left.get(word, 0.0), right.get(word, 0.0)) for word in words)


# Tool calls.


def _canonical_calls(calls: Sequence[ToolCall]) -> str | None:
    """In any order: calls of one reply are made side by side. None when arguments are no JSON."""
    rendered = list[str]()
    for call in calls:
        found, arguments = _decode(call.arguments or "{}")
        if not found:
            return None
        rendered.append(f"{call.name}({_render(arguments)})")
    return "call " + ", ".join(sorted(rendered))


# JSON.


def _decode(text: str) -> tuple[bool, Any]:
    try:
        return True, _canonical(msgspec.json.decode(text.encode("utf-8", "replace")))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False, None


def _canonical(value: Any) -> Any:
    """Numbers of one value look the same."""
    match value:
        case dict():
            return {key: _canonical(each) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list():
            return [_canonical(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
        case float() if value.is_integer() and abs(value) < 1e15:
            return int(value)
        case _:
            return value


def _render(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _whole_json(text: str, offered: frozenset[str]) -> str | None:
    match = _FENCED.fullmatch(text)
    inner = match["code"].strip() if match and match["language"].lower() in {"", "json"} else text
    if inner[:1] not in _JSON_STARTS:
        return None
    found, value = _decode(inner)
    if not found:
        return None
    if isinstance(value, dict):
        for key, field in _items(value):
            if key.casefold().replace(" ", "_") in _FIELDS:
                return _json_value(field, offered)
    return _json_value(value, offered)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    yield from value.items()


def _json_value(value: Any, offered: frozenset[str]) -> str:
    match value:
        case None:
            return ""
        case str():
            return parse_value(_normalise(value), offered=offered) or ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return render_number(str(value)) or str(value)
        case _:
            return _render(value)


_FENCED = re.compile(r"```(?P<language>[\w+#.-]*)[^\S\n]*\n(?P<code>(?:(?!```).)*)```", re.DOTALL)
_JSON_STARTS = frozenset('{["-0123456789tfn')
_FIELDS = frozenset({"answer", "final_answer"})
_FIELD = re.compile(
    r'"(?:final[_ ])?answer"\s{0,9}:\s{0,9}'
    r'(?:"((?:[^"\\\n]|\\.){0,400})"|(-?\d[\d.,]{0,40}|true|false|null)(?![\w/^*%]))',
    re.IGNORECASE,
)


def _json_field(text: str, offered: frozenset[str]) -> str | None:
    """Of JSON that is not whole, or has a backslash where JSON has none, as in LaTeX."""
    match = _last(_FIELD, text)
    if match is None or match[2] == "null":
        return match and ""
    said: str = match[1] if match[1] is not None else match[2]
    return parse_value(said.replace("\\\\", "\\").replace('\\"', '"'), offered=offered) or ""


# Code.


def _whole_code(text: str) -> str | None:
    match = _FENCED.fullmatch(text)
    if match is None or match["language"].lower() == "json":
        return None
    lines = [line.rstrip() for line in match["code"].splitlines()]
    return "\n".join(line for line in lines if line)


# Text.

_HASHES = re.compile(r"^\s{0,3}####\s{0,3}(\S[^\n]{0,200})$", re.MULTILINE)
_MARKER = re.compile(
    r"(?:\b(?:answer|solution|result|antwort|réponse|respuesta|resposta|risposta|antwoord|ответ)\b|答案|答え)"
    r"(?:\s(?:to|of|for)\s[^\n.:]{1,80}?)?"
    r"[\s*_]{0,5}(?:(?<![^\W\d_])(?:is|are|ist|est|es|é|è)\b\s{0,3}:?|[:=是は])[\s*_]{0,5}"
    r"(\S[^\n]{0,200})",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(r"\W{0,4}(?:therefore|thus|hence|so|in total|altogether)\b", re.IGNORECASE)
_LEAD_IN = re.compile(
    r"(?:(?:so|thus|hence|therefore)\b[,:]?\s+)?(?:it|that|this|there)(?:'s|\u2019s|\s+(?:is|are))\s+(?=\S)",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_GOES_ON = re.compile(r"\s{0,3}(?:[-+*/^<>=\\(:\d\u2212\u00d7\u00f7]|(?:and|or|to|of|out)\b)")
"A number that is a part of more."
LINE_CHARS = 400
"A longer last line is no conclusion."


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _boxed(text: str, offered: frozenset[str]) -> str | None:
    boxed = find_boxed(text)
    if boxed is None:
        return None
    values = [parse_value(said, offered=offered) or "" for said in boxed]
    return ",".join(dict.fromkeys(values)) if all(values) else ""


def _after_hashes(text: str, offered: frozenset[str]) -> str | None:
    match = _last(_HASHES, text)
    return match and (parse_value(match[1], offered=offered) or "")


def _after_marker(text: str, offered: frozenset[str]) -> str | None:
    match = _last(_MARKER, text)
    if match is None:
        return None
    if choice := parse_choice(match[1], offered):
        return choice
    said = cut_statement(match[1])
    return "" if abstains(said) else parse_value(said, words=WORDS, offered=offered)


def _short(text: str, offered: frozenset[str]) -> str | None:
    """A reply of a few words, or one line that begins with the letter of a choice."""
    if len(text) <= SHORT_CHARS and "\n" not in text:
        lead_in = _LEAD_IN.match(text)
        said = text[lead_in.end() :] if lead_in else text
        if value := parse_value(said, words=WORDS, offered=offered):
            return value
    first, _, rest = text.partition("\n")
    choice = parse_choice(first[:LINE_CHARS].strip(), offered)
    if choice and not lists_choices(rest):
        return choice
    return "" if abstains(text) else None


def _conclusion(text: str, offered: frozenset[str]) -> str | None:
    """The one bold number of the last line, or the one number of a last line that draws a conclusion.

    Only where the words around it leave no doubt: `at least`, `a loss of` and `not` make it another answer.
    """
    line = text.rstrip().rpartition("\n")[2]
    if len(line) > LINE_CHARS:
        return None
    bold = list(_BOLD.finditer(line))
    if len(bold) == 1 and (value := parse_value(bold[0][1], words=WORDS)) and value[0] in "-0123456789":
        return value if _stands_alone(line[: bold[0].start()], line[bold[0].end() :]) else None
    return parse_sentence(line) if _CONCLUDES.match(line) else None


def _stands_alone(before: str, after: str) -> bool:
    is_apart = not after[:1].isalnum() and not _GOES_ON.match(after)
    return (
        is_apart and leads_to_number(before) and (unit_factor(after.rstrip(" .!")) == 1 or not changes(after))
    )


# Characters.

_SPECIAL = (
    {ord("\u2212"): "-", ord("\u2044"): "/"}
    | {ord(sign): f"^{power}" for power, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
    | {
        code: " " + unicodedata.normalize("NFKC", chr(code)).replace("\u2044", "/")
        for code in (*range(0xBC, 0xBF), *range(0x2150, 0x215F))
    }
)
"A minus sign; powers and fractions, which NFKC would run together with the number before them."


_DASH = re.compile(r"(?<![^\s(\[{*$=:])[\u2010-\u2013](?=[$€£¥₹]?\.?\d)")
"A minus sign that was meant: not that of `10\u201320`."


def _normalise(text: str) -> str:
    """NFKC, and one spelling of signs; digits of every script are ours."""
    text = text.encode("utf-8", "replace").decode()
    if text.isascii():
        return text.strip()
    text = _DASH.sub("-", unicodedata.normalize("NFKC", text.translate(_SPECIAL)))
    digits = {ord(c): str(unicodedata.decimal(c)) for c in set(text) if not c.isascii() and c.isdecimal()}
    return text.translate(digits).strip()


# Likeness of free text.

_WORD = re.compile(r"\w+")


def _bag(text: str) -> dict[str, float]:
    """Words with their weights."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text[: 16 * COMPARED_WORDS]).casefold())
    counts = Counter(words[:COMPARED_WORDS])
    return {word: _weight(word) * count.bit_length() for word, count in counts.items()}


def _weight(word: str) -> float:
    if any(character.isdecimal() for character in word):
        return 3.0
    return 1 / 3 if len(word) <= 3 else 1.0
