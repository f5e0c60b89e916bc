"""Fixtures of the serving room: a fake web, and the real weights for the tests marked `models`."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fake_web import FakeWeb
from junctor.serving.sources import PullOptions


@pytest.fixture
async def web() -> AsyncIterator[FakeWeb]:
    """A web server with nothing on it yet."""
    async with FakeWeb() as fake:
        yield fake


@pytest.fixture
def options(web: FakeWeb) -> PullOptions:
    """Look nowhere but on the fake web, and do not be patient."""
    return PullOptions(hub_url=web.url, index_urls=(f"{web.url}/simple",), read_timeout_s=1.0)


@pytest.fixture(scope="session")
def body() -> bytes:
    """What the tiny model's file holds: 100 kB that do not compress."""
    return random.Random(7).randbytes(100_000)


@pytest.fixture(scope="session")
def real_weights_dir() -> Path:
    """Where weights are kept between runs: the product's own default."""
    return Path.home() / ".cache" / "junctor" / "weights"
