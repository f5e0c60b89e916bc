"""Random and hostile requests along our own OpenAPI description: does anything fall over, or lie?

    .venv/bin/python lab/fuzz_api.py --cases 20000 [--seed 1] [--json OUT]

A Junctor of its own on loopback, with scripted models that never fail, so that every 5xx is ours.
Schemathesis makes the requests (all of its phases but the stateful one: examples, enumerated edges, random
values that fit the description and such that do not). Exit 1 with the requests that failed a check;
tests/api_fuzzer.py says which checks.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from api_fuzzer import CONFIG, fuzz, read_description  # noqa: E402
from running import running  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, running(CONFIG, Path(folder)) as server:
        tally = fuzz(server.url, read_description(server.url), cases=options.cases, seed=options.seed)
    figures = {**tally.render(), "seed": options.seed, "seconds": round(time.monotonic() - began, 1)}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(*tally.examples, sep="\n")
    shown = ("cases", "seconds", "statuses", "phases", "failures")
    print(json.dumps({name: figures[name] for name in shown}, indent=1))
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()
