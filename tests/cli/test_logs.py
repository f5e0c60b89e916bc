"""Logs: one line an event, for people or for machines."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from junctor.cli.logs import JsonLines, set_up_logs


def test_a_json_line_holds_the_event_and_its_trace() -> None:
    try:
        int("two\nlines")
    except ValueError:
        record = logging.LogRecord("junctor.x", logging.ERROR, "", 1, "failed %s", ("badly",), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"], found["event"]) == ("error", "junctor.x", "failed badly")
    assert "ValueError: invalid literal" in found["trace"]
    assert found["time"].endswith("+00:00")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_every_line_goes_to_standard_error(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logs(log_format)
        logging.getLogger("junctor.x").info("hello")
        logging.getLogger("junctor.x").debug("quiet")
    finally:
        root.handlers[:], root.level = handlers, level
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello" in err
    assert "quiet" not in err
