"""Providers as data, and list prices that are paid for once."""

from __future__ import annotations

import os
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from junctor.chat import Price
from junctor.pool.catalog import (
    PROVIDERS,
    ListPrice,
    PriceCache,
    PriceRef,
    Provider,
    cache_version,
    choose_price,
    look_up_prices,
    read_cache,
    write_cache,
)

GPT = PriceRef("openai", "gpt-4o")
NOBODY = PriceRef("openai", "no-such-model")
LATER = datetime.now(UTC).date() + timedelta(days=9)


def listed(until: date = LATER) -> ListPrice:
    return ListPrice(input=7.0, output=8.0, source="a cache", until=until)


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_provider_can_be_reached_safely(name: str) -> None:
    """With a key: TLS. Without one: this machine. The URL names its version."""
    provider = PROVIDERS[name]
    url = urlsplit(provider.base_url)
    assert url.scheme == ("https" if provider.api_key_env else "http")
    assert provider.api_key_env or url.hostname == "127.0.0.1"
    assert not provider.base_url.endswith("/")
    assert "/v1" in url.path


@pytest.mark.parametrize("name", [name for name, provider in PROVIDERS.items() if provider.price_list])
def test_each_price_list_exists(name: str) -> None:
    """genai-prices knows the provider under the name we use."""
    assert PROVIDERS[name].price_list in {provider.id for provider in get_snapshot().providers}


def test_the_configured_price_wins() -> None:
    """Its source is the configuration, so every row tells where its price came from."""
    mine = Price(input=1.0, output=2.0, source="junctor.toml")
    assert choose_price(mine, listed()) is mine
    assert choose_price(None, listed()) == Price(input=7.0, output=8.0, source="a cache")
    assert choose_price(None, None) is None


def test_a_price_of_0_is_a_price() -> None:
    """Free is not unknown."""
    free = Price(input=0.0, output=0.0, source="junctor.toml")
    assert choose_price(free, listed()) is free


def test_a_provider_is_plain_data() -> None:
    """Any server that speaks a dialect is a row."""
    assert Provider(base_url="http://127.0.0.1:1/v1").dialect == "openai_chat"


@pytest.mark.anyio
async def test_prices_are_asked_once_and_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start runs no child, not even for the model that the list does not know."""
    path = tmp_path / "deep" / "prices.json"
    first = await look_up_prices([GPT, NOBODY, GPT], path)
    assert first[NOBODY] is None
    assert first[GPT] is not None
    assert first[GPT].source == f"genai-prices {genai_prices.__version__}"
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await look_up_prices([GPT, NOBODY], path) == first
    assert [file.name for file in path.parent.iterdir()] == ["prices.json"]


@pytest.mark.anyio
async def test_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    """What the cache holds is taken from it, and is kept beside what is new."""
    path = tmp_path / "prices.json"
    write_cache(path, PriceCache(version=cache_version(), prices={"openai cached": listed()}))
    cached = PriceRef("openai", "cached")
    found = await look_up_prices([cached, GPT], path)
    assert found[cached] == listed()
    assert found[GPT] is not None
    assert set(read_cache(path, cache_version()).prices) == {"openai cached", "openai gpt-4o"}


@pytest.mark.anyio
async def test_a_price_past_its_day_is_asked_again(tmp_path: Path) -> None:
    """`until` has come: the list is read anew."""
    path = tmp_path / "prices.json"
    stale = {"openai gpt-4o": listed(until=datetime.now(UTC).date())}
    write_cache(path, PriceCache(version=cache_version(), prices=stale))
    found = await look_up_prices([GPT], path)
    assert found[GPT] is not None
    assert found[GPT].input == 2.5


@pytest.mark.anyio
async def test_nothing_to_ask_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of local models alone."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await look_up_prices([], tmp_path / "prices.json") == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.anyio
@pytest.mark.parametrize("program", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\ncat >/dev/null; echo '[{]'\n", None])
async def test_a_child_that_fails_is_logged_and_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, program: str | None
) -> None:
    """Prices are unknown for now; the next start asks again. The server starts all the same."""
    fake = tmp_path / "python"
    if program is not None:
        fake.write_text(program, encoding="utf-8")
        fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    assert await look_up_prices([GPT], tmp_path / "prices.json") == {GPT: None}
    assert "no list prices" in caplog.text
    assert not (tmp_path / "prices.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"version":"1","prices":{"a":{"input":"x"}}}',
        b'{"version":"0.0.1","prices":{}}',
    ],
)
def test_a_bad_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    """Damaged, of another shape, or of another version of the list: as if there were none."""
    path = tmp_path / "prices.json"
    path.write_bytes(content)
    assert read_cache(path, "1") == PriceCache(version="1")


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A read-only home is no reason not to start."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    write_cache(tmp_path / "file" / "prices.json", PriceCache(version="1"))
    assert "not written" in caplog.text
    assert read_cache(tmp_path / "file" / "prices.json", "1") == PriceCache(version="1")


@pytest.mark.anyio
async def test_a_child_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its patience over, the server starts without list prices."""
    fake, pid_file = tmp_path / "python", tmp_path / "pid"
    fake.write_text(f"#!/bin/sh\necho $$ > {pid_file}\nexec sleep 60\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setattr("junctor.pool.catalog._PATIENCE_S", 0.5)
    assert await look_up_prices([GPT], tmp_path / "prices.json") == {GPT: None}
    assert "no list prices" in caplog.text
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text(encoding="utf-8")), 0)
