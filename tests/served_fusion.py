"""A configuration with fusions whose members say what tests need, and what their calls come to."""

from __future__ import annotations

import json

from tables import model_table

SUM = "How many legs do 3 cats and 15 hens have?"
"Two of three agree at once: the third is not waited for."
DIFFER = "In what do 3 models differ? How many 1s?"
"Each has its own answer: the judge is asked, in both orders, and prefers whoever is shown first."
OPEN = "Describe a trip to Rome in a few words."
"Nothing to compare: a new answer is written."
BROKEN = "Break, all of you: what is 1 + 1?"
"Nobody answers."

ANALYSIS = {
    "consensus": ["Both like Rome."],
    "contradictions": [{"topic": "how", "stances": [{"model": "A", "stance": "by train"}]}],
    "partial_coverage": [{"models": ["A"], "point": "the food"}],
    "unique_insights": [{"model": "B", "insight": "it rains"}],
    "blind_spots": ["nobody names a price"],
}
USAGE = "usage = { input_tokens = 100, output_tokens = 10 }"


def member(name: str, total: str, own: str, usd: float, ability: float, *, delay_s: float = 0.0) -> str:
    """A model that counts legs, has an opinion of its own, and fails when it is told to."""
    script = f"""[
  {{ when = "legs", delay_s = {delay_s}, text = "They have " }},
  {{ text = "\\\\boxed{{{total}}}.", {USAGE} }},
  {{ when = "differ", text = "\\\\boxed{{{own}}}", {USAGE} }},
  {{ when = "trip", text = "{name} says: go and see the Forum, the river, and all the rest.", {USAGE} }},
  {{ when = "weather", tool_call = {{ name = "weather", arguments = '{{"city": "Rome"}}' }}, {USAGE} }},
  {{ when = "Break", fail = "upstream_refused" }},
  {{ turn = true, text = "{name} has no idea.", {USAGE} }},
]"""
    return model_table(name, script=script, usd=usd, ability=ability, skills=["tools", "json"])


JUDGE = model_table(
    "judge",
    script=f"""[
  {{ when = "Several drafts", text = "Go by train, " }}, {{ text = "and see the Forum.", {USAGE} }},
  {{ when = "trip", text = '{json.dumps(ANALYSIS)}', {USAGE} }},
  {{ when = "differ", text = '{{"best": "A"}}', {USAGE} }},
  {{ turn = true, text = "I only judge.", {USAGE} }},
]""",
    usd=10.0,
    ability=0.95,
)
CONFIG = (
    '[retries]\nattempts = 1\n[routing]\ncascade = "off"\n'
    + member("small", "42", "1", 1.0, 0.7)
    + member("large", "42", "2", 30.0, 0.72)
    + member("slow", "17", "3", 2.0, 0.7, delay_s=20.0)
    + JUDGE
    + """
[[fusions]]
name = "fusion"
members = ["small", "large", "slow"]
judge = "judge"
[[fusions]]
name = "pair"
members = ["small", "large"]
judge = "judge"
mode = "merge"
"""
)
NANO = {"small": 110 * 1000, "large": 110 * 30_000, "slow": 110 * 2000, "judge": 110 * 10_000}
"What each call costs, 1e-9 USD."
