"""Does one Idempotency-Key make one upstream call? Pairs at once, one after the other, and across kill -9.

    .venv/bin/python lab/soak_idempotency.py --pairs 1000

A real `junctor serve` on loopback, with an upstream of our own that counts its calls and answers each one
differently. A third of the pairs are sent at the same time; a third one after the other; of the last third
the second request is sent after the server was killed and started again. Odd pairs are streamed. Both replies
of a pair must be equal byte for byte, and the upstream must have been called once for each pair.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from plain_client import PlainReply, chat_body, post  # noqa: E402

AT_ONCE = 32
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"


class Upstream:
    """Counts its calls by prompt, and says the number of the call."""

    def __init__(self) -> None:
        self.calls = Counter[str]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                assert length
                body = await reader.readexactly(int(length[1]))
                prompt = re.search(rb"pair \d+", body)
                assert prompt
                self.calls[prompt[0].decode()] += 1
                await asyncio.sleep(0.01)
                writer.write(self._reply(streams=b'"stream":true' in body.replace(b" ", b"")))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _reply(self, *, streams: bool) -> bytes:
        said = f"call {self.calls.total()}"
        if not streams:
            text = (
                '{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
                f'{{"role":"assistant","content":"{said}"}},"finish_reason":"stop"}}],'
                '"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
            )
            return HEAD % (b"application/json", len(text)) + text.encode()
        chunk = '{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
        events = [
            chunk + f'"delta":{{"role":"assistant","content":"{said}"}},"finish_reason":null}}]}}',
            chunk + '"delta":{},"finish_reason":"stop"}]}',
            "[DONE]",
        ]
        text = "".join(f"data: {event}\n\n" for event in events)
        return HEAD % (b"text/event-stream", len(text)) + text.encode()


@asynccontextmanager
async def junctor(folder: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A server of its own process, and its URL; killed at the end, as by a crash."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "junctor", "serve", "--config", str(folder / "junctor.toml"), "--port", "0"),
        env={"HOME": str(folder), "JUNCTOR_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT / "src")},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    said = b""
    while not (found := re.search(rb"http://\S+/v1", said)):
        said += (line := await process.stderr.readline())
        assert line, said
    drain = asyncio.create_task(process.stderr.read())
    try:
        yield found[0].decode(), process
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await drain


async def ask(url: str, pair: int) -> PlainReply:
    body = chat_body("m", f"pair {pair}", stream=bool(pair % 2))
    return await post(f"{url}/chat/completions", body, {"idempotency-key": f"key-{pair}"})


async def run(pairs: int, folder: Path) -> tuple[list[tuple[PlainReply, PlainReply]], Upstream]:
    upstream = Upstream()
    listener = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    (folder / "junctor.toml").write_text(
        f'[[models]]\nname = "m"\nprovider = "own"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
    )
    gate = asyncio.Semaphore(AT_ONCE)

    async def once(url: str, pair: int) -> PlainReply:
        async with gate:
            return await ask(url, pair)

    async def serially(url: str, pair: int) -> tuple[PlainReply, PlainReply]:
        return await once(url, pair), await once(url, pair)

    third = pairs // 3
    async with junctor(folder) as (url, _):
        together = await asyncio.gather(
            *(asyncio.gather(once(url, pair), once(url, pair)) for pair in range(third))
        )
        serial = await asyncio.gather(*(serially(url, pair) for pair in range(third, 2 * third)))
        before = await asyncio.gather(*(once(url, pair) for pair in range(2 * third, pairs)))
    async with junctor(folder) as (url, _):
        after = await asyncio.gather(*(once(url, pair) for pair in range(2 * third, pairs)))
    listener.close()
    return [*(tuple(pair) for pair in together), *serial, *zip(before, after, strict=True)], upstream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    pairs = parser.parse_args().pairs
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        replies, upstream = asyncio.run(run(pairs, Path(folder)))
    failed = sum(reply.status != 200 for pair in replies for reply in pair)
    different = sum(
        one.body != two.body or one.headers["x-request-id"] != two.headers["x-request-id"]
        for one, two in replies
    )
    replayed = sum("idempotent-replayed" in reply.headers for pair in replies for reply in pair)
    print(f"pairs {len(replies)}   upstream calls {upstream.calls.total()}   replayed {replayed}")
    most = max(upstream.calls.values())
    print(f"failed {failed}   pairs that differ {different}   most calls for a pair {most}")
    print(f"{time.monotonic() - began:.1f} s")
    sys.exit(bool(failed or different or upstream.calls.total() != pairs))


if __name__ == "__main__":
    main()
