"""Fetch one file over HTTP: take up what an earlier try left, survive a cut line, check the digest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

from pyreqwest.bytes import Bytes
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, DetailedPyreqwestError, RequestError
from pyreqwest.response import Response

from junctor.serving.address import shown, shown_host
from junctor.serving.errors import SourceFailed, WrongDigest

_CUTS: Final = 3
"Cuts in a row that brought nothing before we call a source broken."

_PAGE_CAP: Final = 16 << 20
"Largest index page we read, bytes."

At = Callable[[int], None]
"Told how many bytes of the file are here."


def open_client(connect_timeout_s: float, read_timeout_s: float) -> Client:
    """An HTTP client for downloads: no transfer compression, since the bytes are counted and resumed."""
    plain = ClientBuilder().user_agent("junctor").gzip(False).brotli(False).zstd(False).deflate(False)
    return (
        plain.connect_timeout(timedelta(seconds=connect_timeout_s))
        .read_timeout(timedelta(seconds=read_timeout_s))
        .build()
    )


async def fetch_page(client: Client, url: str, accept: str) -> tuple[str, str] | None:
    """A small page as (content type, text); None when there is no such page. Raises `SourceFailed`."""
    try:
        async with client.get(url).header("accept", accept).build_streamed() as response:
            if response.status in (404, 410):
                return None
            _require_ok(response, url)
            return response.get_header("content-type") or "", await _read_page(response, url)
    except (RequestError, ValueError) as error:  # ValueError: no address at all
        raise SourceFailed(f"{shown_host(url)}: {reason_of(error)}") from error


async def _read_page(response: Response, url: str) -> str:
    body = bytearray()
    while chunk := await response.body_reader.read_chunk():
        body += chunk
        if len(body) > _PAGE_CAP:
            raise SourceFailed(f"{shown(url)} is longer than {_PAGE_CAP} bytes: not an index page")
    return body.decode("utf-8", "replace")


async def fetch_file(client: Client, url: str, to: Path, *, sha256: str, cap: int, at: At) -> None:
    """Bring `url` to `to`, at most `cap` bytes, and check its digest ("" checks nothing).

    What arrives is kept beside `to` as `*.part`, so that a later call goes on where this one stopped.
    Raises `SourceFailed`; `WrongDigest` after removing the file.
    """
    part = to.with_name(to.name + ".part")
    await _fetch_part(client, url, part, cap, at)
    if sha256:
        await check_digest(part, sha256)
    part.replace(to)


async def _fetch_part(client: Client, url: str, part: Path, cap: int, at: At) -> None:
    cuts, reason = 0, ""
    while cuts < _CUTS:
        have = _size(part)
        try:
            if await _request_rest(client, url, part, cap, at):
                return
            reason = "sent another part of the file than was asked for"
        except (ConnectError, ConnectTimeoutError, ValueError) as error:
            raise SourceFailed(f"{shown_host(url)}: {reason_of(error)}") from error
        except RequestError as error:
            reason = reason_of(error)
            if isinstance(error, TimeoutError) and _size(part) == have:
                break
        cuts = 0 if _size(part) > have else cuts + 1
    raise SourceFailed(f"{shown_host(url)}: {reason}; what arrived is kept, pull again to go on from there")


async def _request_rest(client: Client, url: str, part: Path, cap: int, at: At) -> bool:
    """Append what is missing. False when the server sent something that does not fit on."""
    have = _size(part)
    # Unbuffered, so that all that came before a cut reaches the disk.
    request = client.get(url).streamed_read_buffer_limit(0)
    if have:
        request = request.header("range", f"bytes={have}-")
    async with request.build_streamed() as response:
        if have and response.status == 416:  # nothing is missing
            return True
        if response.status == 206 and not _continues(response, have):
            remove(part)
            return False
        _require_ok(response, url)
        await _append(response, part, have if response.status == 206 else 0, cap, at)
    return True


async def _append(response: Response, part: Path, have: int, cap: int, at: At) -> None:
    with closing(_Tail(part, have)) as tail:
        at(tail.size)
        while chunk := await response.body_reader.read_chunk():
            if tail.size + len(chunk) > cap:
                raise SourceFailed(f"the file is longer than {cap} bytes: not the one that was asked for")
            tail.write(chunk)
            at(tail.size)


class _Tail:
    """The end of a growing file; what stood after `size` is cut off."""

    def __init__(self, path: Path, size: int) -> None:
        path.touch()
        self._file = path.open("r+b")
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def write(self, chunk: Bytes) -> None:
        self._file.write(chunk)
        self.size += len(chunk)

    def close(self) -> None:
        self._file.close()


async def check_digest(path: Path, sha256: str) -> None:
    """Raises `WrongDigest`, after removing the file, when its SHA-256 is another one."""
    found = await asyncio.to_thread(digest_of, path)
    if found != sha256:
        remove(path)
        raise WrongDigest(
            f"{path.name} has SHA-256 {found[:16]}..., not {sha256[:16]}...: refused and removed"
        )


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Delete a file that may be there."""
    path.unlink(missing_ok=True)


def reason_of(error: Exception) -> str:
    """The innermost cause in one line: the outer ones only repeat the address."""
    causes = error.details["causes"] if isinstance(error, DetailedPyreqwestError) else None
    return causes[-1]["message"] if causes else str(error.args[0])


def _require_ok(response: Response, url: str) -> None:
    if response.status not in (200, 206):
        raise SourceFailed(f"{shown(url)} answers {response.status}")


def _continues(response: Response, have: int) -> bool:
    return (response.get_header("content-range") or "").startswith(f"bytes {have}-")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
