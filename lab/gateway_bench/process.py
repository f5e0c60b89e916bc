"""What a server costs: processor time and memory of a process and all below it, read from /proc.

Processor time is the kernel's clock of each process (`clock_getcpuclockid`): the nanoseconds of
/proc/PID/task/*/schedstat, and those of threads that have ended. Children that have ended are in the parent's
`cutime` and `cstime` (ticks of 10 ms), which are added.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PATIENCE_S = 10.0


@contextmanager
def pinned(core: int) -> Generator[None]:
    """What is started inside, with all its threads and children, stays on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[int]:
    """A process and every process below it."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(map(int, path.read_text().split()))
            except OSError:
                continue
    return found


def cpu_ns(pid: int) -> int:
    """Nanoseconds that a tree has computed so far, threads and children that ended included."""
    total = 0
    for member in tree(pid):
        try:
            total += time.clock_gettime_ns((~member << 3) | 2)  # CPUCLOCK_SCHED of that process
            total += round(_ticks(member)[1] * TICK_S * 1e9)
        except OSError:
            continue
    return total


def cpu_ticks_s(pid: int) -> float:
    """The same in seconds, from utime + stime + cutime + cstime of /proc/PID/stat: a check."""
    return sum(sum(_ticks(member)) for member in tree(pid)) * TICK_S


def schedstat_ns(pid: int) -> int:
    """The same, from the threads that live now: a check."""
    paths = (path for member in tree(pid) for path in Path(f"/proc/{member}/task").glob("*/schedstat"))
    return sum(int(path.read_text().split()[0]) for path in paths)


def _ticks(pid: int) -> tuple[int, int]:
    """Own ticks, and those of children that ended and were waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def rss_mb(pid: int) -> float:
    """Resident memory of a tree in MB (1e6 bytes); pages that processes share count for each."""
    pages = sum(int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in tree(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group of its own, and the group: SIGTERM, then SIGKILL for what is left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "?")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "kernel": os.uname().release,
        "load_average": os.getloadavg(),
    }


def core_seconds(core: int) -> dict[str, float]:
    """Seconds a core has been busy, and taken by the host (steal), since it came up."""
    line = next(x for x in Path("/proc/stat").read_text().splitlines() if x.startswith(f"cpu{core} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(x) for x in line.split()[1:9])
    return {"busy": (user + nice + system + irq + softirq) * TICK_S, "steal": steal * TICK_S}
