"""Which answers count as equal, and which must not: it is what a cascade stops on, and a fusion votes by."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.pool.answers import TAIL_CHARS, parse_answer

CHOICES = "Which city is the capital of France?\nA. Rome\nB. Paris\nC. Oslo\nD. Bern"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # What follows a comma, a dash, a semicolon or `for` is a part of the answer.
        ("The answer is 2x - 3.", "The answer is 2x - 7."),
        ("**Answer:** $x^2 - 4$", "**Answer:** $x^2 - 9$"),
        ("The answer is July 4, 1776.", "The answer is July 4, 1826."),
        ("The answer is A, C", "The answer is A, B"),
        ("The answer is A, C", "The answer is A"),
        ("The answer is x = 1, x = 2", "The answer is x = 1, x = 5"),
        ("The answer is x = 1; y = 2", "The answer is x = 1; y = 3"),
        ("The answer is x = 1, y = 2", "The answer is y = 1, x = 2"),
        ("The answer is 1, 2 and 3", "The answer is 1, 4 and 9"),
        ("The answer is 5 - 3i", "The answer is 5 - 4i"),
        (r"The answer is 3 - 2\sqrt{2}", "The answer is 3"),
        ("The answer is Portland, Oregon.", "The answer is Portland, Maine."),
        ("The answer is yes, if x > 0.", "The answer is yes, if x < 0."),
        ("The answer is 5 for x > 0", "The answer is 5 for x < 0"),
        ("The answer is 5 as n grows", "The answer is 5 as n shrinks"),
        ("The answer is 5, which is a loss.", "The answer is 5, which is a gain."),
        ("The answer is the sum, which is 7", "The answer is the sum, which is 9"),
        ("The answer is it fell because of wind", "The answer is it fell because of rain"),
        ("The answer is CEO since 2001", "The answer is CEO since 2002"),
        ("The answer is Dr. Smith", "The answer is Dr. Jones"),
        ("The answer is St. Louis.", "The answer is St. Paul."),
        ("The answer is No. 5", "The answer is No. 6"),
        ("The answer is U.S. Navy", "The answer is U.S. Army"),
        ("The answer is 5. Or 6.", "The answer is 5. Or 7."),
        # Names with an initial, and more than one choice.
        ("E. coli", "E. faecalis"),
        ("J. Chadwick", "J. Thomson"),
        ("A. Einstein", "A. Turing"),
        ("The answer is E. coli", "The answer is E. faecalis"),
        ("The answer is J. Chadwick.", "The answer is J. Thomson."),
        ("The answer is A. Einstein.", "The answer is A. Turing."),
        ("A: 18", "A: 20"),
        ("(A) and (C)", "(A)"),
        ("A) and B)", "A) and C)"),
        ("A and B", "A and C"),
        ("vitamin A", "vitamin"),
        ("A'", "A"),
        # What is no number, or another one.
        ("So the running time is O(n^2).", "So the running time is O(2^n)."),
        (r"Therefore, the area is $36\pi$.", "Therefore, the area is $36$."),
        ("So he needs at least 5.", "So he needs at most 5."),
        ("So it is a loss of $5.", "So it is a gain of $5."),
        ("a loss of $5", "a gain of $5"),
        ("So the change is minus 5 dollars.", "So the change is 5 dollars."),
        ("So the water falls by 5.", "So the water rises by 5."),
        ("So the total is 5 million dollars.", "So the total is 5 dollars."),
        ("So 3x = 6.", "So 4x = 6."),
        ("Thus, the ratio is 2:3.", "Thus, the ratio is 2."),
        ("They lost.\nIt is not **5**.", "They lost.\nIt is **5**."),
        ("They lost.\nIt is **5** million.", "They lost.\nIt is **5**."),
        ("They lost.\nIt is at least **5**.", "They lost.\nIt is **5**."),
        ("They lost.\nIt is **5** to 3.", "They lost.\nIt is **5** to 4."),
        ("They lost.\nIt is **5** and x.", "They lost.\nIt is **5**."),
        ("\u20135 degrees", "5 degrees"),
        ("So it is \u20135 degrees.", "So it is 5 degrees."),
        (r"\boxed{3x = 6}", "36"),
        ("The answer is 3x = 6", "36"),
        ("10~20", "1020"),
        ("10\u201320", "1020"),
        ("$3$4", "34"),
        ("5°30'", "530"),
        (r"\log_2 13", r"\log_{21} 3"),
        (r"\log_2 13", r"\log_21 3"),
        ("5!", "5"),
        ("0.999...", "0.999"),
        (r"\boxed{5}\pi", r"\boxed{5}"),
        (r"-\boxed{5}", r"\boxed{5}"),
        (r"\boxed{5} million", r"\boxed{5} billion"),
        (r"$\boxed{1}$ or $\boxed{2}$", r"$\boxed{3}$ or $\boxed{2}$"),
        # Units that are none.
        ("5 Millionen", "5 Milliarden"),
        ("5 Millionen", "5"),
        ("5 millions", "5"),
        ("5 hundred", "5"),
        ("2 thirds", "2"),
        ("3 dozen", "3"),
        ("5 pairs", "5"),
        ("5 degrees below zero", "5 degrees above zero"),
        ("5 degrees below zero", "5 degrees"),
        ("$5 profit", "$5 loss"),
        ("5 percent increase", "5 percent decrease"),
        ("5% increase", "5%"),
        ("5% of sales", "5% of costs"),
        ("7 days ago", "7 days from now"),
        ("5 fewer apples", "5 apples"),
        ("5 years older", "5 years younger"),
        ("5 km north", "5 km south"),
        ("5 times more", "5"),
        ('{"answer":"It is not possible to do it in 5 days"}', "5"),
        ('{"answer":"She earned $40 less on Friday than on Thursday."}', "40"),
        ('{"answer": 5/8', '{"answer": 5'),
        # Signs and letters in words.
        ("cos(beta + 1)", "cos(beta) + 1"),
        ("!p", "p"),
        ("~p", "p"),
        ("foo_bar", "foobar"),
        ("x-y", "x y"),
        ("x", "X"),
    ],
)
def test_different_answers_are_never_equal(one: str, other: str) -> None:
    """Or there is nothing to compare, which is as safe."""
    assert parse_answer(one) is None or parse_answer(one) != parse_answer(other)
    assert parse_answer(other) is not None or parse_answer(one) is None or parse_answer(one)


@pytest.mark.parametrize(
    ("same", "value"),
    [
        (
            (
                "B",
                "(B)",
                "B.",
                "B)",
                "**B**",
                "B) Paris",
                "(B) Paris",
                "**B) Paris**",
                "(B) because it is big",
                "The answer is B.",
                "The answer is **B**. Paris is the capital.",
                "B. None of the above",
                "B. 42",
                "Answer: B) Paris, since it is big",
                "B. It is the capital.\nThat has been so.",
                "B. Yes",
                "Option B. Paris",
            ),
            "B",
        ),
        (
            (
                "5",
                "$5",
                "5 dollars",
                "5 USD",
                "5 km",
                "5 km/h",
                "5 legs",
                "5 percent",
                "5 eggs left",
                "5 per hour",
                "$5 a day",
                "about 5",
                "x = 5",
                "5 square feet",
                "5 cm^2",
                "5 dollars in total",
                "5 cups of flour",
                "5 percentage points",
                "5 Euro",
                "5 Stunden",
                "The answer is 5.",
                "The answer is 5 because it is.",
                "The answer is 5, because 2 + 3 = 5.",
                "The answer is 5. It is so.",
                "The answer is 5 km. It is so.",
                "The answer is 5 apples, which is what he has.",
                "Therefore, there are 5 eggs left.",
                r"Thus, the value of \( k \) is \( 5 \).",
                "Add.\nTherefore, x = 5.",
                "So she makes **$5** a day.",
                "So John has **5** apples left.",
                "Add.\nSo 3 + 2 = **5**.",
                "Add.\nTotal: **5 apples**",
                "Die Antwort ist 5, weil es so ist.",
                "答案是 5。因为三加二是五。",
            ),
            "5",
        ),
        (("-5", "\u20135 degrees", "The change is -5.\nSo it is \u2013$5.", r"= -\boxed{5}"), "-5"),
        (("500", "5 hundred", "The answer is 5 hundred dollars."), "500"),
        (("36", "3 dozen", "3 dozen eggs"), "36"),
        (
            (
                "5000000",
                "5 million",
                "$5 million",
                "5 millions",
                "5 Millionen",
                r"\boxed{5} million",
                "So the total is 5 million dollars.",
            ),
            "5000000",
        ),
        (("1200", "1,200.0", "1 200", "$1,200"), "1200"),
        (("yes", "Yes!", "The answer is yes, it is.", "Answer: Yes, because 2 is prime."), "yes"),
        (("paris", "The answer is Paris. It is big.", "The answer is Paris, because it is."), "paris"),
        ((r"\boxed{1, 2}", r"\boxed{1}, \boxed{2}", r"$x = \boxed{1}$ or $x = \boxed{2}$"), "1,2"),
    ],
)
def test_one_answer_in_many_forms_is_equal(same: tuple[str, ...], value: str) -> None:
    assert {text: parse_answer(text) for text in same} == dict.fromkeys(same, value)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B. Paris", "B"),
        ("B: Paris", "B"),
        ("The correct answer is **B. Paris**.", "B"),
        ("B. Paris\n\nIt has been so for long.", "B"),
        (r"\boxed{\text{B. Paris}}", "B"),
        ('{"answer": "B. Paris"}', "B"),
        ("E. coli", "E coli"),
        ("A. Rome or B. Paris", None),
    ],
)
def test_the_question_tells_a_choice_from_an_initial(text: str, answer: str | None) -> None:
    """Where it is not known, `B. Paris` may be a name, and is the letter for nobody."""
    assert parse_answer(text, CHOICES) == answer or answer is None
    assert parse_answer(text) != "B"
    assert parse_answer("A. Einstein", "Who was it?") != parse_answer("A. Turing", "Who was it?")


WRAPPERS = (
    "{}",
    "**{}**",
    "The answer is {}",
    "The answer is {}.",
    "The final answer is **{}**.",
    "Answer: {}",
    "#### {}",
    r"So it is $\boxed{{{}}}$.",
    '{{"answer": "{}"}}',
    "The answer is {}. It is so because I say so.",
)
_polynomials = st.builds(
    "{}x^2 {} {}x {} {}".format,
    st.integers(2, 99),
    st.sampled_from("+-"),
    st.integers(2, 99),
    st.sampled_from("+-"),
    st.integers(1, 99),
)
_quantities = st.builds(
    "{} {}".format,
    st.integers(2, 10**6),
    st.sampled_from(["dollars", "km", "legs", "hours", "percent", "square feet", "miles an hour", "million"]),
)
_turned = st.builds(
    "{} {}".format,
    st.integers(2, 99),
    st.sampled_from(
        ["below zero", "above zero", "ago", "from now", "less", "more", "thirds", "profit", "loss", "lost"]
    ),
)
_states = st.sampled_from(
    ["Portland, Oregon", "Portland, Maine", "A, B", "A, C", "E. coli", "E. faecalis", "July 4, 1776"]
)
_answers = st.one_of(st.integers(-(10**6), 10**6).map(str), _polynomials, _turned, _states)


@given(_answers, _answers, st.sampled_from(WRAPPERS), st.sampled_from(WRAPPERS))
def test_two_different_answers_are_equal_in_no_words(one: str, other: str, left: str, right: str) -> None:
    if one != other:
        answer = parse_answer(left.format(one))
        assert answer is None or answer != parse_answer(right.format(other))


@given(st.one_of(_answers, _quantities), st.sampled_from(WRAPPERS))
def test_harmless_words_around_an_answer_change_nothing(stated: str, wrapper: str) -> None:
    assert parse_answer(wrapper.format(stated)) == parse_answer(stated) is not None


@given(st.tuples(_quantities, _quantities))
def test_quantities_of_different_numbers_are_never_equal(two: tuple[str, str]) -> None:
    values = [float(each.split()[0]) * (10**6 if each.endswith("million") else 1) for each in two]
    answers = [parse_answer(f"The answer is {each}") for each in two]
    assert (answers[0] == answers[1]) == (values[0] == values[1])


@pytest.mark.parametrize(
    "text",
    [
        "I can't answer that.",
        "I'm unable to help.",
        "No idea.",
        "I don't know that.",
        "Answer: unknown",
        "The answer is: I cannot say.",
        r"\boxed{\text{cannot be determined}}",
        '{"answer": "I am not able to determine this from the given information."}',
        "I'm sorry, but I can't help with that request.",
        "#### N/A",
    ],
)
def test_whoever_refuses_agrees_with_nobody(text: str) -> None:
    assert parse_answer(text) is None


HOSTILE = {
    "because": "answer is " + "because " * 13_000,
    "which": "answer is 5, " + "which, " * 15_000,
    "initials": "A. " * 34_000,
    "choices": "A) x\n" * 20_000,
    "sentences": "The answer is " + "Dr. " * 25_000,
    "sorry": "sorry " * 17_000,
    "i really": "i " + "really " * 15_000,
    "so": "So " + "it is " * 17_000 + "5",
    "units": "5 " + "million " * 13_000,
    "of": "5 cups " + "of flour " * 12_000,
    "boxes": r"\boxed{1} and " * 8_000,
    "spaces": r"\boxed{1}" + " " * (TAIL_CHARS - 30) + r"\boxed{2}",
    "bold": "**5** " * 17_000,
    "equals": "So " + "x = " * 25_000 + "5",
    "marks": "!" * 100_000,
    "quotes": "'" * 100_000,
    "stars and words": "a*_" * 34_000,
    "digits": "answer: " + "1 " * 50_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_words_cost_next_to_nothing(kind: str) -> None:
    """A generous bound, in the reply and in the question: what grows with the square takes minutes."""
    began = time.process_time()
    for cut in (len(HOSTILE[kind]), TAIL_CHARS, 400, 200, 80):
        parse_answer(HOSTILE[kind][-cut:], HOSTILE[kind])
        parse_answer(HOSTILE[kind][:cut], HOSTILE[kind])
    assert time.process_time() - began < 2
