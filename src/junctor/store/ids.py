"""Ids that sort by time: of requests, decisions and whatever else gets a row.

The layout follows UUID version 7 (RFC 9562, section 5.7, with the monotonic random of section 6.2): 48 bits
of Unix milliseconds, then 80 random bits, as 32 lowercase hex digits. Rows that are made one after another
lie side by side in the index, and an id tells nobody how many came before it.
"""

from __future__ import annotations

import os
import threading
import time

_RANDOM_BITS = 80
_STEP_BITS = 32
"Ids of one millisecond lie up to 2**32 apart: the next one cannot be guessed."

_STOCK = 64
"Ids whose randomness is fetched at once: a system call for each would cost as much as all the rest."

_lock = threading.Lock()
_last = [0]
_stock: list[bytes] = []


def new_id(prefix: str) -> str:
    """A new id: `prefix`, which ends with `_` (`req_`, `dec_`), and 32 hex digits.

    Later ids of one process compare greater, as text too, even when the clock steps back.
    """
    if not prefix.endswith("_"):
        raise ValueError(f"an id's prefix ends with `_`: `{prefix}_`")
    with _lock:
        if not _stock:
            _restock()
        noise = int.from_bytes(_stock.pop(), "big")
        number = time.time_ns() // 1_000_000 << _RANDOM_BITS | noise
        if number <= _last[0]:
            number = _last[0] + 1 + (noise & (1 << _STEP_BITS) - 1)
        _last[0] = number
    return f"{prefix}{number:032x}"


def _restock() -> None:
    size = _RANDOM_BITS // 8
    fresh = os.urandom(size * _STOCK)
    _stock.extend(fresh[at : at + size] for at in range(0, len(fresh), size))


# A forked process must not make its parent's ids.
os.register_at_fork(after_in_child=_stock.clear)
