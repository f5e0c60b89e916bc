"""The peers that come as packages, each in an environment of its own, at one version."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from gateway_bench.servers import Place, Server, Unavailable, which

LITELLM = "1.106.2"
PORTKEY = "1.15.2"
VLLM_ROUTER = "0.1.17"
SWITCHYARD = "0.3.0"
INSTALL_WITHIN_S = 1200


def _run(command: list[str], cwd: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"`{' '.join(command)}` took more than {INSTALL_WITHIN_S} s") from error
    if done.returncode:
        raise Unavailable(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-400:]}")


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else which("uv", "python3-pip` and `pip install uv")


def _venv(cache: Path, name: str, requirement: str) -> Path:
    """The `bin` of a virtual environment that holds one requirement; made on first use."""
    home = cache / f"{name}-{requirement.rpartition('==')[2]}"
    if not (home / "installed").exists():
        shutil.rmtree(home, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        _run([_uv(), "venv", "--python", sys.executable, str(home)], cache)
        _run([_uv(), "pip", "install", "--python", str(home / "bin/python"), requirement], cache)
        (home / "installed").touch()
    return home / "bin"


# LiteLLM: no database, a master key, production mode, the price list that ships with it.

_LITELLM = """
model_list:
  - model_name: mock
    litellm_params:
      model: openai/mock
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: none
litellm_settings:
  telemetry: false
  num_retries: 0
general_settings:
  master_key: sk-bench
"""


def make_litellm(place: Place) -> Server:
    home = _venv(place.cache, "litellm", f"litellm[proxy]=={LITELLM}")
    (place.folder / "litellm.yaml").write_text(_LITELLM.format(upstream=place.upstream))
    command = [str(home / "litellm"), "--config", "litellm.yaml"]
    command += ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]
    variables = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    headers = {"authorization": "Bearer sk-bench"}
    return Server("litellm", command, LITELLM, headers=headers, variables=variables)


# vllm-router: Rust; one worker, no queue, its defaults otherwise.


def make_vllm_router(place: Place) -> Server:
    home = _venv(place.cache, "vllm-router", f"vllm-router=={VLLM_ROUTER}")
    command = [str(home / "vllm-router"), "--worker-urls", f"http://127.0.0.1:{place.upstream}"]
    command += ["--host", "127.0.0.1", "--port", str(place.port), "--policy", "round_robin"]
    command += ["--log-level", "warning"]
    return Server("vllm-router", command, VLLM_ROUTER)


# NeMo Switchyard: Rust; the wheel has the server as a library, so three lines of Python hold it.

_SWITCHYARD = """
schema_version = 1

[llm_clients.mock]
format = "openai_chat"
base_url = "http://127.0.0.1:{upstream}/v1"

[targets.mock]
id = "mock"
llm_client = "mock"

[routes.mock]
id = "mock"
type = "passthrough"
target = "mock"
"""
_SERVE_SWITCHYARD = """
import sys, threading
from switchyard_rust.server import Server
with Server(sys.argv[1], int(sys.argv[2])):
    threading.Event().wait()
"""


def make_switchyard(place: Place) -> Server:
    home = _venv(place.cache, "switchyard", f"nemo-switchyard=={SWITCHYARD}")
    (place.folder / "routes.toml").write_text(_SWITCHYARD.format(upstream=place.upstream))
    command = [str(home / "python"), "-c", _SERVE_SWITCHYARD, "routes.toml", str(place.port)]
    return Server("switchyard", command, SWITCHYARD)


# Portkey: Node. Streams fail in 1.15.2 as npm installs it (Portkey-AI/gateway#1389), so none are asked for.


def make_portkey(place: Place) -> Server:
    home = place.cache / f"portkey-{PORTKEY}"
    start = home / "node_modules/@portkey-ai/gateway/build/start-server.js"
    if not start.exists():
        home.mkdir(parents=True, exist_ok=True)
        npm = which("npm", "npm")
        _run([npm, "install", "--no-audit", "--no-fund", f"@portkey-ai/gateway@{PORTKEY}"], home)
    command = [which("node", "nodejs"), str(start), f"--port={place.port}", "--headless"]
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{place.upstream}/v1",
        "authorization": "Bearer none",
    }
    return Server("portkey", command, PORTKEY, headers=headers, streams=False)
