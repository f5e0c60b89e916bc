"""Stored answers come in again, as if they had just been asked for. Imported by lab/evaluate_fusion.py.

How long an answer takes is simulated from its length, at equal speed for all models: 0.5 s to the first
token, then 80 tokens a second, all of it times a lognormal factor (sigma 0.35), and six times that in 2 % of
cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fusion_data import CHARS_PER_TOKEN, Pattern, Price, Table
from junctor.fusion.ballot import Ballot
from junctor.pool.vote import Vote

FIRST_TOKEN_S = 0.5
TOKENS_PER_S = 80.0
SIGMA = 0.35
STALL_SHARE, STALL = 0.02, 6.0


@dataclass(frozen=True)
class Arrivals:
    """k members, n prompts; seconds."""

    first: np.ndarray  # (k, n): the first token
    last: np.ndarray  # (k, n): all of it


@dataclass(frozen=True)
class Replay:
    """n prompts: what a vote that ends once it is settled came to."""

    awaited: np.ndarray  # (n,): answers that were waited for
    seconds: np.ndarray  # (n,)
    all_seconds: np.ndarray  # (n,): had all been waited for
    equal: np.ndarray  # (n,) bool: the answer is that of waiting for all
    written: np.ndarray  # (k, n): share of each answer that was written by then


def simulate(chars: np.ndarray, seed: int) -> Arrivals:
    """When tokens come, for answers of these lengths."""
    rng = np.random.default_rng(seed)
    slow = rng.lognormal(0.0, SIGMA, chars.shape) * np.where(rng.random(chars.shape) < STALL_SHARE, STALL, 1)
    return Arrivals(
        first=FIRST_TOKEN_S * slow,
        last=(FIRST_TOKEN_S + chars / CHARS_PER_TOKEN / TOKENS_PER_S) * slow,
    )


def elect(ballot: Ballot, best: int) -> int:
    """Whose answer is given in the mode `vote`; where most answers cannot be compared, the best member's."""
    standpoints = ballot.count()
    return best if ballot.is_open or not standpoints else standpoints[0].members[0]


def replay(vote: Vote, table: Table, arrivals: Arrivals) -> Replay:
    """Count the votes as they come, and stop as soon as they are settled."""
    orders = arrivals.last.argsort(axis=0, kind="stable").T.tolist()
    seen = dict[tuple[Pattern, tuple[int, ...]], tuple[int, bool]]()
    awaited, equal = np.zeros(len(orders), np.int64), np.zeros(len(orders), bool)
    for at, (pattern, order) in enumerate(zip(table.patterns, orders, strict=True)):
        case = pattern, tuple(order)
        if case not in seen:
            seen[case] = _count(vote, *case)
        awaited[at], equal[at] = seen[case]
    ranked = np.sort(arrivals.last, axis=0)
    seconds = ranked[awaited - 1, np.arange(len(orders))]
    return Replay(
        awaited=awaited,
        seconds=seconds,
        all_seconds=ranked[-1],
        equal=equal,
        written=np.clip((seconds - arrivals.first) / (arrivals.last - arrivals.first), 0, 1),
    )


def _count(vote: Vote, pattern: Pattern, order: Sequence[int]) -> tuple[int, bool]:
    """How many are waited for, and whether that changed nothing."""
    ballot, awaited, early = Ballot(vote, may_be_open=False), len(order), 0
    for count, at in enumerate(order, 1):
        ballot.put(at, pattern[at])
        if ballot.is_settled and awaited == len(order):
            awaited, early = count, elect(ballot, 0)
    late = elect(ballot, 0)
    return awaited, awaited == len(order) or pattern[early] == pattern[late]


def multiply_cost(table: Table, best: int, run: Replay, prices: Mapping[str, Price]) -> tuple[float, str]:
    """What all calls cost over what the best member's alone do; and at which prices.

    An answer that is called off costs what is written by then. At list prices where each member has one; else
    only lengths count, as if all models cost the same.
    """
    if all(member in prices for member in table.members):
        known = [prices[member] for member in table.members]
        asked = np.array([[price.usd_in * price.prompt_tokens] for price in known])
        per_char = np.array([[price.usd_out / CHARS_PER_TOKEN] for price in known])
        source = "list"
    else:
        asked, per_char, source = np.zeros((len(table.members), 1)), np.ones((len(table.members), 1)), "equal"
    alone = asked + per_char * table.chars
    together = asked + per_char * table.chars * run.written
    return float(together.sum() / alone[best].sum()), source
