"""`junctor savings`: what a person reads, with nothing hidden; and the same for machines."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
import pytest

from command import Junctor
from junctor.cli import terminal
from junctor.cli.savings import describe_predictions
from junctor.routing.measuring.savings import Alternative
from junctor.routing.measuring.savings_store import SavingsStore, Terms
from junctor.store.database import Database
from running import Running, running
from tables import model_table
from test_cli_calibrate import write_pool

pytestmark = pytest.mark.usefixtures("calm")

SAYS = '[{ text = "The answer is %s.", usage = { input_tokens = 500, output_tokens = 500 } }]'
SHADOW = "[routing.shadow]\nshare = 1.0\n"


def config(middle: str = "4", usd: int = 2) -> str:
    return (
        model_table("tiny", script=SAYS % 4, ability=0.3, usd=1)
        + model_table("middle", script=SAYS % middle, ability=0.895, usd=usd)
        + model_table("large", script=SAYS % 4, ability=0.9, usd=10)
    )


def ask(server: Running, times: int, model: str = "auto") -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "What is 2 + 2?"}]}
    for _ in range(times):
        with urlopen(Request(f"{server.api}/chat/completions", json.dumps(body).encode())) as reply:
            reply.read()
    server.run(server.app.lasting.measuring.queue.emptied())


def said(junctor: Junctor, folder: Path, *words: str) -> str:
    result = junctor("savings", "-c", str(folder / "junctor.toml"), *words)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def test_it_says_what_was_paid_saved_and_measured(home: Path, junctor: Junctor) -> None:
    folder = home / "data"
    with running(config() + SHADOW, folder) as server:
        ask(server, 40)
        ask(server, 2, model="large")
    text = said(junctor, folder)
    assert "40 requests, answered" in text
    assert "by `auto`: what you paid 0.0800 80.0 % 80.0 .. 80.0 %" in text
    assert "always by the strongest model 0.4000" in text
    assert "always by the cheapest (estimate) 0.0400 90.0 %" in text
    assert "100 % tiny" in text
    assert "Saved: 0.3200 USD, with 95 % confidence 0.3200 to 0.3200." in text
    assert "Measuring cost 0.4000 USD on top, which leaves -0.0800." in text
    assert "2 requests that named a model (0.0200 USD)" in text
    assert "40 gave the same answer, 0 were judged, 0 differ undecided" in text
    assert "An interval of +-1 point needs about" in text
    assert "unproven: comparisons neither prove nor refute it yet, 40 so far" in text


def answer(server: Running, prompt: str) -> str:
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt}]}
    with urlopen(Request(f"{server.api}/chat/completions", json.dumps(body).encode())) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]


def test_after_a_calibration_it_expects_of_the_ladder_what_was_promised(home: Path, junctor: Junctor) -> None:
    """And not what one of its models would do alone: the prompts of the calibration, asked again."""
    write_pool(home, 200)
    learnt = junctor("calibrate", "--prompts", "prompts.jsonl", "--floor", "0.9").stdout
    promised = re.search(r"balanced +saves \d+%; (\d\d\.\d)% right, large alone (\d\d\.\d)%", learnt)
    mini = re.search(r"mini +(\d\d\.\d)%", learnt)
    assert promised
    assert mini
    lines = [json.loads(line) for line in (home / "prompts.jsonl").read_text().splitlines()]
    with running((home / "junctor.toml").read_text(), home / "data") as server:
        right = sum(answer(server, it["prompt"]).endswith(f"Answer: {it['answer']}") for it in lines)
    text = said(junctor, home)
    ladder, strongest = promised.groups()
    assert abs(right / 2 - float(ladder)) < 2
    assert re.search(rf"by `auto`: what you paid \S+ [\d.]+ % [\d.]+ \.\. [\d.]+ % {ladder} %", text)
    assert re.search(rf"always by the strongest model [\d.]+ {strongest} %", text)
    assert re.search(rf"always by the cheapest \(estimate\) [\d.]+ [\d.]+ % {mini[1]} %", text)
    assert "by the best mix of two (estimate) none is predicted to be as good" in text
    assert "Predicted quality, of the requests that climbed a ladder: the share that was right" in text


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"predicted_quality": None}, "not known of any of these requests"),
        ({"predicted_by_ladder": 0.0}, "the router's own expectation, not a measurement"),
        ({"predicted_by_ladder": 0.25}, "of the 25.0% of the requests that climbed a ladder"),
        ({"predicted_by_ladder": 0.25}, "; of the others the router's own expectation"),
        ({"predicted_agreement": True}, "Right was, in such a calibration, what the strongest model said"),
        ({"predicted_share": 0.968}, "It leaves out 3.2% of the requests"),
        (
            {"always_cheapest": Alternative(models={"tiny": 1.0}, usd=1, predicted_quality=None)},
            "Of tiny it is not known for each request, so no mix has it in it",
        ),
    ],
)
async def test_what_a_prediction_is_of_is_said(
    tmp_path: Path, fields: dict[str, object], expected: str
) -> None:
    """No figure stands there without what it is of."""
    terms = Terms(prices={}, mode=None, falls_back=True, share=0.0, judge=None)
    async with Database(tmp_path / "x.db") as database:
        empty = await SavingsStore(database).report(terms, 30, None)
    known: dict[str, object] = {"predicted_quality": 0.9, "predicted_share": 1.0, "predicted_by_ladder": 1.0}
    report = msgspec.structs.replace(empty, **(known | fields))
    assert expected in " ".join(describe_predictions(report))


def test_what_is_not_measured_is_said_with_the_setting_that_would(home: Path, junctor: Junctor) -> None:
    folder = home / "data"
    with running(config(), folder) as server:
        ask(server, 3)
    text = said(junctor, folder)
    assert "Not measured. `[routing.shadow]` with `share = 0.02`" in text
    assert "No feedback: callers give it to `POST /api/feedback`." in text


def test_answers_that_differ_without_a_judge_are_not_called_a_draw(home: Path, junctor: Junctor) -> None:
    folder = home / "data"
    with running(config(middle="5") + SHADOW, folder) as server:
        ask(server, 30)
    text = said(junctor, folder)
    assert "in points, at 95 % somewhere in -100.0 .. +100.0" in text
    assert "30 differ undecided" in text
    assert "name a `judge` in `[routing.shadow]`" in text
    assert "+0.0 points" not in text


def test_a_loss_is_called_a_loss(home: Path, junctor: Junctor) -> None:
    """The prices of the file may have changed since: what was paid is what was paid."""
    folder = home / "data"
    with running(config(), folder) as server:
        ask(server, 3)

        async def pay() -> None:
            await server.app.lasting.database.write("UPDATE ledger SET usd_nano = 30000000")

        server.run(pay())
    text = said(junctor, folder)
    assert "0.090000 -200.0 %" in text
    assert "Cost more: 0.060000 USD" in text


def test_machines_get_json_of_one_key(home: Path, junctor: Junctor) -> None:
    folder = home / "data"
    with running(config(), folder) as server:
        ask(server, 3)
    report = json.loads(said(junctor, folder, "--json", "--days", "1", "--key", "nobody"))
    assert (report["days"], report["key"], report["money"]["requests"]) == (1, "nobody", 0)
    assert json.loads(said(junctor, folder, "--json"))["money"]["requests"] == 3


def test_a_key_that_nobody_has_is_an_error_that_names_those_there_are(home: Path, junctor: Junctor) -> None:
    """And one that has asked for nothing yet is none."""
    folder = home / "data"
    with running(config(), folder) as server:
        ask(server, 1)
    place = ("-c", str(folder / "junctor.toml"))
    assert junctor("keys", "create", "team-a", *place).exit_code == 0
    result = junctor("savings", *place, "--key", "team-b")
    assert result.exit_code == 1
    assert "team-b" in result.stderr
    assert "there are: team-a" in result.stderr
    assert "Nothing yet" not in result.stdout
    assert "Nothing yet" in said(junctor, folder, "--key", "team-a")


def test_80_columns_have_room_for_every_day_and_heading(
    home: Path, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "width", 80)
    folder = home / "data"
    with running(config(), folder) as server:
        ask(server, 3)
    text = junctor("savings", "-c", str(folder / "junctor.toml")).stdout
    table = text[text.index("By day") :]
    assert f"{datetime.now(UTC):%Y-%m-%d}" in table
    for heading in ("day (UTC)", "requests", "not by the", "strongest,", "paid,", "saved,"):
        assert heading in table
    assert "…" not in text
    assert max(map(len, table.splitlines())) <= 80


def test_the_database_is_named_where_configurations_share_it(home: Path, junctor: Junctor) -> None:
    """On standard error: what a program reads is the report alone."""
    folder = home / "data"
    with running(config(), folder) as server:
        ask(server, 1)
    place = ("-c", str(folder / "junctor.toml"))
    for command in ("savings", "why"):
        done = junctor(command, *place)
        assert f"From {folder / 'junctor.db'}, the database of all your configurations" in done.stderr
        assert "all your configurations" not in done.stdout
    assert junctor("savings", "--json", *place).stderr == ""
    own = f'[store]\npath = "{folder / "junctor.db"}"\n'
    (folder / "junctor.toml").write_text(config() + own)
    assert "all your configurations" not in junctor("savings", *place).stderr


def test_before_the_first_request_it_says_so(home: Path, junctor: Junctor) -> None:
    folder = home / "data"
    with running(config(), folder):
        pass
    assert "Nothing yet" in said(junctor, folder)


def test_without_a_database_it_says_what_makes_one(home: Path, junctor: Junctor) -> None:
    home.mkdir(exist_ok=True)
    (home / "junctor.toml").write_text(config(), encoding="utf-8")
    result = junctor("savings", "-c", str(home / "junctor.toml"))
    assert result.exit_code == 1
    assert "junctor serve" in result.stderr
