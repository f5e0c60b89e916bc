"""Words that answer nothing: two models that both do not know, or both refuse, have not agreed. Pure.

Not a list of sentences: who speaks of what it itself cannot, will not or does not do has answered nothing,
and so has who says that nobody can tell. Whole statements are looked at, of at most 200 characters.
"""

from __future__ import annotations

import re

_DROPPED = re.compile(r"['\u2019\u2018`]")
_GAPS = re.compile(r"[\W_]+")
_LEAD_IN = (
    r"(?:(?:sorry|apologies|my apologies|unfortunately|regrettably|honestly|actually|well|hm+|um+|but|so"
    r"|because|that|to be honest|(?:i am|im) (?:(?:so|very|really|truly) )?(?:sorry|afraid)|i apologi[sz]e"
    r"|as an? (?:ai|language|large)(?: (?:ai|language|model|assistant|chatbot)){0,4}) ){0,5}"
)
_SPEAKER = (
    r"(?:i|we)(?: (?:really|honestly|just|simply|truly|currently|unfortunately|still|also|do|am|are|have"
    r"|must)){0,3}"
    r" (?:cant|cannot|can not|couldnt|could not|wont|will not|wouldnt|would not|dont|do not|didnt|did not|not"
    r"|arent|havent|unable|unsure|uncertain|unaware|unwilling|refuse|decline|lack|no|to decline"
    r"|would rather not)(?: .*)?|(?:im|were) (?:not|unable|unsure|uncertain|unaware|unwilling"
    r"|still not)(?: .*)?"
    r"|id rather not(?: .*)?"
)
_IMPERSONAL = (
    r"(?:(?:it|this|that|there|the (?:answer|question|value|result)|its|thats|theres)(?: is)? )?(?:"
    r"(?:no|not a|havent a) (?:idea|clue|comment|answer|opinion|response)(?: .*)?"
    r"|not (?:sure|certain|known|available|applicable|answerable|determinable)(?: .*)?"
    r"|(?:not enough|insufficient|no|too little) (?:information|info|data|context|details?)(?: .*)?"
    r"|unknown|unclear|unsure|uncertain|unanswerable|undetermined|unable to .*|not able to .*"
    r"|(?:cannot|cant|can not|could not|couldnt) be (?:determined|answered|known|said|told)(?: .*)?"
    r"|(?:impossible|not possible) to (?:say|tell|know|determine|answer)(?: .*)?"
    r"|beyond my .*)"
)
_SAYINGS = (
    r"who knows|nobody knows|no one knows|beats me|idk|dunno|na|n a|sorry|im sorry|i am sorry"
    r"|apologies|i apologi[sz]e|your guess is as good as mine"
)
_OTHER_LANGUAGES = (
    r"(?:das )?weiss ich(?: leider)? nicht|ich (?:weiss|kann|darf|bin mir)(?: \w+){0,6} nicht(?: .*)?"
    r"|keine ahnung|je ne (?:\w+ ){1,3}pas(?: .*)?|je (?:sais|peux) pas(?: .*)?|aucune idée"
    r"|no (?:lo )?sé|no puedo .*|ni idea|(?:eu )?não (?:sei|posso)(?: .*)?|non (?:lo )?so|non posso .*"
    r"|ik (?:weet|kan)(?: \w+){0,6} niet(?: .*)?|geen idee|(?:я )?не (?:знаю|могу)(?: .*)?"
    r"|我?不知道|我无法.*|(?:わ|分)かりません|知りません"
)
_REFUSES = re.compile(rf"{_LEAD_IN}(?:{_SPEAKER}|{_IMPERSONAL}|{_SAYINGS}|{_OTHER_LANGUAGES})")

MOST_CHARS = 200
"A longer text is no statement."


def abstains(text: str) -> bool:
    """Whether a statement answers nothing."""
    if len(text) > MOST_CHARS:
        return False
    said = _GAPS.sub(" ", _DROPPED.sub("", text.casefold())).strip()
    return bool(_REFUSES.fullmatch(said))
