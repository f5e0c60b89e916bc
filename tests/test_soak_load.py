"""The load itself: whether it would notice an answer that is cut, foreign or out of order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "lab"))

from soak_load import judge
from soak_traffic import LAST, Ask, Reply, event, piece

ASK = Ask(7, chunks=3)
RECEIPT = b': junctor {"usd":0}\n\n'
PIECES = [piece(7, 0, "waited=0.051;"), piece(7, 1), piece(7, 2)]


def streamed(pieces: list[str], *, receipt: bytes = RECEIPT, last: list[str] = LAST) -> Reply:
    lines = [*(event(one) for one in pieces), *last]
    data = [f"data: {line}\n\n".encode() for line in lines]
    return Reply(200, b"".join([*data[:-1], receipt, data[-1]]), 0.1, 0.2)


def test_a_whole_stream_says_how_long_its_upstream_waited() -> None:
    assert streamed(PIECES).waited_s(ASK) == 0.051


@pytest.mark.parametrize(
    "reply",
    [
        streamed(PIECES[:2]),
        streamed([PIECES[0], PIECES[2], PIECES[1]]),
        streamed([*PIECES, PIECES[2]]),
        streamed([PIECES[0], piece(8, 1), PIECES[2]]),
        streamed(PIECES, receipt=b""),
        streamed(PIECES, last=LAST[:-1]),
        streamed(PIECES)._replace(status=500),
        streamed([]),
    ],
    ids=["cut", "swapped", "twice", "foreign", "no receipt", "no end", "status", "empty"],
)
def test_any_other_stream_is_an_error(reply: Reply) -> None:
    with pytest.raises(ValueError, match=r"not whole|status"):
        reply.waited_s(ASK)


def sample(s: float, **figures: float) -> dict[str, float]:
    return {"s": s, "rss_mb": 60.0, "files": 40, "sockets_beyond": 2, "tasks": 9, "threads": 3, **figures}


def test_growth_is_told_from_a_warm_up() -> None:
    """Memory that grows before minute 5 does not count; after it, it does, and so do open files."""
    warm = [sample(s, rss_mb=30.0) for s in range(0, 300, 10)]
    steady = [sample(s) for s in range(300, 1200, 10)]
    assert judge([*warm, *steady], 1200) | {"grew": 0.0, "flat": True} == judge([*warm, *steady], 1200)
    leaking = [sample(s, rss_mb=60 + s / 100, files=s / 10) for s in range(300, 1200, 10)]
    found = judge([*warm, *leaking], 1200)
    assert found["grew"] > 0.05
    assert not found["flat"]
