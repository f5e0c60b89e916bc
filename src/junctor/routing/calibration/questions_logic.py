"""Questions about who stands where and who tells the truth. Pure.

Each function takes a source of chance and a level, 1..5, and gives a question and its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from random import Random

from junctor.routing.calibration.questions_words import NAMES

_ORDERS = (
    ("stand in a queue", "stands somewhere ahead of", "stands directly ahead of", "from the front"),
    ("ran a race without ties", "finished before", "finished immediately before", "to finish"),
)
_Clue = tuple[int, int, bool]
"Of two persons the one before the other; whether directly."


def ask_order(rng: Random, level: int) -> tuple[str, str]:
    """Clues that leave one order: who is the k-th?"""
    order = rng.sample(NAMES, min(7, level + 2))
    setting, before, directly, counted = rng.choice(_ORDERS)
    clues = _clues_for(rng, len(order), is_hard=level > 2)
    at = rng.randrange(len(order))
    said = [f"{order[a]} {directly if is_next else before} {order[b]}." for a, b, is_next in clues]
    rng.shuffle(said)
    people = ", ".join(sorted(order))
    asked = rng.choice(
        (f"Who is number {at + 1} {counted}?", f"Name the person who is number {at + 1} {counted}.")
    )
    return f"{people} {setting}. {' '.join(said)} {asked}", order[at]


def _clues_for(rng: Random, size: int, *, is_hard: bool) -> list[_Clue]:
    """Clues drawn until only the order 0, 1, 2, ... fits, then thinned out while it stays the only one."""
    every = [(a, b, False) for b in range(size) for a in range(b)]
    every += [(a, a + 1, True) for a in range(size - 1)]
    rng.shuffle(every)
    clues = list[_Clue]()
    orders = list(permutations(range(size)))
    while len(orders) > 1:
        clue = every.pop()
        fitting = [places for places in orders if _fits(clue, places)]
        if len(fitting) < len(orders):
            clues.append(clue)
            orders = fitting
    return _thin_out(clues, size) if is_hard else clues


def _thin_out(clues: list[_Clue], size: int) -> list[_Clue]:
    orders = list(permutations(range(size)))
    for clue in list(clues):
        others = [other for other in clues if other != clue]
        if sum(all(_fits(other, places) for other in others) for places in orders) == 1:
            clues = others
    return clues


def _fits(clue: _Clue, places: Sequence[int]) -> bool:
    """`places`: of each person."""
    a, b, is_next = clue
    return places[b] - places[a] == 1 if is_next else places[a] < places[b]


def ask_truth_tellers(rng: Random, level: int) -> tuple[str, str]:
    """An island of knights, who never lie, and knaves, who always do: how many knights?"""
    people = rng.sample(NAMES, min(6, level + 1))
    while True:
        said = [_statement(rng, at, len(people), level) for at in range(len(people))]
        worlds = [
            world
            for world in product((True, False), repeat=len(people))
            if all(_holds(statement, world) == honest for statement, honest in zip(said, world, strict=True))
        ]
        if len(worlds) == 1:
            break
    lines = [
        f"{name} says: {_spell(statement, people)}" for name, statement in zip(people, said, strict=True)
    ]
    island = rng.choice(("On an island", "In a village", "At a court"))
    text = f"{island}, knights always tell the truth and knaves always lie. {' '.join(lines)}"
    if rng.random() < 0.5:
        return f"{text} How many of the {len(people)} are knights?", str(sum(worlds[0]))
    at = rng.randrange(len(people))
    return f"{text} Is {people[at]} a knight? Answer yes or no.", "yes" if worlds[0][at] else "no"


_Statement = tuple[str, int, int]


def _statement(rng: Random, at: int, size: int, level: int) -> _Statement:
    others = [other for other in range(size) if other != at]
    one, two = rng.choice(others), rng.choice(others)
    kinds = ["knight", "knave", "same"] if level < 3 else ["knight", "knave", "same", "count", "either"]
    kind = rng.choice(kinds)
    if kind == "count":
        return kind, rng.randint(1, size - 1), 0
    return kind, (at if kind == "same" else one), (one if kind == "same" else two)


def _holds(statement: _Statement, world: Sequence[bool]) -> bool:
    kind, one, two = statement
    match kind:
        case "knight":
            return world[one]
        case "knave":
            return not world[one]
        case "same":
            return world[one] == world[two]
        case "count":
            return sum(world) == one
        case _:
            return world[one] or world[two]


def _spell(statement: _Statement, people: Sequence[str]) -> str:
    kind, one, two = statement
    match kind:
        case "knight":
            return f'"{people[one]} is a knight."'
        case "knave":
            return f'"{people[one]} is a knave."'
        case "same":
            return f'"{people[two]} and I are of the same kind."'
        case "count":
            return f'"Exactly {one} of us {"is a knight" if one == 1 else "are knights"}."'
        case _ if one == two:
            return f'"{people[one]} is a knight."'
        case _:
            return f'"{people[one]} or {people[two]} is a knight, or both are."'
