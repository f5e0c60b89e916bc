"""`junctor serve`: the server."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvicorn
import uvloop

from junctor.app import Junctor
from junctor.cli.logs import set_up_logs
from junctor.cli.terminal import ConfigOption, errors, load, plain_errors
from junctor.gateway.admit import is_loopback
from junctor.pool.catalog import PROVIDERS
from junctor.settings import Environment, Settings, read_environment
from junctor.settings_check import SettingsError

LAST_WORDS_S = 5.0
"How long requests that were cut at the end of the grace period may take to write their rows."


_OPEN_DOOR = (
    "server.host: {host} can be reached from other machines, and no API key is configured; "
    "make one with `junctor keys new NAME`, or listen on 127.0.0.1"
)


_EMPTY_POOL = (
    "The pool is empty: `junctor pull qwen2.5-coder-0.5b` fetches a local model; or add [[models]] to "
    "junctor.toml."
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 takes a free one.")] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Ignore junctor.toml and serve the local models that are pulled.")
    ] = False,
) -> None:
    """Serve the pool on one endpoint."""
    with plain_errors():
        settings, environment, path = (Settings(), read_environment(), None) if local else load(config)
        settings = _with_address(settings, host, port)
        _refuse_open_door(settings, path)
        set_up_logs(environment.log_format)
        listener = _listen(settings.server.host, settings.server.port)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(listener, settings, environment))


class HttpServer(uvicorn.Server):
    """uvicorn, whose signals are ours: its own handling would end the process before the rows are written."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave them alone."""
        yield

    async def run_until_signalled(self, listener: socket.socket) -> None:
        """Serve until SIGTERM or SIGINT; a second one does not wait for answers in progress."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        await self.serve(sockets=[listener])
        # Cancelled at the end of the grace period, they still have their rows to write.
        if cancelled := set(self.server_state.tasks):
            await asyncio.wait(cancelled, timeout=LAST_WORDS_S)

    def _signalled(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def http_server(app: Junctor, grace_s: float = 30.0) -> HttpServer:
    """uvicorn as we run it: httptools, no access log (the ledger is one), no banner."""
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - its ASGI types are narrower than ASGI
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    return HttpServer(config)


async def _run(listener: socket.socket, settings: Settings, environment: Environment) -> None:
    app = Junctor(settings, environment)
    try:
        await app.start()
        _greet(listener, settings, environment)
        if not app.models:
            errors.print(_EMPTY_POOL, soft_wrap=True, markup=False)
        await http_server(app, settings.server.grace_s).run_until_signalled(listener)
    finally:
        await app.stop()


def _greet(listener: socket.socket, settings: Settings, environment: Environment) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    errors.print(f"Junctor serves [bold]http://{shown}:{port}/v1[/]", soft_wrap=True)
    if not settings.keys:
        errors.print(
            "It runs open, without API keys, for this machine only; `junctor keys new NAME` makes one."
        )
    _offer_providers(settings, environment)


def _with_address(settings: Settings, host: str | None, port: int | None) -> Settings:
    server = msgspec.structs.replace(
        settings.server,
        host=settings.server.host if host is None else host,
        port=settings.server.port if port is None else port,
    )
    return msgspec.structs.replace(settings, server=server)


def _refuse_open_door(settings: Settings, path: Path | None) -> None:
    if not settings.keys and not is_loopback(settings.server.host):
        raise SettingsError(
            path or Path("junctor.toml"),
            [_OPEN_DOOR.format(host=settings.server.host)],
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            Path("junctor.toml"),
            [f"server.port: cannot listen on {host}:{port}: {error.strerror}; try `--port 0`"],
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def _offer_providers(settings: Settings, environment: Environment) -> None:
    """Keys that lie in the environment are offered, never used unasked."""
    used = {model.provider for model in settings.models}
    for name, provider in PROVIDERS.items():
        if provider.api_key_env and name not in used and environment.secret(provider.api_key_env):
            errors.print(
                f"{provider.api_key_env} is set; to use it, add a \\[\\[models]] with "
                f'provider = "{name}" to junctor.toml.'
            )
