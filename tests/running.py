"""A real Junctor on a real socket, for tests that stand where a client stands."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from junctor.app import Junctor
from junctor.chat import ConfigRefused
from junctor.settings import Environment, read_settings
from junctor.wire.openapi import Served

T = TypeVar("T")


class Running:
    """A server that runs in a thread of its own."""

    def __init__(self, url: str, app: Junctor, loop: asyncio.AbstractEventLoop, database: Path) -> None:
        self.url = url
        self.api = f"{url}/v1"
        self._app = app
        self._loop = loop
        self._database = database

    def reload(self, config: str) -> bool:
        """Bring another configuration into force, as a changed file does; False when it is refused."""
        self.config.write_text(config, encoding="utf-8")
        try:
            self.run(self._app.reload())
        except ConfigRefused:
            return False
        return True

    @property
    def config(self) -> Path:
        """The file that a reload reads."""
        return self._database.with_name("junctor.toml")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    @property
    def app(self) -> Junctor:
        """The application: it belongs to the server's loop."""
        return self._app

    @property
    def served(self) -> Sequence[Served]:
        """What it answers."""
        return self._app.served

    @property
    def database(self) -> Path:
        """The SQLite file, with all rows of the requests so far: they reach it a moment after the reply."""
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._app.lasting.database.read("SELECT 1"), self._loop).result()
        return self._database


def environment(folder: Path, **variables: str) -> Environment:
    """An environment whose every folder lies below `folder`."""
    return Environment(data_dir=folder, cache_dir=folder / "cache", variables=variables)


@contextmanager
def running(config: str, folder: Path, **variables: str) -> Generator[Running, None, None]:
    """Serve a configuration until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "junctor.toml"
    file.write_text(config, encoding="utf-8")
    read = partial(read_settings, file)
    app = Junctor(read(), environment(folder, **variables), read)
    server = app.build_server()
    listener = socket.create_server(("127.0.0.1", 0))

    loops = list[asyncio.AbstractEventLoop]()

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        try:
            await app.start()
            await server.serve(sockets=[listener])
        finally:
            await app.stop()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            threading.Event().wait(0.005)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Running(url, app, loops[0], folder / "junctor.db")
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
    assert not thread.is_alive(), "the server did not stop"
