"""`junctor serve`: the server."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.markup import escape

from junctor.app import Junctor
from junctor.assemble import database_path
from junctor.chat import BadRequest
from junctor.cli.logs import set_up_logs
from junctor.cli.reload import ConfigWatch, keep_settled
from junctor.cli.terminal import ConfigOption, command_line_of, errors, load, plain_errors
from junctor.gateway.admit import is_loopback
from junctor.gateway.key_store import KeyStore
from junctor.pool.catalog import PROVIDERS
from junctor.settings import CONFIG_NAME, Environment, Settings, read_environment
from junctor.settings_check import SettingsError
from junctor.store.database import Database

_OPEN_DOOR = (
    "server.host: {host} can be reached from other machines, and no API key is configured; "
    "make one with `{make}`, or listen on 127.0.0.1"
)
_EMPTY_POOL = (
    "The pool is empty: `{pull}` fetches a local model; or add [[models]] to junctor.toml, or name another "
    "file with --config."
)

_TO_LISTEN = {
    errno.EADDRINUSE: (
        "another program does, perhaps a Junctor: end it, or take another port with `--port`, or `port` in "
        "[server] of junctor.toml; `--port 0` finds a free one"
    ),
    errno.EADDRNOTAVAIL: "this machine has no such address: change `--host`, or `host` in [server]",
    errno.EACCES: "ports below 1024 are the system's: take another one with `--port`, or `port` in [server]",
}
"What to change, by the system's error."


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Ignore junctor.toml and serve the local models that are pulled.")
    ] = False,
) -> None:
    """Serve the pool on one endpoint."""
    with plain_errors():
        settings, environment, path = (Settings(), read_environment(), None) if local else load(config)
        settings = _with_address(settings, host, port)
        locked = not is_loopback(settings.server.host) and asyncio.run(keeps_keys(settings, environment))
        _refuse_open_door(settings, path, locked=locked)
        set_up_logs(environment.log_format)
        listener = _listen(settings.server.host, settings.server.port)

        def read_again() -> Settings:
            new = Settings() if local else load(path)[0]
            new = keep_settled(_with_address(new, host, port), settings)
            _refuse_open_door(new, path, locked=locked)
            return new

        watched = None if local else path or Path(CONFIG_NAME)
        with (
            suppress(asyncio.CancelledError),  # told to end before it could begin
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_run(listener, settings, environment, watched, read_again))


async def _run(
    listener: socket.socket,
    settings: Settings,
    environment: Environment,
    path: Path | None,
    read_again: Callable[[], Settings],
) -> None:
    app = Junctor(settings, environment, read_again)
    watch = ConfigWatch(app, path)
    watch.heed_sighup()
    starting = asyncio.current_task()
    assert starting is not None
    # Until the server heeds it in its own way: engines that have been started are stopped.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, starting.cancel)
    try:
        await app.start()
        named = () if path is None or path == Path(CONFIG_NAME) else ("-c", path)
        _greet(listener, named if app.is_open else None)
        _offer_providers(settings, environment)
        if not app.models:
            pull = command_line_of("pull", "qwen2.5-coder-0.5b", *named)
            errors.print(_EMPTY_POOL.format(pull=pull), soft_wrap=True, markup=False)
        watching = asyncio.create_task(watch.run(), name="config watch")
        await app.build_server().run_until_signalled(listener)
        watching.cancel()
    finally:
        await app.stop()


def _greet(listener: socket.socket, open_with: tuple[str | Path, ...] | None) -> None:
    """`open_with`: of a server without keys, the options by which a command works on its configuration."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    errors.print(f"Junctor serves [bold]http://{shown}:{port}/v1[/]", soft_wrap=True)
    if open_with is not None:
        make = escape(command_line_of("keys", "create", "NAME", *open_with))
        errors.print(
            f"It runs open, without API keys, for this machine only; `{make}` makes one.", soft_wrap=True
        )


def _with_address(settings: Settings, host: str | None, port: int | None) -> Settings:
    server = msgspec.structs.replace(
        settings.server,
        host=settings.server.host if host is None else host,
        port=settings.server.port if port is None else port,
    )
    return msgspec.structs.replace(settings, server=server)


async def keeps_keys(settings: Settings, environment: Environment) -> bool:
    """Whether the database holds a key that is not revoked."""
    path = database_path(settings, environment)
    if not path.is_file():
        return False
    async with Database(path) as database:
        return any(key.revoked_at is None for key in await KeyStore(database).keys())


def _refuse_open_door(settings: Settings, path: Path | None, *, locked: bool) -> None:
    if not settings.keys and not locked and not is_loopback(settings.server.host):
        raise SettingsError(
            path or Path("junctor.toml"),
            [_OPEN_DOOR.format(host=settings.server.host, make=command_line_of("keys", "create", "NAME"))],
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        advice = _TO_LISTEN.get(error.errno or 0, "change `--host`, or `host` in [server]")
        raise BadRequest(f"cannot listen on {host}:{port}: {error.strerror}; {advice}") from error
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
