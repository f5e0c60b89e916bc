"""`junctor ask`: one question to a running server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec
import typer
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.response import Response
from rich.markup import escape

from junctor.chat import AuthenticationFailed, BadRequest, JunctorError, UpstreamBroken, UpstreamUnreachable
from junctor.cli.terminal import ConfigOption, command_line_of, console, errors, load, plain_errors
from junctor.gateway.receipt import parse_receipt_comment
from junctor.settings import ServerSettings, read_environment
from junctor.wire.sse import EventParser

_ID: Final = "dec_ID"
"Stands in a command for the id of a decision."
_ON_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to say instead of it
"Addresses that a server listens on, and nobody can call."


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ask)


def ask(
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    model: Annotated[str, typer.Option(help="A model of the pool, or auto.")] = "auto",
    mode: Annotated[str | None, typer.Option(help="balanced, cost or quality.")] = None,
    url: Annotated[
        str | None,
        typer.Option(help="The server; left out: the one that the configuration's \\[server] describes."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Ask one question, and say who answered. JUNCTOR_API_KEY holds the key, where the server wants one."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True}
    if mode is not None:
        body["junctor"] = {"mode": mode}
    with plain_errors():
        found = url.rstrip("/") if url else _url_of(load(config)[0].server)
        why = command_line_of("why", _ID, *(("-c", config) if config else ()))
        asyncio.run(_ask(found, body, read_environment().secret("JUNCTOR_API_KEY"), why))


def _url_of(server: ServerSettings) -> str:
    """Where a server with these settings is reached from its own machine. Raises `BadRequest`."""
    if server.port == 0:
        raise BadRequest("server.port is 0, so each start takes another port: name it with --url, as printed")
    host = _ON_THIS_MACHINE.get(server.host, server.host)
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


async def _ask(url: str, body: dict[str, Any], key: str | None, why: str) -> None:
    """`why`: the command that explains a decision, with `_ID` for its id."""
    try:
        async with ClientBuilder().no_proxy().build() as client:
            request = client.post(f"{url}/v1/chat/completions").body_bytes(msgspec.json.encode(body))
            if key is not None:
                request = request.bearer_auth(key)
            async with request.header("content-type", "application/json").build_streamed() as response:
                if response.status != 200:
                    raise _error_of(response.status, bytes(await response.bytes()), key)
                await _print_answer(response, why)
    except PyreqwestError as error:
        raise UpstreamUnreachable(
            f"no server answers at {url}; start one with `{command_line_of('serve')}`, or name another "
            "with --url"
        ) from error


async def _print_answer(response: Response, why: str) -> None:
    parser = EventParser()
    tail = b""
    while (piece := await response.body_reader.read_chunk()) is not None:
        data = bytes(piece)
        tail = (tail + data)[-4096:]
        for event in parser.feed(data):
            if event.data != b"[DONE]":
                _print_chunk(msgspec.json.decode(event.data))
    console.print()
    if receipt := parse_receipt_comment(tail):
        told = f"{receipt.model}, {receipt.usd:.6f} USD"
        if receipt.saved_usd is not None:
            told += f", saved {receipt.saved_usd:.6f} USD"
        if receipt.decision:
            told += f"; why: {why.replace(_ID, receipt.decision)}"
        errors.print(f"[dim]{escape(told)}[/]", soft_wrap=True)


def _print_chunk(chunk: dict[str, Any]) -> None:
    if "error" in chunk:
        raise UpstreamBroken(chunk["error"]["message"])
    for choice in chunk.get("choices", ()):
        if text := choice.get("delta", {}).get("content"):
            console.print(text, end="", markup=False, soft_wrap=True)


def _error_of(status: int, body: bytes, key: str | None) -> JunctorError:
    try:
        message: str = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return UpstreamBroken("the server's answer is not Junctor's; is another program on that port?")
    if status != AuthenticationFailed.status:
        return JunctorError(message)
    missing = "" if key else f", which is not set; `{command_line_of('keys', 'create', 'NAME')}` makes one"
    return AuthenticationFailed(f"{message}. `junctor ask` sends the key in JUNCTOR_API_KEY{missing}")
