"""`junctor ask`: one question to a running server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import typer
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.response import Response

from junctor.chat import JunctorError, UpstreamBroken, UpstreamUnreachable
from junctor.cli.terminal import console, errors, plain_errors
from junctor.gateway.receipt import parse_receipt_comment
from junctor.settings import read_environment
from junctor.wire.sse import EventParser


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ask)


def ask(
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    model: Annotated[str, typer.Option(help="A model of the pool, or auto.")] = "auto",
    mode: Annotated[str | None, typer.Option(help="balanced, cost or quality.")] = None,
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8400",
) -> None:
    """Ask one question, and say who answered. JUNCTOR_API_KEY holds the key, where the server wants one."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True}
    if mode is not None:
        body["junctor"] = {"mode": mode}
    with plain_errors():
        asyncio.run(_ask(url.rstrip("/"), body, read_environment().secret("JUNCTOR_API_KEY")))


async def _ask(url: str, body: dict[str, Any], key: str | None) -> None:
    try:
        async with ClientBuilder().no_proxy().build() as client:
            request = client.post(f"{url}/v1/chat/completions").body_bytes(msgspec.json.encode(body))
            if key is not None:
                request = request.bearer_auth(key)
            async with request.header("content-type", "application/json").build_streamed() as response:
                if response.status != 200:
                    raise _error_of(bytes(await response.bytes()))
                await _print_answer(response)
    except PyreqwestError as error:
        raise UpstreamUnreachable(
            f"no server answers at {url}; start one with `junctor serve`, or name another with --url"
        ) from error


async def _print_answer(response: Response) -> None:
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
        why = f"; why: junctor why {receipt.decision}" if receipt.decision else ""
        errors.print(
            f"[dim]{receipt.model}, {receipt.usd:.6f} USD, saved {receipt.saved_usd:.6f} USD{why}[/]",
            soft_wrap=True,
        )


def _print_chunk(chunk: dict[str, Any]) -> None:
    if "error" in chunk:
        raise UpstreamBroken(chunk["error"]["message"])
    for choice in chunk.get("choices", ()):
        if text := choice.get("delta", {}).get("content"):
            console.print(text, end="", markup=False, soft_wrap=True)


def _error_of(body: bytes) -> JunctorError:
    try:
        return JunctorError(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return UpstreamBroken("the server's answer is not Junctor's; is another program on that port?")
