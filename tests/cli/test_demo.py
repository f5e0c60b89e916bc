"""`make demo` for real: both models, a real server, the official SDK."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest

from junctor.chat import BadRequest, JunctorError
from junctor.cli import demo
from junctor.cli.demo import PROMPTS
from junctor.settings import read_environment, read_settings
from running import running


@pytest.mark.models
@pytest.mark.timeout(600)
def test_the_demo_shows_both_models_their_reasons_and_the_saving(tmp_path: Path) -> None:
    """Weights come from the user's cache (pulled the first time); the user's keys are nothing to the demo."""
    variables = {**read_environment().variables, "DEMO_EXIT": "1", "COLUMNS": "160"}
    variables["JUNCTOR_DATA_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "junctor", "demo"]
    make_key = [*command[:3], "keys", "create", "team-a"]
    subprocess.run(make_key, env=variables, cwd=tmp_path, capture_output=True, check=True)
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(PROMPTS) >= 8
    shown = " ".join(done.stdout.split())
    assert "qwen2.5-coder-0.5b" in shown
    assert "qwen2.5-coder-1.5b" in shown
    assert "floor: cheapest" in shown
    saved = re.search(r"Saved: (\d+)%", shown)
    assert saved
    assert 0 < int(saved.group(1)) < 100
    fused = shown[shown.index("12 * 12") :]
    assert "2 of 2 answers agree" in fused
    assert "scripted 144" in fused
    assert re.search(r"called off: qwen2.5-coder-\d.5b, whose answer could not have changed that", fused)
    assert re.search(r"cost: \d+\.\d µUSD, \d+\.\d times qwen2.5-coder-1.5b alone", fused)
    said: dict[str, str] = dict(re.findall(r"^    (\S*junctor (why|savings) .*)$", done.stdout, re.MULTILINE))
    told = {name: run(line, variables, tmp_path) for line, name in said.items()}
    assert "was chosen" in told["why"]
    assert "machine time" in told["why"]
    assert f"{len(PROMPTS)} requests, answered" in told["savings"]


def run(line: str, variables: dict[str, str], folder: Path) -> str:
    """What a line of the demo's says when it is copied into a shell."""
    command = ["/bin/sh", "-c", line]
    return subprocess.run(
        command, env=variables, cwd=folder, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.models
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGTERM, "Junctor serves"),
        (signal.SIGHUP, "3. The prompts"),
        (signal.SIGKILL, "3. The prompts"),
    ],
)
def test_no_server_and_no_engine_outlives_it(tmp_path: Path, number: int, after: str) -> None:
    """`kill`, a terminal that closes, and even `kill -9`: while the models load, and while they answer."""
    variables = {**read_environment().variables, "JUNCTOR_DATA_DIR": str(tmp_path)}
    started = subprocess.Popen(
        [sys.executable, "-m", "junctor", "demo"],
        env=variables,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert started.stderr is not None
    with started.stderr as said:
        assert any(after in line for line in said)
        started.send_signal(number)
        rest = said.read()  # to its end: when nobody of them has it open any more
    assert started.wait(timeout=60) != 0
    assert "Traceback" not in rest
    assert wait_for_none(started.pid) == []


def wait_for_none(group: int) -> list[str]:
    """The processes of a group that have not ended after a minute: id, state, command."""
    until = time.monotonic() + 60
    while left := living(group):
        if time.monotonic() > until:
            os.killpg(group, signal.SIGKILL)
            break
        time.sleep(0.05)
    return left


def living(group: int) -> list[str]:
    """Those that have ended, and that nobody has asked how, are none."""
    done = subprocess.run(["ps", "-eo", "pgid,pid,stat,args"], capture_output=True, text=True, check=True)
    lines = [line.split(None, 3) for line in done.stdout.splitlines()[1:]]
    return [" ".join(rest) for its, *rest in lines if its == str(group) and not rest[1].startswith("Z")]


def test_a_port_that_is_taken_is_said_with_the_one_that_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(demo, "PORT", taken)
        port = demo._choose_port()
    said = capsys.readouterr().err
    assert port != taken
    assert f"127.0.0.1:{taken} is in use" in said
    assert f"http://127.0.0.1:{port}" in said
    assert demo._choose_port() == taken
    assert capsys.readouterr().err == ""


def test_its_configuration_names_its_own_database_and_is_written_once(tmp_path: Path) -> None:
    """Also in a folder with an odd name; a second demo tells a server that watches the file of no change."""
    folder = tmp_path / 'a "b"\\c'
    config = demo._write_config(folder)
    settings = read_settings(config)
    assert settings.store.path == folder / "junctor.db"
    assert [model.provider for model in settings.models] == ["local", "local", "scripted"]
    before = config.stat()
    assert demo._write_config(folder) == config
    assert config.stat().st_mtime_ns == before.st_mtime_ns


def test_a_folder_that_cannot_be_written_says_what_to_set() -> None:
    with pytest.raises(BadRequest, match="set JUNCTOR_DATA_DIR"):
        demo._write_config(Path("/proc/nothing/demo"))


def test_a_key_in_its_own_database_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    config = f'[[keys]]\nname = "a"\nsha256 = "{"0" * 64}"\n'
    with (
        running(config, tmp_path) as server,
        pytest.raises(BadRequest, match="keys list -c") as caught,
        demo._told(tmp_path / "junctor.toml"),
    ):
        openai.OpenAI(base_url=server.api, api_key="none", max_retries=0).models.list()
    assert f"delete {tmp_path}" in caught.value.message


def test_a_server_that_does_not_answer_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(JunctorError, match="gave no answer"), demo._told(tmp_path):
        openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0).models.list()


def test_what_nohup_has_ignored_stays_ignored() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        demo._end_as_ctrl_c_does()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
