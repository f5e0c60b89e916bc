"""The house rules: what separates code that lasts from code that rots, as figures.

Limits only go down. An exception is a named line below, with its reason.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "junctor"
TESTS = ROOT / "tests"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_CLASS_LINES = 250
MAX_PUBLIC_METHODS = 12
MAX_HALL_IMPORT_MS = 100

BLANKET_EXCEPTS_ALLOWED = {
    "gateway/chat.py": "the outer edge of a request: our own fault becomes a clean 500",
    "gateway/rest.py": "the outer edge of all other routes",
}
WITHOUT_OWN_TEST = {
    "__init__.py": "re-exports",
    "__main__.py": "two lines; the CLI's tests run it",
}

MODULES = sorted(SRC.rglob("*.py"))
PARSED = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def _name(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_files_functions_and_classes_stay_small(path: Path) -> None:
    """A newcomer can hold one of each in mind."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for function in _functions(PARSED[path]):
        assert _length(function) <= MAX_FUNCTION_LINES, function.name
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.ClassDef):
            public = [f for f in node.body if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
            public = [f for f in public if not f.name.startswith("_")]
            assert _length(node) <= MAX_CLASS_LINES, node.name
            assert len(public) <= MAX_PUBLIC_METHODS, node.name


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_blanket_excepts_stand_at_the_outer_edges_only(path: Path) -> None:
    """An `except Exception` hides faults everywhere else."""
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            is_blanket = caught in {"", "Exception", "BaseException"}
            reraises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
            assert not is_blanket or reraises or _name(path) in BLANKET_EXCEPTS_ALLOWED, node.lineno


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_stand_at_the_top(path: Path) -> None:
    """An import inside a function is how a cycle hides."""
    for function in _functions(PARSED[path]):
        for node in ast.walk(function):
            assert not isinstance(node, ast.Import | ast.ImportFrom), f"line {node.lineno}"


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def test_there_is_no_import_cycle() -> None:
    """Modules can be read from the bottom up."""
    modules = {"junctor." + _name(p)[:-3].replace("/", ".").removesuffix(".__init__"): p for p in MODULES}
    graph = {
        name: {i for i in _imports(path) if i in modules and i != name} for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_a_rooms_api_imports_starlette() -> None:
    """HTTP stays at the doors."""
    allowed = {"api.py", "rest.py", "generation.py"}
    allowed |= {f"{name}_api.py" for name in ("keys", "models", "openapi", "reload", "responses")}
    for path in MODULES:
        if any(name.split(".")[0] == "starlette" for name in _imports(path)):
            assert path.name in allowed, _name(path)


def test_only_settings_reads_the_environment() -> None:
    """One place to look for what changes behaviour."""
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        reads = "os.environ" in text or "getenv(" in text
        assert not reads or _name(path) in {"settings.py", "serving/llama_child.py"}, _name(path)


def test_no_mocks() -> None:
    """The product ships its fakes."""
    for path in [*MODULES, *TESTS.rglob("*.py")]:
        if path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            assert "unittest.mock" not in text, path
            assert "MagicMock" not in text, path


def test_tests_mirror_the_source() -> None:
    """For the tests of `pool/ledger.py` one looks into `tests/pool/test_ledger.py`."""
    missing: list[str] = []
    for path in MODULES:
        if path.name in WITHOUT_OWN_TEST or "migrations" in path.parts:
            continue
        folder = TESTS / path.parent.relative_to(SRC)
        wanted = {f"test_{path.stem}.py", f"test_{path.parent.name}_{path.stem}.py"}
        if not any((folder / name).is_file() for name in wanted):
            missing.append(_name(path))
    assert not missing


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by their base names, and runs only one of two in a process."""
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py")
    assert not [name for name, count in names.items() if count > 1]


def test_there_is_no_junk_drawer() -> None:
    """A name says what is inside."""
    banned = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    assert not [path for path in MODULES if path.stem in banned or banned & set(path.parts)]


def test_the_architecture_names_every_module() -> None:
    """ARCHITECTURE.md is the map: it shows every room and every file."""
    architecture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in MODULES:
        if path.name != "__init__.py" and "migrations" not in path.parts:
            assert path.name in architecture, _name(path)


def test_the_hall_is_light() -> None:
    """Importing the nouns costs next to nothing beyond msgspec, best of three fresh interpreters."""
    code = (
        "import time, msgspec, contextlib, typing, collections.abc; t = time.perf_counter();"
        "import junctor.chat; print((time.perf_counter() - t) * 1000)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(runs) < MAX_HALL_IMPORT_MS
