"""Learning in a process of its own: numpy is an extra, and the server never loads it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from junctor.routing.calibration.ratings import LearntPool, RatedPool
from junctor.routing.calibration.study import Learnt, Study
from junctor.routing.errors import CannotCalibrate

_STUDIES: Final = "junctor.routing.calibration.learn"
_RATINGS: Final = "junctor.routing.calibration.learn_ratings"
# -P: the working directory holds somebody else's files, perhaps one called numpy.py.
_PYTHON: Final = (sys.executable, "-P")


async def check_learner() -> None:
    """Make sure that it starts, before anything is spent. Raises `CannotCalibrate`."""
    status, _, said = await _run((*_PYTHON, "-c", f"import {_STUDIES}"), b"")
    if status:
        last = (said.strip().splitlines() or [f"it ended with status {status}"])[-1]
        raise CannotCalibrate(
            "calibration needs numpy: in a clone of Junctor `make setup` installs it for `.venv`, and "
            f"`pip install '.[calibrate]'` for another environment ({last})"
        )


async def learn(study: Study) -> Learnt:
    """What a study tells. Takes seconds. Raises `CannotCalibrate`."""
    return msgspec.json.decode(await _ask(_STUDIES, msgspec.json.encode(study)), type=Learnt)


async def learn_ratings(pools: Sequence[RatedPool]) -> list[LearntPool]:
    """What ratings tell, for each pool. Takes a second or so. Raises `CannotCalibrate`."""
    return msgspec.json.decode(await _ask(_RATINGS, msgspec.json.encode(pools)), type=list[LearntPool])


async def _ask(module: str, data: bytes) -> bytes:
    status, output, said = await _run((*_PYTHON, "-m", module), data)
    if status:
        raise CannotCalibrate(f"the learner ended with status {status}: {said.strip()[-600:]}")
    return output


async def _run(command: tuple[str, ...], data: bytes) -> tuple[int, bytes, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, said = await process.communicate(data)
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output, said.decode(errors="replace")
