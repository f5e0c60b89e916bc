"""The learner's process: what is said when it cannot start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from junctor.routing.calibration.learner import check_learner, learn
from junctor.routing.calibration.study import Study
from junctor.routing.errors import CannotCalibrate

pytestmark = pytest.mark.anyio

EMPTY = Study(
    models=(),
    kinds=(),
    artefact="",
    temperature=1.0,
    abilities_table=(),
    mean_ps_table=(),
    strongest=None,
    floor=0.98,
    confidence=0.95,
)


async def test_it_is_there() -> None:
    await check_learner()


async def test_without_numpy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path on which importing numpy fails, as where it is not installed."""
    words = "raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')\n"
    (tmp_path / "numpy.py").write_text(words)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(CannotCalibrate, match=r"pip install '\.\[calibrate\]'.*No module named"):
        await check_learner()


async def test_a_file_in_the_working_directory_is_not_taken_for_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    await check_learner()


async def test_a_learner_that_fails_says_why() -> None:
    with pytest.raises(CannotCalibrate, match="the learner ended with status 1"):
        await learn(EMPTY)


def test_neither_the_server_nor_the_command_loads_numpy() -> None:
    """It is an extra: only the learner's own process has it."""
    code = "import sys, junctor.app, junctor.cli.calibrate; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
