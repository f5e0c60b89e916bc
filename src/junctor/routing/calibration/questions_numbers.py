"""Questions about numbers: word problems, algebra, units, dates, sequences, chance. Pure.

Each function takes a source of chance and a level, 1..5, and gives a question and its answer.
"""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from math import comb, factorial, perm
from random import Random

from junctor.routing.calibration.questions_words import NAMES, WEEKDAYS, tell_stock

Asked = tuple[str, str]


def ask_word_problem(rng: Random, level: int) -> Asked:
    """A story with as many steps as its level, or one more."""
    return rng.choice((tell_stock, _journey, _wages, _recipe))(rng, level)


def _journey(rng: Random, level: int) -> Asked:
    legs = [(rng.randrange(10, 100, 5), rng.randrange(30, 240, 6)) for _ in range(level)]
    metres = sum(minutes * speed * 1000 // 60 for minutes, speed in legs)
    who = rng.choice(("A train", "A coach", "A courier's van", "A night express"))
    said = ", then ".join(f"{minutes} minutes at {speed} km/h" for minutes, speed in legs)
    asked = rng.choice(("How many metres does it cover?", "How far does it get, in metres?"))
    return f"{who} goes {said}. {asked}", str(metres)


def _wages(rng: Random, level: int) -> Asked:
    name, hourly, days, hours = (
        rng.choice(NAMES),
        rng.randint(11, 38),
        rng.randint(2, 5),
        rng.randint(4, 9),
    )
    pay = days * hours * hourly
    said = [f"{name} works {hours} hours a day for {days} days at {hourly} euros an hour."]
    if level > 1:
        extra, more = rng.randint(2, 9), rng.randint(2, 12)
        pay += extra * (hourly + more)
        said.append(f"Besides, there are {extra} extra hours, each paid {more} euros more than usual.")
    if level > 2:
        fee = rng.randint(3, 20)
        pay -= fee * days
        said.append(f"The way there costs {fee} euros on each of the {days} days.")
    if level > 3:
        friends = rng.randint(2, 5)
        pay *= friends + 1
        said.append(f"{friends} colleagues have exactly the same week, and all put their money together.")
    if level > 4:
        price = rng.randint(13, 47)
        said.append(f"With it they buy as many tickets as they can, at {price} euros each.")
        return " ".join([*said, "How many euros remain?"]), str(pay % price)
    asked = rng.choice(("How many euros is that?", "What does it come to, in euros?"))
    return " ".join([*said, asked]), str(pay)


def _recipe(rng: Random, level: int) -> Asked:
    people, each, wanted = rng.randint(2, 6), rng.randint(15, 120), rng.randint(7, 60)
    need = each * wanted
    text = f"A recipe for {people} people takes {people * each} g of flour. A canteen cooks it for {wanted}."
    if level == 1:
        return f"{text} How many grams of flour does it need?", str(need)
    bag = rng.choice((250, 500, 750, 1000))
    bags = -(-need // bag)
    text += f" Flour comes in bags of {bag} g, and only whole bags are sold."
    if level == 2:
        return f"{text} How many bags must it buy?", str(bags)
    if level == 3:
        return f"{text} It buys just enough. How many grams are left over?", str(bags * bag - need)
    cents, free = rng.randint(35, 240), rng.randint(4, 7)
    text += f" A bag costs {cents} cents."
    if level > 4:
        text += f" Of every {free} bags taken, one is free."
        bags -= bags // free
    return f"{text} How many cents does it pay for just enough bags?", str(bags * cents)


def ask_algebra(rng: Random, level: int) -> Asked:
    """An equation with whole solutions."""
    x, a, b = rng.randint(-9, 15), rng.randint(2, 9), rng.randint(-20, 30)
    if level == 1:
        return f"Solve for x: {a}x {_signed(b)} = {a * x + b}. What is x?", str(x)
    c = rng.randint(1, a - 1) if a > 2 else 1
    if level == 2:
        right = (a - c) * x + b
        return f"For which x is {a}x {_signed(b)} = {_times_x(c)} {_signed(right)}?", str(x)
    y = rng.randint(-9, 15)
    if level == 3:
        d = rng.choice([other for other in range(2, 9) if other != a])
        system = f"{a}x + y = {a * x + y} and {d}x + y = {d * x + y}"
        return f"The numbers x and y satisfy {system}. What is x + 2y?", str(x + 2 * y)
    if level == 4:
        big, small = max(x, y), min(x, y)
        middle = f"{'-' if big + small > 0 else '+'} {_times_x(abs(big + small))}"
        equation = f"x^2 {middle} {_signed(big * small)} = 0"
        asked = rng.choice(("larger", "smaller"))
        return (
            f"What is the {asked} solution of {equation}? (If there is only one, give that.)",
            str(big if asked == "larger" else small),
        )
    z = rng.randint(-9, 15)
    sums = f"x + y + z = {x + y + z}, x - y + 2z = {x - y + 2 * z} and {a}x + y - z = {a * x + y - z}"
    # One solution: the determinant is 3a + 1.
    return f"Given {sums}, find the product xyz.", str(x * y * z)


def _times_x(number: int) -> str:
    return "x" if number == 1 else f"{number}x"


def _signed(number: int) -> str:
    return f"+ {number}" if number >= 0 else f"- {-number}"


_UNITS = (
    ("kilometres", "metres", 1000),
    ("metres", "centimetres", 100),
    ("kilograms", "grams", 1000),
    ("litres", "millilitres", 1000),
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("days", "hours", 24),
    ("weeks", "days", 7),
    ("square metres", "square centimetres", 10_000),
    ("cubic metres", "litres", 1000),
)
_RATES = (
    ("metres per second", "kilometres per hour", Fraction(18, 5)),
    ("litres per second", "litres per hour", Fraction(3600)),
)


def ask_units(rng: Random, level: int) -> Asked:
    """A conversion, or several in one."""
    large, small, factor = rng.choice(_UNITS)
    many = rng.randint(2, 40)
    if level == 1:
        return f"How many {small} are {many} {large}?", str(many * factor)
    if level == 2:
        rest = rng.randint(2, factor - 1)
        return f"Express {many} {large} and {rest} {small} in {small}.", str(many * factor + rest)
    if level == 3:
        total = rng.randint(2, 40) * 3600 + rng.randint(0, 3599)
        asked = rng.choice(("minutes", "seconds"))
        left = total % 3600 // 60 if asked == "minutes" else total % 60
        return (
            (
                f"{total} seconds are written as hours, minutes (below 60) and seconds (below 60). "
                f"What is the number of {asked}?"
            ),
            str(left),
        )
    speed = rng.randint(1, 30) * 5
    if level == 4:
        slow, fast, rate = rng.choice(_RATES)
        return f"Convert {speed} {slow} to {fast}.", str(speed * rate)
    sides = [rng.randint(2, 30) * 10 for _ in range(3)]
    flow = rng.choice((2, 4, 5, 10))
    litres = sides[0] * sides[1] * sides[2] // 1000
    seconds = -(-litres * 10 // flow)
    return (
        (
            f"A tank is {sides[0]} cm long, {sides[1]} cm wide and {sides[2]} cm high. A tap gives "
            f"{flow} litres every 10 seconds. After how many whole seconds at the latest is "
            "the empty tank full? (Round up.)"
        ),
        str(seconds),
    )


def ask_dates(rng: Random, level: int) -> Asked:
    """Days and weekdays, leap years included."""
    start = date(rng.randint(1990, 2060), 1, 1) + timedelta(rng.randint(0, 360))
    today = rng.choice(WEEKDAYS)
    if level == 1:
        days = rng.randint(8, 90)
        day = WEEKDAYS[(WEEKDAYS.index(today) + days) % 7]
        asked = rng.choice(("Which weekday is it in {} days?", "What day of the week comes {} days later?"))
        return f"Today is {today}. {asked.format(days)}", day
    if level == 2:
        later = start + timedelta(rng.randint(20, 150))
        return (
            f"How many days are there from {_spell(start)} to {_spell(later)} (the first day not counted)?",
            str((later - start).days),
        )
    days = rng.randint(100, 900)
    later = start + timedelta(days)
    if level == 3:
        return (
            f"{_spell(start)} is a {_weekday(start)}. What weekday is {_spell(later)}?",
            _weekday(later),
        )
    if level == 4:
        return f"What day of the month is it {days} days after {_spell(start)}?", str(later.day)
    last = start.replace(year=start.year + rng.randint(3, 12), day=1)
    hits = sum(
        (start + timedelta(at)).day == 13 and (start + timedelta(at)).weekday() == 4
        for at in range((last - start).days + 1)
    )
    return (
        (
            f"{_spell(start)} is a {_weekday(start)}. How many Fridays that are the 13th of a month fall "
            f"between {_spell(start)} and {_spell(last)}, both included?"
        ),
        str(hits),
    )


def _spell(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


def _weekday(day: date) -> str:
    return WEEKDAYS[day.weekday()]


def ask_sequence(rng: Random, level: int) -> Asked:
    """What comes next in a sequence of whole numbers."""
    terms = _SEQUENCES[level - 1](rng)
    asked = rng.choice(("What comes next: {}, ...?", "Continue the sequence {}, ... Which number follows?"))
    return asked.format(", ".join(map(str, terms[:-1]))), str(terms[-1])


def _steady(rng: Random) -> list[int]:
    first, step = rng.randint(-20, 60), rng.choice([step for step in range(-14, 15) if abs(step) > 1])
    return [first + step * at for at in range(6)]


def _growing(rng: Random) -> list[int]:
    first, factor, plus = rng.randint(1, 6), rng.choice((2, 3)), rng.randint(-2, 5)
    terms = [first + 3]
    while len(terms) < 6:
        terms.append(terms[-1] * factor + plus)
    return terms


def _quadratic(rng: Random) -> list[int]:
    a, b, c = rng.randint(1, 4), rng.randint(-6, 9), rng.randint(-10, 20)
    return [a * at * at + b * at + c for at in range(1, 8)]


def _interleaved(rng: Random) -> list[int]:
    one, other = _steady(rng), _growing(rng)
    return [term for pair in zip(one, other, strict=True) for term in pair][: rng.choice((9, 10))]


def _recurrent(rng: Random) -> list[int]:
    terms = [rng.randint(1, 6), rng.randint(1, 9)]
    a, b, plus = rng.randint(1, 3), rng.choice((-1, 1, 2)), rng.randint(-3, 4)
    while len(terms) < 8:
        terms.append(a * terms[-1] + b * terms[-2] + plus)
    return terms


_SEQUENCES = (_steady, _growing, _quadratic, _interleaved, _recurrent)


def ask_chance(rng: Random, level: int) -> Asked:
    """Counting, and probabilities as m/n, of which m + n is asked."""
    n, k = rng.randint(6, 14), rng.randint(2, 4)
    who = rng.choice(("a club of {} people", "a class of {}", "a choir of {} singers")).format(n)
    if level == 1:
        many = rng.randint(4, 7)
        return f"In how many orders can {many} different books stand on a shelf?", str(factorial(many))
    if level == 2:
        return f"In how many ways can {k} people be chosen from {who}?", str(comb(n, k))
    red, blue = rng.randint(2, 9), rng.randint(2, 9)
    if level == 3:
        return _as_sum(
            f"A bag holds {red} red and {blue} blue balls. Two are drawn at once. "
            "The probability that both are red is",
            Fraction(comb(red, 2), comb(red + blue, 2)),
        )
    if level == 4:
        offices = ", ".join(("a chair", "a treasurer", "a secretary", "a librarian")[:k])
        barred = rng.choice(NAMES)
        return (
            (
                f"From {who} that includes {barred}, different people are to be {offices}. {barred} must "
                "not be the chair, but may hold another office. In how many ways can it be done?"
            ),
            str((n - 1) * perm(n - 1, k - 1)),
        )
    wanted, dice = rng.randint(5, 16), 3
    ways = sum(
        a + b + wanted - a - b == wanted and 1 <= wanted - a - b <= 6
        for a in range(1, 7)
        for b in range(1, 7)
    )
    return _as_sum(
        f"{dice} fair dice are rolled, and a coin is tossed {k} times. The probability that the dice sum to "
        f"exactly {wanted} and all tosses show heads is",
        Fraction(ways, 6**dice * 2**k),
    )


def _as_sum(text: str, p: Fraction) -> Asked:
    return f"{text} m/n in lowest terms. What is m + n?", str(p.numerator + p.denominator)
