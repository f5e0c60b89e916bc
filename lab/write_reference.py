"""Write docs/reference/ and the rooms of ARCHITECTURE.md from the code, so that they cannot rot.

    .venv/bin/python lab/write_reference.py            # write
    .venv/bin/python lab/write_reference.py --check    # exit 1 and name what is stale (in `make test`)

Settings, events and errors are read from the strings under the fields in the source; routes from the
application.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import inspect
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from junctor.app import Junctor
from junctor.chat import JunctorError
from junctor.serving import errors as _serving_errors  # noqa: F401 - to be found as subclasses
from junctor.settings import Environment, Settings
from junctor.wire.openapi import Served, render_routes

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "junctor"
OUT = ROOT / "docs" / "reference"
ROOMS = ("chat", "wire", "store", "pool", "gateway", "routing", "fusion", "serving", "cli")
BEGIN = "<!-- rooms: written by lab/write_reference.py from the modules' first lines -->"
END = "<!-- /rooms -->"
NOTE = "<!-- Written by lab/write_reference.py; change the source, not this file. -->\n"


def classes_of(path: Path) -> Iterator[ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def fields_of(node: ast.ClassDef) -> Iterator[tuple[str, str, str, str]]:
    """(name, type, default, description) of each field; the description is the string under it."""
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = inspect.cleandoc(str(after.value.value)).replace("\n", " ")
            default = "" if field.value is None else f"`{ast.unparse(field.value)}`"
            yield field.target.id, f"`{ast.unparse(field.annotation)}`".replace("|", "\\|"), default, text


def table(node: ast.ClassDef) -> str:
    rows = "".join(f"| `{n}` | {t} | {d} | {text} |\n" for n, t, d, text in fields_of(node))
    return "| field | type | default | meaning |\n|---|---|---|---|\n" + rows


def settings() -> str:
    out = "# junctor.toml\n\n" + NOTE
    out += "\nAn unknown key is an error, with a suggestion: `junctor check`.\n"
    for node in (*classes_of(SRC / "settings_tables.py"), *classes_of(SRC / "settings.py")):
        doc = ast.get_docstring(node) or ""
        if node.name == "Environment":
            out += f"\n## The environment\n\n{doc}\n\n{table(node)}"
        elif node.name != "Settings":
            out += f"\n## {doc.splitlines()[0]}\n\n{table(node)}"
    return out


def events() -> str:
    path = SRC / "chat" / "events.py"
    intro = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    out = "# Events\n\n" + NOTE + "\n" + intro + "\n"
    for node in classes_of(path):
        out += f"\n## {node.name}\n\n{ast.get_docstring(node)}\n\n{table(node)}"
    return out


def error_classes(root: type[JunctorError]) -> Iterator[type[JunctorError]]:
    for child in root.__subclasses__():
        yield child
        yield from error_classes(child)


def errors_page() -> str:
    out = "# Errors\n\n" + NOTE
    out += "\nUnder `/v1/messages` in Anthropic's envelope, whose `type` goes by the status; under the rest"
    out += "\nof `/v1` in OpenAI's; elsewhere as RFC 9457 problems.\n"
    out += "\n| code | status | type | tried again? | meaning |\n|---|---|---|---|---|\n"
    for error in error_classes(JunctorError):
        first = (inspect.getdoc(error) or "").splitlines()[0]
        again = "yes, before the first text" if error.retryable else "no"
        out += f"| `{error.code}` | {error.status} | `{error.type}` | {again} | {first} |\n"
    return out


async def all_served() -> Sequence[Served]:
    """Of a server with no model: what it serves is all that is read."""
    with tempfile.TemporaryDirectory() as folder:
        app = Junctor(Settings(), Environment(data_dir=Path(folder), cache_dir=Path(folder)))
        await app.start()
        try:
            return app.served
        finally:
            await app.stop()


def routes() -> str:
    out = "# Routes\n\n" + NOTE
    out += "\nWith `[[keys]]`, all but `/healthz` and `/readyz` want one. "
    out += "Bodies, replies and errors of each: `GET /openapi.json` ([how to read it](../api.md)).\n\n"
    return out + render_routes(asyncio.run(all_served()))


def rooms() -> str:
    """The rooms and the rooms within them with their files, each with the first line of its docstring."""
    out = ""
    within = [path.parent for room in ROOMS for path in sorted((SRC / room).rglob("__init__.py"))]
    for folder in [SRC, *(folder for folder in within if "migrations" not in folder.parts)]:
        if folder is not SRC:
            name = folder.relative_to(SRC).as_posix()
            out += f"\n### {name}/\n\n{docstring_line(folder / '__init__.py')}\n"
        out += "\n| file | what |\n|---|---|\n"
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py":
                out += f"| `{path.name}` | {docstring_line(path)} |\n"
    return out


def docstring_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]


def architecture() -> str:
    """ARCHITECTURE.md with its rooms as they are now."""
    before, _, rest = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, "ARCHITECTURE.md has lost its marks"
    return f"{before}{BEGIN}\n{rooms()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    check = parser.parse_args().check
    pages = {
        OUT / "settings.md": settings(),
        OUT / "events.md": events(),
        OUT / "errors.md": errors_page(),
        OUT / "routes.md": routes(),
        ROOT / "ARCHITECTURE.md": architecture(),
    }
    stale: list[str] = []
    for path, text in pages.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.exit(f"stale: {', '.join(stale)}; run `python lab/write_reference.py`")


if __name__ == "__main__":
    main()
