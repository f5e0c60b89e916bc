"""The pepper: the secret that the digests of API keys are made with, kept apart from them.

32 random bytes in the file `pepper` of the data directory, for this user's eyes only, or whatever
`JUNCTOR_PEPPER` says.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from junctor.store.failure import StoreFailed

FILE_NAME = "pepper"
SIZE = 32
VARIABLE = "JUNCTOR_PEPPER"


class Pepper:
    """Where the pepper comes from."""

    def __init__(self, folder: Path, given: str | None = None) -> None:
        """`given`: the value of `JUNCTOR_PEPPER`, which goes before the file."""
        self._path = folder / FILE_NAME
        self._given = given

    def read(self) -> bytes:
        """The pepper that keys were made with. Raises `StoreFailed` when it is not there."""
        found = self._find()
        if found is None:
            raise StoreFailed(
                f"{self._path} is gone, and without it no API key of the database can be checked: restore it "
                f"from a backup, set {VARIABLE} as it was, or revoke those keys (`junctor keys list`)"
            )
        return found

    def make(self) -> bytes:
        """The pepper for a new key: the one that is there, else a new one. Raises `StoreFailed`."""
        found = self._find()
        if found is None:
            self._write(secrets.token_bytes(SIZE))
            found = self._find()
        assert found is not None
        return found

    def _find(self) -> bytes | None:
        if self._given is not None:
            if len(self._given) < SIZE:
                raise StoreFailed(
                    f"{VARIABLE} has {len(self._given)} characters; give it at least {SIZE} random ones: "
                    "`openssl rand -hex 32`"
                )
            return self._given.encode()
        try:
            found = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreFailed(f"{self._path} cannot be read: {error.strerror}") from error
        if len(found) != SIZE:
            raise StoreFailed(f"{self._path} is damaged: it must hold {SIZE} bytes; restore it from a backup")
        return found

    def _write(self, pepper: bytes) -> None:
        """Whole or not at all; of two who write at once, the first counts."""
        draft = self._path.with_name(f"{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pepper)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, self._path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        except OSError as error:
            raise StoreFailed(f"{self._path} cannot be written: {error.strerror}") from error
