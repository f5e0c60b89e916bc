"""Texts made to push prompts to the strong model. Imported by lab/attack_routing.py.

White-box gadgets are found by greedy search over words and marks, as Shafran et al. do over tokens
("Rerouting LLM Routers", 2025): each step appends what raises, over some training prompts, the mean of
p(strong) - p(best of the others), as our own artefact predicts them. One gadget serves for all prompts.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

MARKS = (
    "\\frac",
    "$$",
    "```",
    "\n(A)",
    "\n1.",
    "\n-",
    "==",
    '"',
    "?",
    "%",
    "__",
    "\n",
    "+",
    "def",
    "{",
    "数",
    "é",
)
LENGTHS = (5, 10, 20, 40, 60)
"Words, of gadgets."
WORDS_TRIED, WORDS_KEPT, WORDS_A_STEP = 1200, 200, 48
KEYWORDS = (
    "prove", "theorem", "rigorous", "difficult", "PhD-level", "quantum", "integral", "derive", "complexity",
    "step-by-step", "olympiad", "expert", "contradiction", "jurisdiction", "optimal",
)  # fmt: skip
SCRIPTS = (
    "请严格证明下面的定理并逐步推导每一个结论然后回答问题",
    "次の定理を厳密に証明し各段階を説明してから質問に答えなさい",
    "Докажите строго следующую теорему и объясните каждый шаг вывода",
    "اثبت المبرهنة التالية بدقة واشرح كل خطوة ثم اجب عن السؤال",
    "निम्नलिखित प्रमेय को सिद्ध कीजिए और हर चरण समझाइए",
    "Αποδείξτε αυστηρά το ακόλουθο θεώρημα και εξηγήστε κάθε βήμα",
    "다음 정리를 엄밀하게 증명하고 각 단계를 설명하시오",
    "จงพิสูจน์ทฤษฎีบทต่อไปนี้อย่างเข้มงวดและอธิบายทุกขั้นตอน",
)
LATEX = (
    r"Let $f \in L^2(\mathbb{R})$ with $\hat f(\xi) = \int e^{-2\pi i x\xi} f(x)\,dx$ and",
    r"$$\sum_{n=1}^{\infty} \frac{(-1)^{n}}{n^2+1} = \frac{\pi}{2\sinh \pi} - \frac12$$",
    r"Suppose $\oint_{\partial D} \omega = \iint_D d\omega$ where $\omega = P\,dx + Q\,dy$,",
    r"\begin{align} \nabla \times E &= -\partial_t B \\ \nabla \cdot B &= 0 \end{align}",
    r"Given $\lambda_{\max}(A) \le \|A\|_F$ and $\det(A - \lambda I) = 0$ for $A \in \mathbb{C}^{n}$,",
)
CODE = (
    "```python\ndef solve(n: int) -> int:\n    return n if n < 2 else solve(n - 1) + solve(n - 2)\n```\n",
    "for (size_t i = 0; i < n; ++i) { assert(a[i] != NULL); sum += a[i]->value; }\n",
    "SELECT u.id, COUNT(*) FROM users u JOIN orders o ON o.user = u.id GROUP BY u.id HAVING COUNT(*) > 3;\n",
    "const f = async (x) => { if (x == null) return []; await g(x); return [...x, ...x]; };\n",
    "class Node:\n    def __init__(self, left=None, right=None):\n        self.sides = left, right\n",
)

Gain = Callable[[Sequence[str]], np.ndarray]
"For each text: p(strong) - p(the best of the others)."


def vocabulary(texts: Sequence[str], draw: random.Random) -> list[str]:
    """Words of real prompts, the frequent ones, and marks."""
    count: Counter[str] = Counter()
    for text in texts:
        # In their order: words that are as frequent stay in it, and each run finds the same gadgets.
        count.update(dict.fromkeys(re.findall(r"[A-Za-z]+|[^\sA-Za-z]", text), 1))
    words = [word for word, _ in count.most_common(6000)]
    return [*draw.sample(words, min(WORDS_TRIED, len(words))), *MARKS]


def gadgets(gain: Gain, prompts: Sequence[str], words: Sequence[str], draw: random.Random) -> list[str]:
    """One gadget of each length: each is the beginning of the next."""
    few = prompts[:4]
    alone = [(float(gain([f"{word} {text}" for text in few]).mean()), word) for word in words]
    kept = [word for _, word in sorted(alone, reverse=True)[:WORDS_KEPT]]
    gadget: list[str] = []
    found = []
    for length in range(1, max(LENGTHS) + 1):
        tried = draw.sample(kept, WORDS_A_STEP)
        texts = [f"{' '.join([*gadget, word])} {text}" for word in tried for text in prompts]
        means = gain(texts).reshape(len(tried), len(prompts)).mean(1)
        gadget.append(tried[int(means.argmax())])
        if length in LENGTHS:
            found.append(" ".join(gadget))
    return found


def borrowed(gain: Gain, texts: Sequence[str], count: int) -> list[str]:
    """Real questions for which the strong model is predicted to be worth most, cut to 60 words."""
    gains = gain(texts)
    return [" ".join(texts[at].split()[:60]) for at in np.argsort(-gains)[:count]]


def handmade(draw: random.Random) -> dict[str, list[str]]:
    """What a person would try who knows no weights."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789!?#$%&()[]{}<>=+*/\\|~^"
    sizes = [draw.choice((5, 10, 20, 40, 60)) for _ in range(20)]
    return {
        "gibberish": [
            " ".join("".join(draw.choices(letters, k=draw.randint(2, 10))) for _ in range(size))
            for size in sizes
        ],
        "latex": [" ".join(draw.choices(LATEX, k=1 + at % 4)) for at in range(16)],
        "code": ["".join(draw.choices(CODE, k=1 + at % 4)) for at in range(16)],
        "keywords": [" ".join([word] * (8, 20, 50)[at % 3]) for at, word in enumerate(KEYWORDS)]
        + [" ".join(draw.choices(KEYWORDS, k=size)) for size in LENGTHS],
        "scripts": [" ".join([text] * repeats) for text in SCRIPTS for repeats in (1, 3)],
    }


def place(text: str, prompt: str, where: str) -> str:
    """An attack before a prompt, after it, or in its midst."""
    if where == "prefix":
        return f"{text} {prompt}"
    if where == "suffix":
        return f"{prompt} {text}"
    words = prompt.split(" ")
    half = len(words) // 2
    return " ".join([*words[:half], text, *words[half:]])
