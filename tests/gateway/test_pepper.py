"""The pepper: made once, for this user's eyes, and never replaced by accident."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from junctor.gateway.pepper import Pepper
from junctor.store.failure import StoreFailed


def test_it_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = Pepper(folder).make()
    assert len(made) == 32
    assert Pepper(folder).make() == Pepper(folder).read() == made
    assert stat.S_IMODE((folder / "pepper").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["pepper"], "no draft is left"


def test_of_many_who_make_it_at_once_all_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: Pepper(tmp_path).make(), range(32)))
    assert len(made) == 1
    assert made == {Pepper(tmp_path).read()}


def test_one_that_is_gone_is_missed(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="is gone"):
        Pepper(tmp_path).read()


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_one_that_is_damaged_is_neither_used_nor_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pepper").write_bytes(content)
    for work in (Pepper(tmp_path).read, Pepper(tmp_path).make):
        with pytest.raises(StoreFailed, match="damaged"):
            work()
    assert (tmp_path / "pepper").read_bytes() == content


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    Pepper(tmp_path).make()
    given = "0123456789abcdef" * 2
    assert Pepper(tmp_path, given).read() == given.encode()
    with pytest.raises(StoreFailed, match="JUNCTOR_PEPPER") as caught:
        Pepper(tmp_path, "short-canary").read()
    assert "short-canary" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreFailed, match="cannot be written"):
        Pepper(tmp_path).make()


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreFailed, match="cannot be"):
        Pepper(tmp_path / "data").make()
