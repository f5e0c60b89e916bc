"""A client that holds one key, and what that key has spent; for tests of budgets."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from plain_client import PlainReply, chat_body, post
from running import Running

MANY = 500
"Requests of a burst."
DOLLAR, CENT = 1_000_000_000, 10_000_000
"In 1e-9 USD."


class Client:
    """Holds one key."""

    def __init__(self, server: Running, **limits: Any) -> None:
        self.server = server
        self.headers: dict[str, str] = {}
        if server.app.is_open:
            self.admin = self._call("POST", "/api/keys", {"name": "boss", "admin": True})["key"]
            server.admin = self.admin  # type: ignore[attr-defined]
        self.admin: str = server.admin  # type: ignore[attr-defined]
        self.headers = {"authorization": f"Bearer {self.admin}"}
        made = self._call("POST", "/api/keys", {"name": "ann", **limits})
        self.id, self.key = made["id"], made["key"]

    def _call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        asked = Request(self.server.url + path, json.dumps(body).encode(), self.headers, method=method)
        with urlopen(asked) as reply:
            return json.load(reply)

    def allow(self, **limits: Any) -> None:
        self._call("PATCH", f"/api/keys/{self.id}", limits)

    async def ask(self, model: str = "cent", text: str = "Hi", path: str = "", **more: Any) -> PlainReply:
        """One request; on a machine so busy that the server sheds load, another try."""
        url, headers = (
            f"{self.server.api}{path or '/chat/completions'}",
            {"authorization": f"Bearer {self.key}"},
        )
        while (reply := await post(url, chat_body(model, text, **more), headers)).status == 503:
            await asyncio.sleep(0.1)
        return reply

    async def ask_and_leave(self, after_s: float, model: str, text: str) -> None:
        """One streamed request, by somebody who leaves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await self.ask(model, text, stream=True)

    async def burst(self, **how: Any) -> Counter[int]:
        """So many at once: how many had which status."""
        replies = await asyncio.gather(*[self.ask(**how) for _ in range(MANY)])
        for reply in replies:
            assert (reply.status, "x-should-retry" in reply.headers) in ((200, False), (429, True))
        return Counter(reply.status for reply in replies)

    @property
    def reserved(self) -> int:
        caller = self.server.app.lasting.keys.recognise(self.key)
        assert caller is not None
        account = self.server.app.lasting.limits.account_of(caller)
        assert account is not None
        assert not account._line
        assert not account._in_flight
        return account.reserved_nano

    @property
    def spent(self) -> int:
        return spent_by(self.server.database, self.id)


def spent_by(database: Path, key_id: str) -> int:
    with sqlite3.connect(database) as connection:
        (sum_,) = connection.execute(
            "SELECT coalesce(sum(usd_nano), 0) FROM ledger WHERE key_id = ?", (key_id,)
        ).fetchone()
    return sum_
