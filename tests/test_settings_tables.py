"""The tables of junctor.toml: what holds for each of them."""

from __future__ import annotations

import inspect
from pathlib import Path

import msgspec
import pytest

from junctor import settings, settings_tables
from junctor.settings import Settings, parse_settings
from junctor.settings_check import SettingsError

TABLES = [
    it for it in vars(settings_tables).values() if isinstance(it, type) and it.__module__.endswith("tables")
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_a_table_is_frozen_takes_no_unknown_key_and_can_be_had_from_the_settings(
    table: type[msgspec.Struct],
) -> None:
    config = table.__struct_config__
    assert config.frozen
    assert config.forbid_unknown_fields
    assert inspect.getdoc(table)
    assert getattr(settings, table.__name__) is table
    assert table.__name__ in settings.__all__


def test_each_table_of_the_file_is_reached_from_the_whole() -> None:
    """A table that nobody reads would be documented, and never heeded."""
    sections = {field.name for field in msgspec.structs.fields(Settings)}
    for section in sections:
        with pytest.raises(SettingsError, match=f"{section}.*unknown key"):
            array = section in {"keys", "models", "fusions"}
            parse_settings(f"[[{section}]]\nx = 1" if array else f"[{section}]\nx = 1", Path("junctor.toml"))
    assert len(sections) == len(TABLES) - 3, "all but the whole itself, a model's prices, and the shadows"
