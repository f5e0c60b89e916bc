"""The bench itself: a wrong clock, or a load that counts broken answers, would make each figure wrong."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent / "lab"))

from gateway_bench.native import CHUNKS, Ask, Mock, build, free_port, load, render_request
from gateway_bench.process import cpu_ns, cpu_ticks_s, schedstat_ns, stop
from gateway_bench.report import add_ratios, render_tables, summarise
from gateway_bench.servers import Place, Running, Server, Unavailable

ASK = Ask(connections=2, requests=10, seconds=10)
STREAM = Ask(connections=2, requests=10, seconds=10, stream=True)
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="mock and load are C programs")


def _round(number: int, cpu: float, p50: float) -> dict[str, Any]:
    phase = {"answered": 9, "cpu_us": cpu, "cpu_us_per_chunk": cpu / 10, "p50_us": p50, "p99_us": p50 * 2}
    counts = {"not_200": 0, "short": 1, "broken": 0, "unanswered": 0}
    return {"round": number, "one": phase | counts, "many": phase | counts}


def test_medians_are_of_rounds_and_latency_is_added_round_by_round() -> None:
    """The slow round of the machine is subtracted from the slow round of the server."""
    direct = [_round(0, 0, 10), _round(1, 0, 1000), _round(2, 0, 20)]
    row = summarise([_round(0, 30, 110), _round(1, 90, 1100), _round(2, 40, 125)], direct)
    assert (row["cpu_us"], row["cpu_us_best"]) == (40, 30)
    assert row["added_p50_us_1"] == 100
    assert row["chunk_us"] is None
    assert row["failures"] == 6


def test_a_round_without_direct_figures_adds_nothing() -> None:
    row = summarise([_round(7, 30, 110)], [_round(0, 0, 10)])
    assert row["added_p50_us_16"] is None


def test_ratios_are_to_nginx_and_litellm_and_missing_ones_are_dashes() -> None:
    rows = {name: summarise([_round(0, cpu, 1)], []) for name, cpu in (("nginx", 20.0), ("junctor", 50.0))}
    add_ratios(rows)
    assert rows["junctor"]["times_nginx"] == 2.5
    assert rows["junctor"]["times_less_than_litellm"] is None
    tables = render_tables(rows).split("\n\n")
    assert tables[0].splitlines()[2:] == [
        "| nginx | 20.0 (20.0) | 20.0 | - | 1.0 | - |",
        "| junctor | 50.0 (50.0) | 50.0 | - | 2.5 | - |",
    ]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    build(folder)
    return folder


@pytest.fixture
def mock(programs: Path) -> Iterator[Mock]:
    running = Mock.start(programs, 0)
    yield running
    running.stop()


def _load(programs: Path, port: int, ask: Ask) -> dict[str, Any]:
    return load(programs, 0, port, ask, render_request(ask, port, "mock", {}, "Say hello."))


@needs_gcc
@pytest.mark.parametrize("ask", [ASK, STREAM, Ask(3, 6, 10, stream=True, pause_us=500)])
def test_the_mock_answers_and_the_load_counts(programs: Path, mock: Mock, ask: Ask) -> None:
    """Plain, streamed at once, streamed with pauses."""
    found = _load(programs, mock.port, ask)
    assert found["answered"] == ask.requests
    assert found["not_200"] == found["short"] == found["broken"] == found["unanswered"] == 0
    assert found["body_bytes"] == 1085 or ask.stream


@needs_gcc
@pytest.mark.parametrize("chunked", [False, True])
def test_the_mock_takes_bodies_of_any_size(mock: Mock, chunked: bool) -> None:
    body = json.dumps({"messages": "x" * 3_000_000, "stream": True}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", mock.port)
    for _ in range(2):
        connection.request("POST", "/v1/chat/completions", iter([body]) if chunked else body)
        text = connection.getresponse().read().decode()
        assert text.count("@@") == CHUNKS
        assert text.endswith("data: [DONE]\n\n")
    connection.close()


@needs_gcc
def test_the_mock_serves_hundreds_at_once(programs: Path, mock: Mock) -> None:
    found = _load(programs, mock.port, Ask(500, 500, 30, stream=True, pause_us=2000))
    assert found["answered"] == 500


def _answering(reply: bytes) -> int:
    """The port of a server that gives two callers the same bytes, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for _ in range(2):
                line, _address = listener.accept()
                with line, suppress(OSError):
                    line.recv(65536)
                    line.sendall(reply)
                    line.shutdown(socket.SHUT_WR)
                    while line.recv(65536):
                        pass

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def _stream(marks: list[int], end: str = "data: [DONE]") -> bytes:
    text = "".join(f"data: @@{mark:03d};\n\n" for mark in marks) + end
    pieces = [text[at : at + 7].encode() for at in range(0, len(text), 7)]  # marks lie across chunks
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    return head + body + b"0\r\n\r\n"


GOOD = list(range(CHUNKS))


@needs_gcc
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_stream(GOOD), "answered"),
        (_stream([*GOOD[:7], *GOOD[8:]]), "short"),
        (_stream([*GOOD[:7], 8, 7, *GOOD[9:]]), "short"),
        (_stream(GOOD, ""), "short"),
        (_stream(GOOD)[:-5], "broken"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "not_200"),
    ],
    ids=["whole", "a piece lost", "pieces swapped", "no end", "broken off", "refused"],
)
def test_the_load_counts_only_whole_answers(programs: Path, reply: bytes, kind: str) -> None:
    """A gateway that loses something does not come out faster for it."""
    found = _load(programs, _answering(reply), Ask(1, 1, 10, stream=True))
    counts = {name: found[name] for name in ("answered", "short", "broken", "not_200")}
    assert counts == dict.fromkeys(counts, 0) | {kind: 1}


BURN = """
import subprocess, sys, threading, time
def burn():
    while time.thread_time() < 0.2: pass
thread = threading.Thread(target=burn); thread.start(); thread.join()
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.2: pass"])
print("burnt", flush=True); sys.stdin.read()
"""


def test_processor_time_of_ended_threads_and_children_is_kept() -> None:
    """/proc/PID/task/*/schedstat alone forgets both."""
    command = [sys.executable, "-c", BURN]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        spent, ticks, alive = cpu_ns(process.pid) / 1e9, cpu_ticks_s(process.pid), schedstat_ns(process.pid)
        stop(process)
    assert spent > 0.38
    assert abs(spent - ticks) < 0.05
    assert alive / 1e9 < spent - 0.38


def test_a_server_that_ends_is_unavailable_and_its_log_says_why(tmp_path: Path) -> None:
    place = Place(tmp_path, free_port(), 1, tmp_path)
    server = Server("broken", [sys.executable, "-c", "raise SystemExit('no such model')"])
    with pytest.raises(Unavailable, match="status 1; its log ends: no such model"):
        Running.start(server, place, 0)
