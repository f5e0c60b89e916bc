"""`junctor demo`: the main job, shown with two local models.

Pull both, start a real `junctor serve`, ask through the official OpenAI SDK with `model="auto"`, show what
was decided and why; ask once with `model="fusion"`, of which a scripted model is the third member; then keep
serving. With `DEMO_EXIT=1` in the environment it ends after that.

Its configuration and its database lie in a folder of its own, `demo` in the data directory: no key and no row
of anybody's gets mixed up with it. They stay, so that `junctor why` and `junctor savings` can tell of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import openai
import typer
from rich import box
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from junctor.assemble import weights_dir
from junctor.chat import BadRequest, EngineDown, JunctorError, Verdict
from junctor.cli.pull import pull_all
from junctor.cli.terminal import command_line_of, console, errors, plain_errors
from junctor.gateway.receipt import render_usd
from junctor.serving.manifest import shipped
from junctor.settings import CONFIG_NAME, Settings, read_environment

PORT = Settings().server.port
START_S = 120
"How long both engines may take to load."
_PR_SET_PDEATHSIG = 1


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to ask."""

    text: str
    junctor: dict[str, Any] = {}
    "Limits on the choice."
    extra: dict[str, Any] = {}
    "Further fields of the request."


WILL_DO = {"quality": 0.12}
"What will do here: the cheaper model reaches it where a prompt is easy, the larger one also where it is not."
_PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
PROMPTS = (
    Prompt(text="Say hello in French.", junctor=WILL_DO),
    Prompt(text="What is 17 * 23? Answer with the number only.", junctor=WILL_DO),
    Prompt(text="Write a Python one-liner that reverses the string s.", junctor=WILL_DO),
    Prompt(text="Is a tomato a fruit? Answer yes or no.", junctor=WILL_DO),
    Prompt(text="Name the largest planet of the solar system.", junctor=WILL_DO),
    Prompt(
        text="A box holds 12 eggs. How many eggs are in 8 boxes? Answer with the number only.",
        junctor={"mode": "quality"},
    ),
    Prompt(
        text="Extract the person: Ada Lovelace was 36 years old.",
        junctor=WILL_DO,
        extra={
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "strict": True, "schema": _PERSON},
            }
        },
    ),
    Prompt(
        text="What does the HTTP status 404 mean? One short sentence.",
        junctor={"max_total_ms": 10000},
    ),
    Prompt(text="Translate into French: Where is the library?"),
)


FUSED = "What is 12 * 12? Answer with the number only."
SCRIPTED = "scripted"
_THIRD = f"""
[[models]]
name = "{SCRIPTED}"
provider = "scripted"
ability = 0.2
price = {{ input = 0.5, output = 2 }}
script = [
  {{ when = "12 * 12", text = "144" }},
  {{ turn = true, text = "I only say what my script says: 144." }},
]
"""
"Dearer and less able than the better of the local models, so that `auto` leaves it alone."
_FUSION = """
[[fusions]]
name = "fusion"
mode = "vote"
"""
"Counted alone: none of these can judge, and on a processor a verdict takes a minute."


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What came back for one prompt."""

    text: str
    model: str
    decision: str
    why: str
    first_token_ms: float
    usd: float
    saved_usd: float


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo() -> None:
    """Two real local models behind one endpoint: pull, serve, ask, explain; then keep serving."""
    environment = read_environment()
    _end_as_ctrl_c_does()
    with plain_errors():
        errors.print("[bold]1. The models[/] (pulled once, checked against their SHA-256)")
        folder = weights_dir(Settings(), environment)
        asyncio.run(pull_all(list(shipped().values()), folder, environment))
        errors.print("\n[bold]2. The server[/]")
        config = _write_config(environment.data_dir / "demo")
        url = f"http://127.0.0.1:{(port := _choose_port())}"
        # The SDK's client is made before there is anything to interrupt: a half-made one leaves a traceback.
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        with _serve(port, config) as server, _told(config):
            with errors.status("loading both models ..."):
                _wait_until_ready(server, client, url)
            errors.print('\n[bold]3. The prompts[/], through the OpenAI SDK, with model="auto"')
            answers = _ask_all(client, url)
            errors.print(
                '\n[bold]4. Several models, one answer[/]: the two and a scripted third, model="fusion"'
            )
            _ask_fusion(client)
            _print_next_steps(url, config, answers[0])
            if environment.variables.get("DEMO_EXIT") != "1":
                _keep_serving(server, url)


def _end_as_ctrl_c_does() -> None:
    """Have `kill`, and a terminal that closes, end the server, too: its process is ours to stop."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored by nohup: so it stays
            signal.signal(number, signal.default_int_handler)


def _write_config(folder: Path) -> Path:
    """The demo's `junctor.toml`, with its database beside it. Raises `BadRequest`."""
    config = folder / CONFIG_NAME
    tables = [f'[[models]]\nname = "{name}"\nprovider = "local"\n' for name in shipped()]
    store = f"[store]\npath = {msgspec.json.encode(str(folder.absolute() / 'junctor.db')).decode()}\n"
    text = store + "".join(tables) + _THIRD + _FUSION
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not config.is_file() or config.read_text(encoding="utf-8") != text:
            config.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadRequest(
            f"{config} cannot be written: {error.strerror}; set JUNCTOR_DATA_DIR to a folder that you may "
            "write to"
        ) from error
    return config


@contextmanager
def _serve(port: int, config: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """A real `junctor serve` in a process of its own."""
    command = [sys.executable, "-m", "junctor", "serve", "--config", str(config), "--port", str(port)]
    server = subprocess.Popen(command, preexec_fn=_end_with_parent())  # noqa: S603 - our own command line
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(timeout=35)
        except subprocess.TimeoutExpired:
            server.kill()


def _end_with_parent() -> Callable[[], object] | None:
    """What a child does first, so that the kernel ends it where we are killed and cannot."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _told(config: Path) -> Generator[None, None, None]:
    """Say what to do where the server refuses what the demo asks."""
    try:
        yield
    except openai.AuthenticationError as error:
        raise BadRequest(
            "the demo's own database holds an API key, so its server wants one, and the demo has none: "
            f"`{command_line_of('keys', 'list', '-c', config)}` shows it and `keys revoke` takes it away, or "
            f"delete {config.parent}"
        ) from error
    except openai.APIError as error:
        raise JunctorError(f"the demo's server gave no answer: {error}") from error


def _choose_port() -> int:
    """Our usual port, or, said plainly, any free one when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            errors.print(
                f"[bold yellow]127.0.0.1:{PORT} is in use[/], perhaps by another Junctor. This demo is at "
                f"[bold]http://127.0.0.1:{port}[/]: use that address where the README says {PORT}.",
                soft_wrap=True,
            )
            return port
        return PORT


def _wait_until_ready(server: subprocess.Popen[bytes], client: openai.OpenAI, url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise JunctorError("the server ended before it was ready; its last words stand above")
        try:
            client.get(f"{url}/readyz", cast_to=object)
        except openai.APIError:
            time.sleep(0.2)
        else:
            return
    raise EngineDown(f"the models were not loaded after {START_S} s; see `junctor doctor`")


def _ask_all(client: openai.OpenAI, url: str) -> list[Answered]:
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_lines=False)
    table.add_column("prompt, and its answer", ratio=5)
    table.add_column("model, and why", ratio=5)
    for heading in ("first\ntoken\nms", "cost\nµUSD", "saved\nµUSD"):
        table.add_column(heading, justify="right", no_wrap=True)
    answers: list[Answered] = []
    with Live(table, console=console, auto_refresh=False) as live:
        for prompt in PROMPTS:
            answers.append(answered := _ask(client, url, prompt))
            table.add_row(*_row(prompt, answered))
            live.refresh()
    console.print()  # Live leaves the cursor behind the table
    spent, saved = sum(a.usd for a in answers), sum(a.saved_usd for a in answers)
    console.print(
        f"Spent {render_usd(spent)} USD. The strongest model alone: {render_usd(spent + saved)} USD. "
        f"Saved: {saved / (spent + saved):.0%}.\n"
        "Local answers are priced as machine time. Quality is the predicted probability of a good answer "
        "to a benchmark's question: low, as both models are tiny.",
        soft_wrap=True,
    )
    return answers


def _ask(client: openai.OpenAI, url: str, prompt: Prompt) -> Answered:
    """Ask with the SDK, streamed; then look up the decision and what the answer came to."""
    began = time.perf_counter()
    reply = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": prompt.text}],
        stream=True,
        max_tokens=32,
        temperature=0,
        extra_body={"junctor": prompt.junctor} if prompt.junctor else None,
        **prompt.extra,
    )
    first, pieces = None, list[str]()
    for chunk in reply.parse():
        piece = chunk.choices[0].delta.content if chunk.choices else None
        if piece:
            first = first or time.perf_counter()
            pieces.append(piece)
    decision = reply.headers["x-junctor-decision"]
    found: Any = client.get(f"{url}/api/decisions/{decision}", cast_to=object)
    outcome = found["outcome"]
    return Answered(
        text="".join(pieces),
        model=outcome["model"],
        decision=decision,
        why=found["rule"],
        first_token_ms=((first or time.perf_counter()) - began) * 1e3,
        usd=outcome["usd"],
        saved_usd=outcome["saved_usd"],
    )


def _ask_fusion(client: openai.OpenAI) -> None:
    """One question to all three; what each said, who was called off, and what that cost."""
    began = time.perf_counter()
    reply = client.chat.completions.create(
        model="fusion",
        messages=[{"role": "user", "content": FUSED}],
        max_tokens=32,
        temperature=0,
    )
    took_s = time.perf_counter() - began
    verdict = msgspec.convert((reply.model_extra or {})["fusion"], Verdict)
    said = [
        f"{it.model} {it.answer} ({it.took_ms:.0f} ms)" for it in verdict.members if it.status == "answered"
    ]
    spared = [it.model for it in verdict.members if it.status == "spared"]
    times = (
        ""
        if verdict.cost_multiple is None
        else f", {verdict.cost_multiple:.1f} times {verdict.best_member} alone"
    )
    console.print(
        f"\n{FUSED}  [green]{escape(reply.choices[0].message.content or '')}[/]  in {took_s:.1f} s\n"
        f"members:    {escape('; '.join(said))}\n"
        f"agreement:  {escape(verdict.because)} [dim]({verdict.path})[/]\n"
        f"called off: {', '.join(spared) or 'nobody'}"
        f"{', whose answer could not have changed that' if spared else ''}\n"
        f"cost:       {verdict.usd * 1e6:.1f} µUSD{times}",
        soft_wrap=True,
    )


def _row(prompt: Prompt, answered: Answered) -> Sequence[str]:
    limits = "".join(f"\n[cyan]{key} = {escape(str(value))}[/]" for key, value in prompt.junctor.items())
    answer = escape(" ".join(answered.text.split()))
    return (
        f"{escape(prompt.text)}{limits}\n[green]{answer}[/]\n",
        f"[bold]{answered.model}[/]\n{escape(answered.why)}",
        f"{answered.first_token_ms:.0f}",
        f"{answered.usd * 1e6:.1f}",
        f"{answered.saved_usd * 1e6:.1f}",
    )


def _print_next_steps(url: str, config: Path, answered: Answered) -> None:
    console.print(
        f"""
Why that model, and what has it saved? In another terminal, here:

    {command_line_of("why", answered.decision, "-c", config)}
    {command_line_of("savings", "-c", config)}

Your turn, with curl (or "model": "fusion"):

    curl {url}/v1/chat/completions -H 'content-type: application/json' \\
      -d '{{"model": "auto", "messages": [{{"role": "user", "content": "Say hello in French."}}]}}'

or with the SDK (pip install openai; the Python of this `junctor` has it):

    from openai import OpenAI

    client = OpenAI(base_url="{url}/v1", api_key="none")
    reply = client.chat.completions.create(
        model="auto", messages=[{{"role": "user", "content": "Say hello in French."}}]
    )
    print(reply.choices[0].message.content)
""",
        markup=False,
        soft_wrap=True,
    )


def _keep_serving(server: subprocess.Popen[bytes], url: str) -> None:
    errors.print(f"Still serving {url}; Ctrl-C ends it.", soft_wrap=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        errors.print("\nBye.")
