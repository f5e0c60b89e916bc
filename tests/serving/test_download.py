"""Downloads: what is asked of a server, what is said when it fails. Resuming: see test_weights.py."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fake_web import FakeWeb, Page
from junctor.serving.download import check_digest, digest_of, fetch_file, fetch_page, open_client
from junctor.serving.errors import SourceFailed, WrongDigest

pytestmark = pytest.mark.anyio


async def test_a_whole_file_left_unfinished_by_name_only_is_taken(web: FakeWeb, tmp_path: Path) -> None:
    """All bytes came, then we died before the rename: the server says 416, and the digest decides."""
    web.pages["/f"] = Page(b"hello")
    (tmp_path / "f.part").write_bytes(b"hello")
    async with open_client(1, 1) as client:
        digest = hashlib.sha256(b"hello").hexdigest()
        await fetch_file(client, f"{web.url}/f", tmp_path / "f", sha256=digest, cap=5, at=lambda _: None)
    assert (tmp_path / "f").read_bytes() == b"hello"
    assert [request.range for request in web.seen] == ["bytes=5-"]


async def test_progress_counts_what_was_here_before(web: FakeWeb, tmp_path: Path) -> None:
    """The bar of a resumed download does not start at nought."""
    web.pages["/f"] = Page(b"0123456789")
    (tmp_path / "f.part").write_bytes(b"012345")
    seen = list[int]()
    async with open_client(1, 1) as client:
        await fetch_file(client, f"{web.url}/f", tmp_path / "f", sha256="", cap=10, at=seen.append)
    assert seen[0] == 6
    assert seen[-1] == 10


async def test_nothing_is_compressed_on_the_way(web: FakeWeb, tmp_path: Path) -> None:
    """Compressed bytes could be neither counted nor resumed."""
    web.pages["/f"] = Page(b"x")
    async with open_client(1, 1) as client:
        request = client.get(f"{web.url}/f").build_streamed()
        assert "accept-encoding" not in {name.lower() for name in request.headers}


async def test_no_page_is_none_and_a_broken_server_is_an_error(web: FakeWeb) -> None:
    """An index without the package is skipped; one that fails is reported."""
    web.pages["/broken"] = Page(b"", status=500)
    async with open_client(1, 1) as client:
        assert await fetch_page(client, f"{web.url}/missing", "text/html") is None
        with pytest.raises(SourceFailed, match="answers 500"):
            await fetch_page(client, f"{web.url}/broken", "text/html")


async def test_an_endless_page_is_refused(web: FakeWeb) -> None:
    """An index page has a sane size."""
    web.pages["/huge"] = Page(bytes(17 << 20))
    async with open_client(1, 5) as client:
        with pytest.raises(SourceFailed, match="not an index page"):
            await fetch_page(client, f"{web.url}/huge", "text/html")


@pytest.mark.parametrize("url", ["no url", "http://127.0.0.1:1/x", "https://nowhere.invalid/x"])
async def test_an_address_that_leads_nowhere_is_one_clear_line(url: str, tmp_path: Path) -> None:
    """Malformed, refused, unknown: never a traceback, never a retry."""
    async with open_client(1, 1) as client:
        with pytest.raises(SourceFailed) as failed:
            await fetch_file(client, url, tmp_path / "f", sha256="", cap=9, at=lambda _: None)
    assert "\n" not in failed.value.message


async def test_a_wrong_digest_removes_the_file(tmp_path: Path) -> None:
    """And the right one leaves it."""
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    await check_digest(file, digest_of(file))
    assert file.exists()
    with pytest.raises(WrongDigest):
        await check_digest(file, "0" * 64)
    assert not file.exists()
