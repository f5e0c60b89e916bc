"""An upstream that fails on purpose, and a way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from faults.fault_server import FaultServer, running_fault_server
from junctor.pool.transport import Transport


@pytest.fixture
async def faults() -> AsyncIterator[FaultServer]:
    async with running_fault_server() as server:
        yield server


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    await transport.close()
