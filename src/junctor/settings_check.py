"""Check a decoded `junctor.toml` against its structs and say everything that is wrong with it at once.

msgspec stops at the first mistake and cannot suggest a name; a person editing a file wants the whole list.
What types cannot say is checked of decoded settings: `mend_tables` makes a file with mistakes decodable.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec


class SettingsError(Exception):
    """The configuration file cannot be used. `problems` holds one sentence for each mistake."""

    def __init__(self, path: Path, problems: list[str], mistakes: Sequence[tuple[str, str]] = ()) -> None:
        """`mistakes`: the same as (place in the file, sentence), where nobody has looked for their lines."""
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))
        self.path = path
        self.problems = problems
        self.mistakes = mistakes

    def with_lines(self, path: Path, text: str) -> SettingsError:
        """The same of this file, which has that text: mistakes with their lines."""
        return SettingsError(path, sort_by_line(self.mistakes, text) if self.mistakes else self.problems)


def check_tables(tables: dict[str, Any], shape: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """Every mistake of names and types, each as (path, sentence): `models[0].prise`, `unknown key; ...`."""
    return _check_struct(tables, shape, "")


def mend_tables(tables: dict[str, Any], shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The tables without what is no such field or not of its type; what has to be there is made up.

    Every item of a list of tables stays in its place.
    """
    kinds = get_type_hints(shape)
    kept = {
        key: mended
        for key, value in tables.items()
        if key in kinds and (mended := _mend(value, kinds[key])) is not msgspec.UNSET
    }
    missing = [it for it in msgspec.structs.fields(shape) if it.required and it.name not in kept]
    return kept | {field.name: _MADE_UP[kinds[field.name]] for field in missing}


_MADE_UP: dict[Any, object] = {str: "", float: 0.0}
"By type, for fields that have to be there: all of them are one of these."


def _mend(value: Any, kind: Any) -> Any:
    wanted = _wanted(kind)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return mend_tables(cast("dict[str, Any]", value) if isinstance(value, dict) else {}, wanted)
    if get_origin(wanted) is tuple:
        items = cast("list[Any]", value) if isinstance(value, list) else []
        mended = [_mend(item, get_args(wanted)[0]) for item in items]
        return [item for item in mended if item is not msgspec.UNSET]
    return msgspec.UNSET if any(_check_value(value, kind, "")) else value


def _wanted(kind: Any) -> Any:
    """A type without its `| None`."""
    options = get_args(kind) if get_origin(kind) in (types.UnionType, Union) else (kind,)
    return next(option for option in options if option is not types.NoneType)


def sort_by_line(mistakes: Iterable[tuple[str, str]], text: str) -> list[str]:
    """Turn (path, sentence) pairs into lines, in the order in which a reader of the file meets them."""
    found = [(_line_of(path, text), path, sentence) for path, sentence in mistakes]
    found.sort(key=lambda item: item[0] or 0)
    return [f"line {line}: {path}: {words}" if line else f"{path}: {words}" for line, path, words in found]


def _check_struct(table: dict[str, Any], shape: type[msgspec.Struct], at: str) -> Iterator[tuple[str, str]]:
    kinds = get_type_hints(shape)
    for key, value in table.items():
        path = f"{at}.{key}" if at else key
        if key not in kinds:
            yield path, f"unknown key{suggestion(key, kinds)}"
        else:
            yield from _check_value(value, kinds[key], path)
    for field in msgspec.structs.fields(shape):
        if field.required and field.name not in table:
            yield at or field.name, f"needs the key `{field.name}`"


def _check_value(value: Any, kind: Any, path: str) -> Iterator[tuple[str, str]]:
    wanted = _wanted(kind)
    origin = get_origin(wanted)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        if isinstance(value, dict):
            yield from _check_struct(cast("dict[str, Any]", value), wanted, path)
        else:
            yield path, f"must be a table, is {_name_of(value)}"
    elif origin is tuple:
        if not isinstance(value, list):
            yield path, f"must be a list, is {_name_of(value)}"
            return
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _check_value(item, get_args(wanted)[0], f"{path}[{index}]")
    elif origin is Literal:
        if value not in get_args(wanted):
            choices = ", ".join(get_args(wanted))
            yield (
                path,
                f"must be one of {choices}; is {_quote(value)}{suggestion(str(value), get_args(wanted))}",
            )
    elif not _is_a(value, wanted):
        yield path, f"must be {_WORDS[wanted]}, is {_name_of(value)}"


def _quote(value: Any) -> str:
    """A value as it stands in the file, or near enough."""
    return f'"{value}"' if isinstance(value, str) else _name_of(value)


_WORDS: dict[Any, str] = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_WORDS[Path] = "a path (a string)"
_WORDS[dict[str, Any]] = "a table"


def _is_a(value: Any, wanted: Any) -> bool:
    if wanted is Path:
        return isinstance(value, str)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if get_origin(wanted) is dict:
        return isinstance(value, dict)
    return isinstance(value, wanted)


def _name_of(value: Any) -> str:
    names = {"dict": "a table", "list": "a list", "str": "a string", "bool": "true or false"}
    kind = type(value).__name__
    return names.get(kind, "a number" if isinstance(value, int | float) else kind)


def suggestion(word: str, known: Any) -> str:
    """`; did you mean X?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{near[0]}`?" if near else ""


def suggestion_or_all(word: str, known: Collection[str]) -> str:
    """The same; where nothing is near, all there are."""
    return suggestion(word, known) or (f"; there are: {', '.join(known)}" if known else "")


def _line_of(path: str, text: str) -> int | None:
    """The line a mistake stands in: found by its table's header, then its key. None when it cannot be found.

    tomllib keeps no positions; a search for headers and keys finds them in every file that people write.
    """
    table, _, key = path.rpartition(".")
    headers = {"": 0}
    seen: dict[str, int] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if many := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
            name = many.group(1)
            headers[f"{name}[{seen.get(name, 0)}]"] = number
            seen[name] = seen.get(name, 0) + 1
        elif one := re.match(r"\s*\[\s*([\w-]+)((?:\.[\w-]+)*)\s*\]", line):
            name, rest = one.groups()
            headers[f"{name}[{seen[name] - 1}]{rest}" if name in seen else name + rest] = number
    if path in headers:
        return headers[path]
    if table not in headers:
        return _line_of(table, text) if table else None
    plain_key = re.escape(key.split("[")[0])
    for number in range(headers[table] + 1, len(lines) + 1):
        line = lines[number - 1]
        if re.match(r"\s*\[", line):
            break
        if re.match(rf"\s*\"?{plain_key}\"?\s*[.=]", line):
            return number
    return headers[table] or None
