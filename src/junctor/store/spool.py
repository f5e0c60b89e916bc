"""Statements on their way to SQLite, in a file that survives the death of this process.

A commit costs two hand-overs between threads and a dozen system calls; an `append` here costs one `write`,
after which the operating system has the bytes, whatever becomes of us. SQLite gets them some milliseconds
later, many at a time. What it had not got when a process died is replayed by the next one that opens the
database (docs/adr/0004).

    junctor.db-spool-<pid>-<n>    records: length, CRC-32, MessagePack of (number, sql or parameters)

Each file is locked by its owner as long as that lives, so that nobody replays what is still being written.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

SEGMENT_BYTES = 8 * 1024 * 1024
"A file is left for a new one beyond this; a start after a crash replays about as much."

_HEAD = struct.Struct("<II")
_MOST_RECORD_BYTES = 64 * 1024 * 1024
_MOST_PENDING_BYTES = 256 * 1024
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, Any]).decode


class _Segment(NamedTuple):
    """One file, open and locked."""

    number: int
    path: Path
    file: int


class Spool:
    """Appends statements. `append` belongs to one thread; `release` and `close` to the one that commits."""

    def __init__(self, database: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        """`database`: the file beside which ours stand. Nothing is created before the first `append`."""
        self._prefix = f"{database}-spool-{os.getpid()}"
        self._segment_bytes = segment_bytes
        self._segments: deque[_Segment] = deque()
        self._known: dict[str, int] = {}
        "Numbers of the statements that the current file defines."
        self._pending = b""
        "Records that go with the next one."
        self._size = 0
        self._number = 0
        self._kept = set[int]()
        self._put_off = list[Path]()

    def append(self, sql: str, parameters: Mapping[str, Any], *, with_next: bool = False) -> int:
        """Keep one statement; when this returns, it survives our death. Gives the number of its file.

        `with_next`: it need not survive before the next one does, and saves a system call. Raises `OSError`;
        then nothing of it is kept.
        """
        if not self._segments or self._size >= self._segment_bytes or self._number in self._kept:
            self._begin()
        number = self._known.get(sql)
        data = b""
        if number is None:
            number = len(self._known)
            data = _frame(_encode((number, sql)))
        data += _frame(_encode((number, parameters)))
        if with_next and len(self._pending) < _MOST_PENDING_BYTES:
            self._pending += data
        else:
            self._write(self._pending + data)
        self._known[sql] = number
        return self._number

    def keep(self, number: int) -> None:
        """SQLite could not take a statement of that file: `put_off` has it once nothing more is appended."""
        self._kept.add(number)

    def put_off(self) -> list[Path]:
        """Files that SQLite is to get once more, whole. What is left at our end, the next one brings in."""
        return self._put_off

    def behind(self) -> set[Path]:
        """Files that SQLite has not got all of, and that are open still: only read them."""
        return {segment.path for segment in list(self._segments) if segment.number in self._kept}

    def release(self, number: int) -> None:
        """Of all files before that number, SQLite has got what it could take."""
        while len(self._segments) > 1 and self._segments[0].number < number:
            self._leave(self._segments.popleft())

    def close(self) -> None:
        """Of all files, SQLite has got what it could take."""
        with suppress(OSError):
            self._write(self._pending)
        while self._segments:
            self._leave(self._segments.popleft())

    def _leave(self, segment: _Segment) -> None:
        if segment.number in self._kept:
            self._put_off.append(segment.path)
        else:
            segment.path.unlink(missing_ok=True)
        os.close(segment.file)

    def _begin(self) -> None:
        self._write(self._pending)
        while True:
            self._number += 1
            path = Path(f"{self._prefix}-{self._number}")
            with suppress(FileExistsError):  # of a dead process that had our number, or of another object
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
                break
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._segments.append(_Segment(self._number, path, file))
        self._size, self._known = 0, {}

    def _write(self, data: bytes) -> None:
        """Write what is pending and what comes with it."""
        if not data:
            return
        file, written, reason = self._segments[-1].file, 0, "the disk is full"
        try:
            written = os.write(file, data)
        except OSError as error:
            reason = error.strerror
        if written < len(data):
            # Half a record would hide all that follow it.
            os.ftruncate(file, self._size)
            raise OSError(reason)
        self._size += len(data)
        self._pending = b""


def _frame(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), crc32(payload)) + payload


class Leftover:
    """A file that nobody appends to any more, or whose owner has died. Holds its lock until `close`."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError`; `BlockingIOError` when its owner lives."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What it holds, in order, up to the first record that is not whole."""
        return read_statements(self.path)

    def delete(self) -> None:
        """SQLite has got all of it."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def read_statements(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a file holds, in order, up to the first record that is not whole."""
    known: dict[int, str] = {}
    for payload in _records(path.read_bytes()):
        number, value = _decode(payload)
        if isinstance(value, str):
            known[number] = value
        elif number in known:
            yield known[number], value


def _records(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _HEAD.size <= len(data):
        size, check = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        payload = data[at : at + size]
        if size > _MOST_RECORD_BYTES or len(payload) < size or crc32(payload) != check:
            return
        yield payload
        at += size


def find_leftovers(database: Path) -> Iterator[Leftover]:
    """The files beside a database whose owners have died, oldest first. Close each."""
    paths = [path for path in database.parent.glob(f"{database.name}-spool-*") if path.is_file()]
    for path in sorted(paths, key=_age):
        with suppress(FileNotFoundError, BlockingIOError):
            yield Leftover(path)


def _age(path: Path) -> tuple[float, int]:
    number = path.name.rpartition("-")[2]
    return path.stat().st_mtime, int(number) if number.isdigit() else 0
