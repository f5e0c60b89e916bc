"""`junctor calibrate` with scripted models, through the real command line and a real database."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from command import Junctor
from junctor.routing.calibration.questions import make_questions
from running import running

SKILLS = {"mini": 0.8, "small": 0.85, "large": 0.95}
PRICES = {"mini": 0.15, "small": 0.3, "large": 20.0}
USAGE = "{ input_tokens = 40, output_tokens = 100 }"


def write_pool(
    home: Path, count: int = 120, *, skills: dict[str, float] = SKILLS, delay: float = 0, seed: int = 0
) -> None:
    """Three models that get a share of the prompts `Q1:`, `Q2:` ... right; and a file of these prompts."""
    lines, models = list[str](), {name: list[str]() for name in skills}
    chance = {name: random.Random(f"{name} {seed}") for name in skills}
    for at in range(count):
        lines.append(json.dumps({"prompt": f"Q{at}: what is {at} + {at}?", "answer": 2 * at}))
        for name, skill in skills.items():
            draw = chance[name]
            said = 2 * at if draw.random() < skill else draw.randint(1000, 9999)
            text = json.dumps(f"Let me see.\nAnswer: {said}")
            turn = f'when = "Q{at}:", delay_s = {delay}, text = {text}, usage = {USAGE}'
            models[name].append(f"{{ {turn} }},")
    (home / "prompts.jsonl").write_text("\n".join(lines))
    tables = [
        f'[[models]]\nname = "{name}"\nprovider = "scripted"\n'
        f"price = {{ input = {PRICES[name]}, output = {PRICES[name]} }}\nscript = [\n"
        + "\n".join(turns)
        + "\n]\n"
        for name, turns in models.items()
    ]
    (home / "junctor.toml").write_text("\n".join(tables))


def ids_of(text: str) -> dict[str, str]:
    """Of each kind, the id that a report names."""
    return dict(re.findall(r"(ladder|abilities) (cal_[0-9a-f]{32})", text))


def test_a_pool_is_measured_and_gets_a_ladder(home: Path, junctor: Junctor) -> None:
    write_pool(home, 300)
    done = junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9")
    assert done.exit_code == 0, done.output
    assert "300 questions to 3 models: 900 calls, about " in done.stderr
    assert "Strongest: large. Ladder: small and mini, then large." in done.stdout
    assert re.search(r"balanced saves \d\d%; \d\d\.\d% right, large alone 9\d\.\d%", done.stdout)
    assert re.search(r"mini +8\d\.\d% +7\d \.\. 8\d % +0\.\d\d ± 0\.\d\d +0\.000021 +100 +300", done.stdout)
    assert done.stdout.count("in force from now on") == 3, "a ladder, abilities, votes"
    assert re.search(r"like your prompts: (harder|easier) than .*, by \d\.\d ± \d\.\d logits", done.stdout)
    assert set(ids_of(done.stdout)) == {"ladder", "abilities"}
    assert list((home / "data" / "calibration").iterdir()) == [], "nothing is left to go on with"
    assert len(re.findall(r"measured: 0\.\d\d ± 0\.\d\d", junctor("models").stdout)) == 3


def test_where_all_are_right_the_cheap_ones_answer(home: Path, junctor: Junctor) -> None:
    """Nothing tells them apart but their price: that is an answer, too, and it saves nearly everything."""
    write_pool(home, 200, skills={"mini": 1.0, "small": 1.0, "large": 1.0})
    done = junctor("calibrate", "--prompts", "prompts.jsonl")
    assert done.exit_code == 0, done.output
    assert "Strongest by what was known before: large." in done.stdout
    assert re.search(r"balanced saves 9\d%; 100\.0% right, large alone 100\.0%", done.stdout)
    with running((home / "junctor.toml").read_text(), home / "data") as server:
        body = json.dumps(
            {"model": "auto", "messages": [{"role": "user", "content": "Q7: what is 7 + 7?"}]}
        ).encode()
        with urlopen(Request(f"{server.api}/chat/completions", body)) as reply:
            assert reply.headers["x-junctor-model"] in ("mini", "small")


def test_questions_of_our_own_are_new_each_time(home: Path, junctor: Junctor) -> None:
    """Scripted models know none of the answers, but the questions are asked, and scored."""
    (home / "junctor.toml").write_text(
        '[[models]]\nname = "parrot"\nprovider = "scripted"\nprice = { input = 1, output = 1 }\n'
        'script = [{ text = "Answer: 7" }]\n'
    )
    first = junctor("calibrate", "--count", "24")
    assert first.exit_code == 0, first.output
    assert "No ladder: 24 prompts prove nothing; 100 are the least" in first.stdout
    sevens = [sum(it.answer == "7" for it in make_questions(24, seed)) for seed in (1, 2)]
    assert f" {sevens[0] / 24:.1%} " in first.stdout
    second = junctor("calibrate", "--count", "24")
    assert f" {sevens[1] / 24:.1%} " in second.stdout


def test_a_second_calibration_keeps_a_ladder_that_is_as_good_and_one_can_go_back(
    home: Path, junctor: Junctor
) -> None:
    write_pool(home, 200)
    first = ids_of(junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9").stdout)
    again = junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9").stdout
    assert "kept, not in force: the one before is as good" in again
    assert "on 200 prompts that neither was learnt from" in again
    assert "when it reloads" not in again, "nothing has changed"
    listed = junctor("calibrate", "--list").stdout
    assert len(re.findall(r"^cal_\w+  \S+ \S+  (?:ladder|abilities)", listed, re.MULTILINE)) == 4
    assert re.search(rf"{first['ladder']}  .* ladder, in force", listed)
    second = ids_of(again)
    done = junctor("calibrate", "--use", second["ladder"])
    assert f"{second['ladder']} is the ladder in force" in done.stdout
    assert re.search(rf"{second['ladder']}  \S+ \S+  ladder, in force", junctor("calibrate", "--list").stdout)


def test_a_stricter_floor_that_is_asked_for_takes_effect(home: Path, junctor: Junctor) -> None:
    """And one that is kept says by which command it comes into force all the same."""
    write_pool(home, 200)
    assert junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9").exit_code == 0
    stricter = junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.995").stdout
    assert "in force from now on: it promises more than the one before, as you asked" in stricter
    assert "The one before: at least 90% of the quality of large, with 95% confidence." in stricter
    assert "at least 99.5% of it with 95% confidence" in stricter
    looser = junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.995").stdout
    for kind, made in ids_of(looser).items():
        assert re.search(rf"{kind} {made}: kept, not in force", looser)
        assert f"`junctor calibrate --use {made}` puts it in force." in looser


def test_prompts_without_answers_do_not_unseat_what_right_answers_taught(
    home: Path, junctor: Junctor
) -> None:
    write_pool(home, 120)
    lines = [json.loads(line) for line in (home / "prompts.jsonl").read_text().splitlines()]
    (home / "bare.jsonl").write_text("\n".join(json.dumps({"prompt": it["prompt"]}) for it in lines))
    first = ids_of(junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9").stdout)
    done = junctor("calibrate", "--prompts", "bare.jsonl", "--floor", "0.9", "--strongest", "large")
    assert done.exit_code == 0, done.output
    assert re.search(r"large +100\.0% +97 \.\. 100 %", done.stdout)
    assert (
        done.stdout.count("the one before was learnt from answers known to be right, and this one from") == 2
    )
    listed = junctor("calibrate", "--list").stdout
    for kind, made in first.items():
        assert re.search(rf"{made}  .* {kind}, in force", listed)


def test_a_calibration_that_ranks_nobody_says_so_and_is_not_used(home: Path, junctor: Junctor) -> None:
    """Not a single answer is right: the strongest is the one of old, and the interval is honest."""
    write_pool(home, 5, skills={"mini": 0.0, "small": 0.0, "large": 0.0})
    done = junctor("calibrate", "--prompts", "prompts.jsonl")
    assert done.exit_code == 0, done.output
    assert len(re.findall(r"0\.0% +0 \.\. 43 %", done.stdout)) == 3
    said = "This calibration cannot rank your models: no model got more than 0.0% of the answers right."
    assert said in done.stdout
    assert "--max-tokens" in done.stdout
    assert "Strongest by what was known before: large." in done.stdout
    assert "kept, not in force: these answers do not tell the models apart" in done.stdout
    assert "in force from now on" not in done.stdout


def test_a_ladder_that_does_not_hold_any_more_is_replaced(home: Path, junctor: Junctor) -> None:
    write_pool(home, 200)
    junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9")
    write_pool(home, 200, skills={"mini": 0.1, "small": 0.1, "large": 0.95}, seed=1)
    done = junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9")
    assert re.search(
        "the one before does not hold its promise any more|better than the one before", done.stdout
    )


def test_it_stops_before_it_costs_too_much_and_uses_what_is_there(home: Path, junctor: Junctor) -> None:
    """Ten answers of `large` may cost 0.2 USD at most; each costs 0.0028."""
    write_pool(home)
    words = ("calibrate", "--prompts", "prompts.jsonl", "--max-tokens", "200")
    done = junctor(*words, "--max-usd", "0.1")
    assert done.exit_code == 0, done.output
    said = re.search(r"Stopped at (0\.\d+) USD", done.stderr)
    assert said
    assert 0.05 < float(said[1]) <= 0.1
    answers = re.search(r"large .* (\d+) *$", done.stdout, re.MULTILINE)
    assert answers
    assert 10 < int(answers[1]) < 120
    assert "No ladder" in done.stdout
    on = junctor(*words)
    assert "answers are here already" in on.stderr
    assert re.search(r"large .* 120 *$", on.stdout, re.MULTILINE)
    assert list((home / "data" / "calibration").iterdir()) == []


def test_a_killed_run_goes_on_where_it_was(home: Path, junctor: Junctor) -> None:
    write_pool(home, delay=0.05)
    words = ("calibrate", "--prompts", "prompts.jsonl", "--concurrency", "4")
    process = subprocess.Popen([sys.executable, "-m", "junctor", *words], cwd=home, stderr=subprocess.DEVNULL)
    folder, deadline = home / "data" / "calibration", time.monotonic() + 60
    while sum(len(it.read_bytes().splitlines()) for it in folder.glob("*.jsonl")) < 30:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (log,) = folder.iterdir()
    kept = len(log.read_bytes().splitlines())
    write_pool(home)
    done = junctor(*words)
    assert done.exit_code == 0, done.output
    found = re.search(r"120 questions to 3 models: (\d+) calls", done.stderr)
    assert found
    assert 30 <= 360 - int(found[1]) <= kept
    assert len(re.findall(r" 120 *$", done.stdout, re.MULTILINE)) == 3


def heed_interrupts() -> None:
    """Whoever runs the tests in the background of a shell ignores SIGINT, and so do their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupted_run_says_that_it_can_go_on(home: Path) -> None:
    write_pool(home, delay=0.5)
    process = subprocess.Popen(
        [sys.executable, "-m", "junctor", "calibrate", "--prompts", "prompts.jsonl"],
        cwd=home,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    folder, deadline = home / "data" / "calibration", time.monotonic() + 60
    while not any(it.stat().st_size for it in folder.glob("*.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said


def test_without_answers_the_strongest_is_right(home: Path, junctor: Junctor) -> None:
    write_pool(home)
    bare = [json.loads(line) for line in (home / "prompts.jsonl").read_text().splitlines()]
    (home / "bare.jsonl").write_text("\n".join(json.dumps({"prompt": it["prompt"]}) for it in bare))
    done = junctor("calibrate", "--prompts", "bare.jsonl", "--strongest", "small")
    assert done.exit_code == 0, done.output
    assert "For 120 prompts without an answer, what small said counts as right" in done.stdout
    assert re.search(r"small +100\.0% ", done.stdout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prompts", "broken.jsonl"), "broken.jsonl: line 2: "),
        (("--prompts", "nowhere.jsonl"), "nowhere.jsonl cannot be read"),
        (("--models", "mini,smal"), "the pool holds no model 'smal'; did you mean `small`?"),
        (("--strongest", "huge"), "the pool holds no model 'huge'"),
        (("--models", "mini", "--strongest", "small"), "--strongest small is not among --models"),
        (("--use", "cal_1"), "there is no calibration 'cal_1'"),
    ],
)
def test_mistakes_are_named_before_anything_is_asked(
    home: Path, junctor: Junctor, words: tuple[str, ...], said: str
) -> None:
    write_pool(home, 3)
    (home / "broken.jsonl").write_text('{"prompt": "a"}\n{"prompt": }\n')
    done = junctor("calibrate", *words)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "calls" not in done.stderr


def test_without_numpy_nothing_is_asked(
    home: Path, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pool(home, 3)
    (home / "without").mkdir()
    (home / "without" / "numpy.py").write_text("raise ModuleNotFoundError(\"No module named 'numpy'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(home / "without"))
    done = junctor("calibrate", "--prompts", "prompts.jsonl")
    assert done.exit_code == 1
    assert "pip install '.[calibrate]'" in done.stderr
    assert "calls" not in done.stderr


def test_a_model_that_fails_ends_it_or_is_left_out(home: Path, junctor: Junctor) -> None:
    write_pool(home, 30)
    with (home / "junctor.toml").open("a") as file:
        file.write('[[models]]\nname = "down"\nprovider = "scripted"\n')
        file.write('script = [{ fail = "upstream_unauthorised" }]\n')
    done = junctor("calibrate", "--prompts", "prompts.jsonl")
    assert done.exit_code == 1
    assert "down does not answer: " in done.stderr
    done = junctor("calibrate", "--prompts", "prompts.jsonl", "--keep-going")
    assert done.exit_code == 0, done.output
    assert "down is left out, it does not answer: " in done.stderr
    assert "down" not in done.stdout


def test_a_server_takes_it_over_when_it_reloads(home: Path, junctor: Junctor) -> None:
    """And says in each decision that abilities were measured, and how surely."""
    write_pool(home, 200)
    with running((home / "junctor.toml").read_text(), home / "data") as server:

        def decide() -> dict[str, object]:
            body = {"model": "auto", "messages": [{"role": "user", "content": "Q7: what is 7 + 7?"}]}
            asked = Request(
                f"{server.api}/chat/completions",
                json.dumps(body).encode(),
                {"content-type": "application/json"},
            )
            with urlopen(asked) as reply:
                decision = reply.headers["x-junctor-decision"]
            with urlopen(f"{server.url}/api/decisions/{decision}") as reply:
                return json.load(reply)

        before = decide()
        assert {it["p_source"] for it in before["candidates"]} == {"estimated ability"}  # type: ignore[index]
        done = junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9")
        assert done.exit_code == 0, done.output
        with urlopen(Request(f"{server.url}/api/reload", b"", method="POST")) as reply:
            assert reply.status == 200
        for it in decide()["candidates"]:  # type: ignore[attr-defined]
            assert it["p_source"] == "measured ability"
            assert 0 < it["p_error"] < 0.3
