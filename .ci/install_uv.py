"""Put pip and uv into the bare environment that runs this: `.venv/bin/python .ci/install_uv.py`.

Debian's Python comes without ensurepip, so pip itself must come from the package index: its wheel runs as it
is. The index is the one that pip is configured for (PIP_INDEX_URL), else PyPI.
"""

from __future__ import annotations

import hashlib
import html.parser
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")  # noqa: TID251 - not the package


class Wheels(html.parser.HTMLParser):
    """Collects the links of an index page (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href and ".whl" in href:
            self.links.append(href)


def newest_pip() -> tuple[str, str]:
    """(address, SHA-256) of the newest released wheel of pip."""
    page = f"{INDEX}/pip/"
    wheels = Wheels()
    with urllib.request.urlopen(page, timeout=60) as answer:  # noqa: S310 - the index, as configured
        wheels.feed(answer.read().decode())
    released = {}
    for link in wheels.links:
        if found := re.search(r"/pip-(\d+(?:\.\d+)*)-py3-none-any\.whl#sha256=([0-9a-f]{64})", link):
            version = tuple(map(int, found.group(1).split(".")))
            released[version] = (urllib.parse.urljoin(page, link.split("#")[0]), found.group(2))
    return released[max(released)]


def main() -> None:
    address, digest = newest_pip()
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310
        wheel = answer.read()
    if hashlib.sha256(wheel).hexdigest() != digest:
        sys.exit(f"{address} has another SHA-256 than the index says")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, address.rpartition("/")[2])
        path.write_bytes(wheel)
        pip = [sys.executable, f"{path}/pip", "install", "--quiet", "--disable-pip-version-check", "uv"]
        subprocess.run(pip, check=True)  # noqa: S603 - our own command line


if __name__ == "__main__":
    main()
