"""Every example runs, against a real server, and prints something; so does what the pages tell to type."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from junctor.chat import BadRequest
from junctor.pool.scripted import Step, parse_script
from junctor.settings import parse_settings, read_environment
from running import Running, running

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTED = (ROOT / "docs/scripted.md").read_text(encoding="utf-8")
SAVINGS = (ROOT / "docs/savings.md").read_text(encoding="utf-8")
CONFIG = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 1, output = 2 }
ability = 0.6
script = [{ text = "Bon" }, { text = "jour." }]
[[models]]
name = "large"
provider = "scripted"
price = { input = 10, output = 20 }
ability = 0.9
script = [{ text = "Good day." }]
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    with running(CONFIG, tmp_path) as server:
        done = subprocess.run(
            [sys.executable, path, server.url], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr == ""


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """What a page tells to type: its indented lines, without their comments; lines that go on are one."""
    text = page.replace("\\\n", " ")
    lines = (line[4:].split("  #")[0].strip() for line in text.splitlines() if line.startswith("    "))
    return [line for line in lines if re.match(r"(junctor|make|curl|export|python|\.venv)", line)]


def python(server: Running, code: str, *words: str) -> str:
    """What a program of a page prints, with the server's address in place of the usual one."""
    code = code.replace("http://127.0.0.1:8400", server.url)
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def junctor(words: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a folder, with its data there, too."""
    env = {
        "PATH": read_environment().variables["PATH"],
        "HOME": str(folder),
        "JUNCTOR_DATA_DIR": str(folder),
        "COLUMNS": "120",
        **variables,
    }
    command = [sys.executable, "-m", "junctor", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=110)


def test_the_readme_puts_junctor_on_the_path_before_it_is_called() -> None:
    """By one line; whoever types the lines in a fresh shell, from the first on, finds the command."""
    typed = commands(README)
    names = [line.split()[0] for line in typed]
    assert 'export PATH="$PWD/.venv/bin:$PATH"' in typed
    assert names.index("make") < names.index("export") < names.index("junctor")


def test_the_readmes_client_runs(tmp_path: Path) -> None:
    with running(CONFIG, tmp_path) as server:
        said = python(server, blocks(README, "python")[0])
    assert said.splitlines()[0] in ("Bonjour.", "Good day.")
    assert re.fullmatch(r"(small|large) dec_\w+", said.splitlines()[1])


def test_the_readmes_curls_are_answered(tmp_path: Path) -> None:
    curls = [line for line in shell_words(README) if line[0] == "curl"]
    assert len(curls) == 2
    with running(CONFIG, tmp_path) as server:
        for words in curls:
            url = words[1].replace("http://127.0.0.1:8400", server.url)
            with urlopen(Request(url, words[words.index("-d") + 1].encode())) as reply:
                assert json.load(reply)["choices"][0]["message"]["content"]


def shell_words(page: str) -> list[list[str]]:
    """The commands of a page as a shell splits them; a quotation may go over several lines."""
    found: list[list[str]] = []
    lines = iter([line[4:] for line in page.splitlines() if line.startswith("    ")])
    for line in lines:
        if line.startswith(("curl ", "junctor ")):
            text = line
            while text.endswith("\\") or text.count("'") % 2:
                text = text.removesuffix("\\") + " " + next(lines)
            found.append(shlex.split(text, comments=True))
    return found


def test_the_readmes_configuration_is_right_and_its_commands_exist(tmp_path: Path) -> None:
    """`check` takes it once the two keys are set; every command and option is one."""
    pool, fusions = blocks(README, "toml")
    (tmp_path / "junctor.toml").write_text(pool + fusions)
    keys = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    assert all(name in README for name in keys), "the README says which it needs"
    checked = junctor(["check"], tmp_path, **keys)
    assert checked.returncode == 0, checked.stderr
    assert "3 model(s), 1 fusion(s)" in checked.stdout
    assert junctor(["models"], tmp_path, **keys).returncode == 0
    for words in shell_words(README):
        if words[0] == "junctor":
            told = junctor([*words[1:], "--help"], tmp_path)
            assert told.returncode == 0, (words, told.stderr)
    made = junctor(next(it[1:] for it in shell_words(README) if it[1] == "keys"), tmp_path)
    assert made.stdout.startswith("jct_live_"), made.stderr
    assert "note:" not in made.stderr


def test_the_scripts_of_the_page_say_what_it_says(tmp_path: Path) -> None:
    """Turn after turn, by words, and with a failure: the answers stand in the page's comments."""
    lines = [line for line in SCRIPTED.splitlines() if line.startswith("    junctor ask")]
    asked = [(shlex.split(line, comments=True), line.partition("# ")[2]) for line in lines]
    assert len(asked) == 5
    with running(blocks(SCRIPTED, "toml")[0], tmp_path) as server:
        for words, answer in asked:
            done = junctor([*words[1:], "--url", server.url], tmp_path)
            expected, _, failure = answer.partition(", then ")
            assert done.stdout.strip() == expected
            assert done.returncode == (1 if failure else 0)


def test_every_key_of_a_step_and_every_failure_is_on_the_page() -> None:
    """And what is there is one: a script with a word that is none is refused with those that are."""
    known = Step.__struct_fields__
    assert [name for name in known if f"`{name}" not in SCRIPTED] == []
    with pytest.raises(BadRequest) as caught:
        parse_script([{"fail": "nothing"}])
    codes = caught.value.message.rpartition("known: ")[2].split(", ")
    assert len(codes) > 5
    assert [code for code in codes if f"`{code}`" not in SCRIPTED] == []


def test_a_pool_that_gets_a_share_right_does(tmp_path: Path) -> None:
    """The page's program, with fewer questions; their answers are found by `junctor calibrate`."""
    program = blocks(SCRIPTED, "python")[0].replace("make_questions(300, 1)", "make_questions(60, 1)")
    assert "(60, 1)" in program
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    parse_settings(made.stdout, tmp_path)
    (tmp_path / "junctor.toml").write_text(made.stdout)
    done = junctor(["calibrate", "--count", "60"], tmp_path)
    assert done.returncode == 0, done.stderr
    right = {name: float(share) for name, share in re.findall(r"(mini|small|large) +(\d+\.\d)%", done.stdout)}
    for name, share in {"mini": 54, "small": 78, "large": 94}.items():
        assert abs(right[name] - share) < 20, right


def test_the_example_of_the_savings_gives_a_report_of_its_form(tmp_path: Path) -> None:
    """The page's configuration; sampled to the last, `middle` is found wrong once in fifteen answers."""
    config = next(block for block in blocks(SAVINGS, "toml") if "[[models]]" in block)
    assert len(tomllib.loads(config)["models"][1]["script"]) == 15
    loop = SAVINGS.partition("for question in ")[2]
    easy, *_, hard = re.findall(r'"([^"]*\?)"', loop.partition("; do")[0])
    body = re.search(r'-d "(\{.*\})"$', loop, re.MULTILINE)
    assert body
    asked = body[1].replace('\\"', '"')
    with running(config.replace("share = 0.25", "share = 1.0"), tmp_path) as server:
        for question in [easy] * 30 + [hard]:
            request = Request(f"{server.api}/chat/completions", asked.replace("$question", question).encode())
            with urlopen(request) as reply:
                assert reply.headers["x-junctor-model"] == ("middle" if question == easy else "large")
                reply.read()
        server.run(server.app.lasting.measuring.queue.emptied())
    done = junctor(["savings"], tmp_path)
    assert "By 30 comparisons: 28 gave the same answer, 2 were judged, 0 differ undecided." in done.stdout
