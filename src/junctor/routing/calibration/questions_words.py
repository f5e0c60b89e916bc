"""The words that questions are dressed in, and stories told with them. Pure."""

from __future__ import annotations

from random import Random


def _words(text: str) -> list[str]:
    return text.split()


NAMES = _words(
    "Ada Bruno Chiara Dmitri Elif Farid Greta Hugo Ines Jonas Kavya Liam Mina Noor Omar Petra Quentin Rosa "
    "Sven Tara Umut Vera Wanda Xavier Yusuf Zoe"
)
WEEKDAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
THINGS = _words(
    "pencils apples stickers marbles postcards buttons candles notebooks oranges seeds tiles badges"
)
WORDS = _words(
    "harbour lantern meadow puzzle rocket silver thunder velvet window yellow basket candle dragon engine "
    "forest garden hammer island jacket kitchen ladder mirror needle orange pepper quarter ribbon saddle "
    "timber umbrella violin walnut anchor bridge copper desert ember feather glacier helmet"
)


def tell_stock(rng: Random, level: int) -> tuple[str, str]:
    """Somebody's things become more and fewer, one step more often than the level: the story, the rest."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    have = rng.randint(12, 40) * (1 + level)
    opening = rng.choice(("{} has {} {}.", "{} starts the week with {} {}.", "{} finds a box with {} {}."))
    said = [opening.format(name, have, thing)]
    for _ in range(level + 1):
        have, sentence = _take_step(rng, have, name)
        said.append(sentence)
    asked = rng.choice(("How many {0} does {1} have now?", "How many {0} are left with {1} in the end?"))
    return " ".join([*said, asked.format(thing, name)]), str(have)


def _take_step(rng: Random, have: int, name: str) -> tuple[int, str]:
    step = rng.choice(("gain", "give", "share", "grow")) if have >= 12 else "gain"
    if step == "gain":
        packs, size = rng.randint(2, 9), rng.randint(3, 15)
        said = rng.choice(("A friend brings {} packs of {}.", "Then {} bags with {} each arrive."))
        return have + packs * size, said.format(packs, size)
    if step == "give":
        gone = rng.randint(1, have // 3)
        return have - gone, rng.choice(("{} gives away {}.", "{} loses {}.", "{} sells {}.")).format(
            name, gone
        )
    if step == "share":
        parts = rng.randint(2, 5)
        said = f"{name} makes {parts} equal heaps, as large as possible, and keeps one and what is left over."
        return have // parts + have % parts, said
    times, word = rng.choice(((2, "twice"), (3, "three times")))
    return have * times, f"Then {name} is given so many more that there are {word} as many as before."
