"""Write docs/reference/ from the code, so that it cannot rot.

    .venv/bin/python lab/write_reference.py            # write
    .venv/bin/python lab/write_reference.py --check    # exit 1 and name what is stale (in `make test`)

Settings, events and errors are read from the source's own strings under the fields; routes from the application.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from junctor.app import all_routes
from junctor.chat import JunctorError, errors

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "junctor"
OUT = ROOT / "docs" / "reference"
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
    out += "\nAn unknown key is an error, with a suggestion: `junctor check`. A field without default is required.\n"
    for node in classes_of(SRC / "settings.py"):
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
        if child.__module__ == errors.__name__:
            yield child
            yield from error_classes(child)


def errors_page() -> str:
    out = "# Errors\n\n" + NOTE
    out += "\nUnder `/v1` in OpenAI's envelope, elsewhere as RFC 9457 problems. `code` is also the ledger's outcome.\n"
    out += "\n| code | status | type | tried again? | meaning |\n|---|---|---|---|---|\n"
    for error in error_classes(JunctorError):
        first = (inspect.getdoc(error) or "").splitlines()[0]
        again = "yes, before the first text" if error.retryable else "no"
        out += f"| `{error.code}` | {error.status} | `{error.type}` | {again} | {first} |\n"
    return out


def routes() -> str:
    out = "# Routes\n\n" + NOTE + "\n| method | path | what |\n|---|---|---|\n"
    for method, path, text in all_routes():
        out += f"| {method} | `{path}` | {text} |\n"
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    check = parser.parse_args().check
    pages = {"settings": settings(), "events": events(), "errors": errors_page(), "routes": routes()}
    stale: list[str] = []
    for name, text in pages.items():
        path = OUT / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.exit(f"stale: {', '.join(stale)}; run `python lab/write_reference.py`")


if __name__ == "__main__":
    main()
