"""What a prompt asks for, by its words: one answer, or a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.routing.features import extract_features
from junctor.routing.wording import HEAD_CHARS, TAIL_CHARS, is_checkable

ONE_ANSWER = (
    "How many legs do 3 cats and 15 hens have?",
    "What is 17 * 23?",
    "Solve 3x = 9",
    "Find the sum of all integers with \\(|x| < 7\\).",
    "Which one orbits the sun?\nA. Moon\nB. Io\nC. Mars\nD. Titan",
    "Is the earth flat? Answer with yes or no.",
    "Explain your steps. Put your final answer in \\boxed{}.",
    "A train leaves at 9:40 and arrives at 13:05. For how many minutes does it travel?",
    "Tom writes 3 letters a day. Each letter takes 20 minutes. Calculate the time for a week's letters.",
    "A printer creates 12 pages a minute. Find the number of pages it prints in 2.5 hours.",
    "Mia gives half of her 48 stickers to Leo and 5 to Ann. How many does she keep?",
    "The second story of a house is 3 m high and the first is 4 m high. What is the total height?",
    "Three friends share a name list of 60 people equally. How many names does each of them call?",
    "A rectangle is 7 cm by 9 cm. Determine its area.",
    "Compute 15% of 240.",
    "Convert 5 miles to kilometres.",
    "If 3 pens cost $4.50, what do 7 pens cost?",
    "Simplify (x^2 - 9)/(x - 3).",
    "Solve for y: 2y + 7 = 19.",
    "How many ways are there to seat five people around a table?",
    "How many sides does a dodecagon have?",
    "What is the probability that two dice show the same number?",
    "What is the greatest common divisor of 84 and 126",
    "Evaluate 7! / 5!.",
    "A recipe for 4 people needs 600 g of flour. Work out the amount for 10 people.",
    "Let f(n) = 3n + 2. Find f(f(4)).",
    "A list has 40 numbers of mean 12. Two of them, 8 and 4, are taken off. What is the mean of the rest?",
    "Which word means happy?\nA. glad\nB. sad\nC. tall",
    "Who wrote the poem The Raven?\nA) Poe\nB) Frost\nC) Blake\nD) Keats",
    "Which of these is a song by Queen?\n(A) Yesterday\n(B) Bohemian Rhapsody\n(C) Thriller\n(D) Imagine",
    "```python\ndef f(x):\n    return x[::-1] + 'a'\nprint(f('bc'))\n```\nWhat does this program print?",
    "What is the output of the following code?\n```\nfor i in range(3): print(i * i)\n```",
    "def g(a, b=2): return a ** b\n\nWhat does g(3) return?",
    "Classify the sentiment as positive or negative. Answer with one word: I loved it.",
    "Is 91 prime? Answer yes or no.",
    "True or false: the sum of two odd numbers is odd.",
    "Write 3/8 as a decimal.",
    "Express 0.125 as a common fraction.",
    "Translate 'dog' to French. Only the answer, please.",
    "The perimeter of a square is 36. Find its area.",
    "I bought 3 apples for 50 cents each and 2 pears for 70 cents each; how much did I pay?",
    "A shop sold 120 shirts on Monday and 25% more on Tuesday. Calculate how many it sold on both days.",
    "Anna is twice as old as Ben was when she was his age now. Together they are 63. How old is Anna?",
    "Every hour a tank loses a third of its water. What fraction is left after four hours?",
    "Determine the smallest positive integer that leaves 2 when divided by 5 and 3 when divided by 7.",
    "A company's 8 trucks deliver 1,240 parcels a week. At that rate, how many trucks deliver 2,325?",
    "Given that a + b = 10 and ab = 21, find a^2 + b^2.",
    "To make a cake, 3 eggs are needed. The list says 4 cakes. How many eggs is that?",
    "Take $12$ in base $3$, write the result backwards, and read it in base $10$. What is $n - 12$?",
    "What is the smallest prime above twenty?",
    "Given that $f(0) = 5,$ find $f(5)$.",
    "How high is a wall of two stories of 20 rows of 15 cm each?",
)
A_TEXT = (
    "",
    "Hello",
    "Write a poem about 3 cats.",
    "Tell me a story in 100 words. How many words is it?",
    "Write a function that adds 2 numbers.",
    "Summarise this text: in 1999, 3 + 4 people met.",
    "How do I sort a list in Python?",
    "Why is the sky blue?",
    "```\nprint(1 + 1)\n```\nWhat does it do?",
    "What do you think of the news?",
    "Write a poem with 4 verses about the sea.",
    "Compose a letter to my landlord about the 2 broken windows.",
    "Tell me a joke about 3 programmers.",
    "Give me 5 ideas for a birthday party.",
    "Can you write an email to 20 colleagues that calls off Friday's meeting?",
    "Please summarise the following: in 2021 sales were 4 million, in 2022 they were 6 million.",
    "Explain how a 4-stroke engine works.",
    "Describe the 3 branches of government.",
    "How do I fix error 404 in nginx?",
    "Why does Python 3 not have a print statement?",
    "What should I do with 3 days in Rome?",
    "Can you recommend 3 books on Roman history?",
    "List the 50 states.",
    "Translate this to German: I have 2 dogs and 3 cats.",
    "Write a SQL query that returns the 10 best customers.",
    "Implement quicksort in Rust.",
    "Refactor this:\n```js\nlet a = 1 + 2\n```",
    "```python\nx = [1, 2\n```\nWhy do I get a syntax error?",
    "Fix the bug in this function: def f(x): return x + 1 if x = 2",
    "What is the difference between TCP and UDP?",
    "What do you think of remote work?",
    "How are you today?",
    "Tell me about the French Revolution of 1789.",
    "Plan a 7-day trip to Japan for 2 adults and 1 child.",
    "Draft a job advert for a baker, 30 hours a week.",
    "Generate 10 names for my cat.",
    "Discuss the pros and cons of nuclear energy in 500 words.",
    "Create a workout plan with 3 sessions a week.",
    "How would you explain recursion to a child of 7?",
    "I have 2 job offers, one pays 60k and one 70k but is far away. What should I choose?",
    "Rewrite this sentence: he have 3 car.",
    "Compare the iPhone 14 and the iPhone 15.",
    "Give an overview of HTTP/2.",
    "I can't find 3 files on my laptop. Help!",
    "Outline a talk of 20 minutes on bees.",
    "Hi, can you help me with my maths homework?",
    "What happened in 1968?",
    "Create a table of the planets with their number of moons.",
    "Write a story in which someone asks: how many stars are there?",
    "Prove that there are infinitely many primes.",
    "Show that $n^2 + n$ is even for every integer $n$.",
    "How can I learn Spanish in 6 months?",
    "Make a quiz with 5 questions and the choices A, B and C for each.",
    "Is it a good idea to drink 3 cups of coffee a day?",
    "Could you review my essay? It has 800 words.",
    "What does the error 'list index out of range' mean?",
    "Find a good restaurant near 5th Avenue.",
    "Determine why my server with 2 CPUs is slow.",
    "Calculate the complexity of this and explain it:\n```\nfor i in a: for j in a: print(i, j)\n```",
    "Continue the story: in 1820 two brothers set out for the sea.",
    "Write a Python script to calculate the average of 10 numbers.",
    "Write unit tests for a function that adds 2 numbers.",
    "How long does it usually take to get used to a new city?",
    "How much should I tip in restaurants?",
    "Help me to write a toast for 2 friends.",
    "I want you to act as a guide of 3 cities, and tell me about them.",
    "What is the nicest way to say no to 2 colleagues? I cannot say it to them.",
)


def asks(text: str, *needs: str) -> bool:
    return is_checkable(text, extract_features(text).named, needs)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("text", ONE_ANSWER)
def test_prompts_with_one_answer_are_checkable(text: str) -> None:
    assert asks(text)
    assert asks(f"Hello,\n\n{text}\n"), "a greeting changes nothing"


@pytest.mark.parametrize("text", A_TEXT)
def test_prompts_for_a_text_are_not(text: str) -> None:
    assert not asks(text)
    assert not asks(f"Hi! {text}")


def test_json_and_tools_can_be_compared_whatever_the_prompt() -> None:
    assert asks("Write a poem", "json")
    assert asks("Write a poem", "tools")
    assert not asks("Write a poem", "vision")


def test_a_word_of_a_story_is_no_order_to_write_one() -> None:
    assert asks("Ann can write 3 letters an hour. How many letters does she write in 4 hours?")
    assert not asks("Write 3 letters for Ann. How many she sends is up to her.")


def test_a_stated_form_settles_it_but_for_a_poem() -> None:
    assert asks("Describe the weather in London. Answer with one word.")
    assert not asks("Write a poem. It shall be about true or false friends.")


def test_of_a_long_text_both_ends_count_and_what_lies_between_does_not() -> None:
    """A document that is talked about asks for nothing."""
    filler = "The hens of 1984 were many. " * 200
    assert len(filler) > 2 * (HEAD_CHARS + TAIL_CHARS)
    assert asks(f"How many hens are in this text? {filler}")
    assert asks(f"{filler} How many hens are in this text?")
    assert not asks(f"{filler} How many hens are there? {filler}")
    assert not asks(f"Summarise this. {filler} How many hens are there?")


@given(
    st.text(
        st.sampled_from(" \n.,;:?!'*-write find how many the number of 12 a poem please\\$"), max_size=400
    )
)
def test_any_text_is_judged(text: str) -> None:
    assert asks(text) in (True, False)
