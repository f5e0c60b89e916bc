"""A transport without a network: it keeps what is written to it and what is asked of it."""

from __future__ import annotations

import asyncio
from typing import Any


class Wire(asyncio.Transport):
    """What `asyncio.Transport` promises, as far as servers use it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.asked: list[str] = []

    def write(self, data: Any) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return "close" in self.asked or "abort" in self.asked

    def close(self) -> None:
        self.asked.append("close")

    def abort(self) -> None:
        self.asked.append("abort")

    def write_eof(self) -> None:
        self.asked.append("write_eof")

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 2)}.get(name, default)
