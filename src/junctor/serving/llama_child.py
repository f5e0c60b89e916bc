"""The engine's child process: llama.cpp with one file of weights, behind a key and a path of its parent's.

    python -m junctor.serving.llama_child        started by `engine.py`, not by hand

One line of JSON comes in on stdin (`order.Order`); one goes out on stdout (`order.Ready`) when the weights
are loaded. The process ends when its stdin closes, and the kernel kills it when its parent dies: it never
outlives the server. OMP_WAIT_POLICY and GOMP_SPINCOUNT must be set before: OpenMP reads them when it loads.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import select
import signal
import sys
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NoReturn

import msgspec

from junctor.serving.order import Order, Ready

# Without stubs: typed as Any, in one place.
xllamacpp: Any = importlib.import_module("xllamacpp")

_PR_SET_PDEATHSIG: Final = 1

READ_AT_ONCE: Final = 128
"""Tokens of prompts that llama.cpp reads before it looks who has gone away. Its default, 2048, keeps a
processor busy for a minute and more with what nobody wants any longer (docs/local-models.md)."""

_NO_ORIGIN: Final = "http://junctor.invalid"
"The only web origin that may call: a name that can never exist (RFC 2606)."


def main() -> NoReturn:
    """Load, serve until stdin closes, end."""
    _die_with_parent()
    sys.excepthook = _fail
    answers = _reserve_stdout()
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    if _is_orphan():
        os._exit(0)
    server = xllamacpp.Server(_params_of(order))
    ready = Ready(base_url=f"{server.listening_address}/{order.path}/v1")
    os.write(answers, msgspec.json.encode(ready) + b"\n")
    sys.stdin.buffer.read()
    os._exit(0)  # freeing gigabytes piece by piece would only delay the end


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _is_orphan() -> bool:
    """Whether the parent has gone already: the kernel tells only of one that goes later."""
    stdin = select.poll()
    stdin.register(0, 0)
    return bool(stdin.poll(0))


def _fail(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> NoReturn:
    """Say why, and end at once: the interpreter's own end may wait for llama.cpp's threads for ever."""
    with suppress(OSError):
        sys.__excepthook__(kind, error, trace)
        sys.stderr.flush()
    os._exit(1)


def _reserve_stdout() -> int:
    """Keep stdout for our one line: whatever the C++ side prints goes to stderr."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def _params_of(order: Order) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = order.weights
    params.model_alias = {order.name}  # else replies name the path of the weights
    # llama.cpp divides n_ctx among the slots; each request gets the whole window that was promised.
    params.n_ctx = order.window * order.parallel
    params.n_parallel = order.parallel
    params.kv_unified = False
    params.n_batch = READ_AT_ONCE
    params.ctx_shift = False  # never drop the start of a chat in silence
    params.cache_ram_mib = 0  # its default keeps up to 8 GB of old prompts
    params.cache_idle_slots = False
    params.fit_params = False  # it may shrink the window to fit the memory
    params.cpuparams.n_threads = order.threads
    params.cpuparams_batch.n_threads = order.threads
    params.verbosity = 1  # errors alone
    _close_to_strangers(params, order)
    return params


def _close_to_strangers(params: Any, order: Order) -> None:
    """By default the listener answers every local process and every web page. Close all of it."""
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [order.key]
    # Some paths (`/health`, `/models`) need no key; below a secret prefix even those are not found.
    params.api_prefix = f"/{order.path}"
    params.cors_origins = _NO_ORIGIN
    params.cors_origins_explicit = True
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.timeout_read = 60


if __name__ == "__main__":
    main()
