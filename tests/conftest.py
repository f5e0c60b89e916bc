"""Fixtures that every room's tests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio alone: the product does."""
    return "asyncio"


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server sheds load because the machine stands still for a moment: for tests that count requests."""
    monkeypatch.setattr("junctor.gateway.shed.INTERVAL_S", 600.0)
