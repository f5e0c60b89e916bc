"""A changed `junctor.toml` comes into force while requests go on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from junctor.app import Junctor
from junctor.chat import ConfigRefused
from junctor.settings import Settings

log = logging.getLogger(__name__)

POLL_S: Final = 1.0
"How often the file is looked at."
SETTLE_S: Final = 0.1
"A file that changed is read once it has stayed the same for so long: editors write in several steps."


class ConfigWatch:
    """Has the application reload when the file changes, and on SIGHUP."""

    def __init__(
        self,
        app: Junctor,
        path: Path | None,
        *,
        poll_s: float = POLL_S,
    ) -> None:
        """`path`: the file to look at, if any."""
        self._app = app
        self._path = path
        self._poll_s = poll_s
        self._asked = asyncio.Event()
        self._seen = self._look()

    def heed_sighup(self) -> None:
        """From now on SIGHUP asks for a reload, instead of ending the process."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked.set)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._asked.wait()
            changed = self._app.settings.server.watch_config and self._look() != self._seen
            if changed or self._asked.is_set():
                self._asked.clear()
                await self._settle()
                with suppress(ConfigRefused):  # the log has it
                    await self._app.reload()

    async def _settle(self) -> None:
        while (now := self._look()) != self._seen:
            self._seen = now
            await asyncio.sleep(SETTLE_S)

    def _look(self) -> tuple[int, int, int] | None:
        """Inode, time of change, size; None when it is not there."""
        if self._path is None:
            return None
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def keep_settled(new: Settings, running: Settings) -> Settings:
    """New settings, but for what is settled at the start: the address, and the database."""
    server = replace(new.server, host=running.server.host, port=running.server.port)
    store = replace(new.store, path=running.store.path, synchronous=running.store.synchronous)
    if server != new.server:
        log.warning("server.host and server.port come into force at the next start; all else does now")
    if store != new.store:
        log.warning("store.path and store.synchronous come into force at the next start; all else does now")
    return replace(new, server=server, store=store)
