"""What a prompt asks for, by its words: something that two replies can be compared by, or a text. Pure.

A prompt is checkable where it

- wants JSON or offers tools,
- states how to answer (`final answer`, `\\boxed`, `yes or no`, ...),
- lists three choices or more (`A. ...`),
- asks for a quantity (`how many ...`, `calculate ...`, `what is the area ...`), and has numbers in it,
- shows code, and asks what it prints or returns,
- has LaTeX in it, reckons with numbers, or is a question of fact with numbers in it.

A sentence that tells the model to write, explain, list or prove something speaks against it, unless the form
of the answer is stated. A word of that kind somewhere in the text does not, where a quantity is asked for:
`Ann can write 3 letters an hour. How many ...`. docs/cascade.md says how many of which public prompts pass.

A long text is read at its two ends, where people ask.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from math import log1p

from junctor.chat import Skill
from junctor.routing.features import NAMES

ASKS_FOR_FORM = (
    "final answer",
    "boxed{",
    "multiple choice",
    "yes or no",
    "true or false",
    "answer with",
    "answer only",
    "only the answer",
    "only the letter",
    "one word",
    "single word",
    "just the number",
)
"Words of a prompt that says what its answer shall look like."
HEAD_CHARS, TAIL_CHARS = 400, 600
"Of a longer text, so much is searched for what it asks."
_LAST_CHARS = 200
"The last question of a text lies in here."
_MANY_OPERATORS = 0.01
"Share of the characters."
_PLACE = {name: at for at, name in enumerate(NAMES)}
_CHOICES = _PLACE["choices"]
_DIGITS = _PLACE["digits"]
_OPERATORS = _PLACE["operators"]
_LATEX = _PLACE["latex"]
_CREATIVE = _PLACE["creative"]
_CODE_FENCE = _PLACE["code_fence"]
_INSTRUCTION = _PLACE["instruction"]
_CONDITIONALS = _PLACE["conditionals"]
_QUESTION = _PLACE["ends_with_question"]

_BREAK = re.compile(r"(?:[.!?:;,][$\"')]*\s|\n)[\s\"'*-]*")
"Between two clauses."
_TELLS = (
    r"(?:(?:please|now|then|also|so|hi|hello|hey|ok|okay) ){0,3}"
    r"(?:(?:can|could|would|will) you |i(?:'d| would) like you to |i (?:want|need) you to |let's )?"
    r"(?:please )?(?:help me (?:to )?)?"
)
"A clause that tells somebody to do something begins like this, and goes on with a verb."
_TEXT_VERBS = (
    r"(?:write|rewrite|compose|draft|create|generate|summari[sz]e|translate|paraphrase|implement|refactor|fix|"
    r"debug|describe|explain|discuss|outline|list|plan|design|recommend|suggest|brainstorm|compare|review|"
    r"improve|edit|continue|develop|prepare|prove|classify|extract|rank|tell me|(?:give|show|teach) me|"
    r"show (?:that|how|why)|give an? (?:overview|summary|example|solution|description)|"
    r"make (?:me )?(?:an?|up))\b"
)
_QUANTITIES = (
    r"\b(?:number|sum|total|product|quotient|remainder|average|mean|median|probability|ratio|percent|percentage|"
    r"fraction|area|perimeter|volume|length|width|height|distance|radius|diameter|circumference|angle|measure|"
    r"value|cost|price|profit|amount|age|speed|weight|mass|digit|integer|root|solution|factor|divisor|multiple|"
    r"coefficient|slope|maximum|minimum|residue|time)s?\b"
)
"What can be counted, measured or computed."
_COMPUTES = (
    r"(?:(?:calculate|compute|simplify|solve|convert|express|work out)\b|evaluate [\d(]"
    rf"|(?:find|determine|evaluate)\b[^?!\n]{{0,80}}?(?:{_QUANTITIES}|[$\\^=]))"
)
_AS_A_NUMBER = (
    r".{0,60}\b(?:in base|as (?:an?|the) (?:\w+ )?"
    r"(?:decimal|fraction|percent|percentage|number|integer|power|product|sum|ratio|expression))\b"
)
_WANTS_TEXT = re.compile(
    rf"{_TELLS}{_TEXT_VERBS}(?!{_AS_A_NUMBER})"
    r"(?! (?:down )?(?:your|the|all|each) (?:final |full )?(?:answer|reasoning|steps?|work|thinking|result))"
)
"Matches `write a story`, but neither `explain your steps` nor `write 3/8 as a decimal`."
_WANTS_QUANTITY = re.compile(rf"{_TELLS}(?:{_COMPUTES}|write{_AS_A_NUMBER})")
_ASKS_QUANTITY = re.compile(
    r"\b(?:how (?:many|much|old|far|long|tall|high|heavy|fast|wide|deep)\b"
    r"|what(?:'s| is| are| was| were| will be| would be) "
    rf"(?:[$\\\d(]|(?:\S+ ){{0,5}}?(?:{_QUANTITIES}|\b(?:small|larg|great|high|low|few)est\b))"
    rf"|what (?:fraction|percent|percentage|portion|proportion)\b|(?:and|then) {_COMPUTES})"
)
_COUNTS = re.compile(r"\bhow many\b")
_NUMBERS = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|twenty|thirty|forty|fifty|hundred|"
    r"thousand|half|third|quarter|twice|double)\b"
)
_ASKS_OUTPUT = re.compile(
    r"\bwhat\b[^?\n]{0,60}\b(?:print|output|return|evaluate)(?:s|ed)?\b|\b(?:output|return value|result) of\b"
)
_IS_OPEN = re.compile(
    r"\bwhy\b|\bhow (?:do|does|did|can|could|should|would|to|come)\b|\bwhat does\b[^?\n]{0,60}\bmean\b"
    r"|\bwhat (?:do you|should|would|can i|happen|causes|kinds? |are some)|\bshould i\b|\bgood idea\b"
    r"|\b(?:can|could|would) you\b|\bany (?:ideas|tips|advice|thoughts)\b|\brecommend|\bsuggest"
)
"A question for advice, a reason or a way, and not for a fact."


def is_checkable(text: str, named: tuple[float, ...], needs: Collection[Skill]) -> bool:
    """Whether answers to such a prompt are likely to be comparable. `named`: its features."""
    if "json" in needs or "tools" in needs:
        return True
    lowered = text.lower()
    ends = lowered
    if len(lowered) > HEAD_CHARS + TAIL_CHARS:
        ends = f"{lowered[:HEAD_CHARS]}\n{lowered[-TAIL_CHARS:]}"
    clauses = _BREAK.split(ends)
    wants_text = any(map(_WANTS_TEXT.match, clauses))
    if wants_text and named[_CREATIVE]:
        return False
    if any(words in lowered for words in ASKS_FOR_FORM) or named[_CHOICES] >= log1p(3):
        return True
    if wants_text:
        return False
    if named[_CODE_FENCE]:
        return _ASKS_OUTPUT.search(ends) is not None
    if _ASKS_QUANTITY.search(ends) or any(map(_WANTS_QUANTITY.match, clauses)):
        has_numbers = named[_LATEX] or named[_CONDITIONALS] or _NUMBERS.search(ends)
        if has_numbers or _COUNTS.search(ends):
            return True
    return _asks_fact(ends, named)


def _asks_fact(lowered: str, named: tuple[float, ...]) -> bool:
    """Whether numbers or LaTeX are in it, and no word of another kind of task."""
    if named[_CREATIVE] or named[_INSTRUCTION]:
        return False
    if named[_LATEX]:
        return True
    if not named[_DIGITS]:
        return False
    is_question = named[_QUESTION] and not _IS_OPEN.search(lowered[-_LAST_CHARS:])
    return bool(is_question or named[_OPERATORS] > _MANY_OPERATORS)
