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

_lock = threading.Lock()
_last = [0]


def new_id(prefix: str) -> str:
    """A new id: `prefix`, which ends with `_` (`req_`, `dec_`), and 32 hex digits.

    Later ids of one process compare greater, as text too, even when the clock steps back.
    """
    if not prefix.endswith("_"):
        raise ValueError(f"an id's prefix ends with `_`: `{prefix}_`")
    noise = int.from_bytes(os.urandom(_RANDOM_BITS // 8), "big")
    number = time.time_ns() // 1_000_000 << _RANDOM_BITS | noise
    with _lock:
        if number <= _last[0]:
            number = _last[0] + 1 + (noise & (1 << _STEP_BITS) - 1)
        _last[0] = number
    return f"{prefix}{number:032x}"
