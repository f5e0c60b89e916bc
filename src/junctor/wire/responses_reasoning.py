"""Reasoning that has to travel: its proof between models, the hall's thinking blocks and `encrypted_content`.

A model that reasons wants its reasoning back with the next request, with the proof that it is its own. In the
hall a block of it is `{"type": "thinking", "thinking": ..., "signature": ...}` or
`{"type": "redacted_thinking", "data": ...}`, in `thinking_blocks` of an assistant message. Callers of the
Responses API carry it as the `encrypted_content` of a reasoning item: there a block of another API is sealed,
so that it comes back as it was. Sealing hides nothing, it only wraps.

The proof of a Responses upstream is a `signature` that begins with `NATIVE`: nobody else can read it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from junctor.wire.json_value import BAD_JSON, as_list, as_object, as_text
from junctor.wire.responses_ids import MARK

Block = dict[str, Any]
"A thinking block of the hall, or an item of the Responses API."

SEAL = f"{MARK}-1."
"Begins the `encrypted_content` of reasoning items that stand for a block of the hall."
NATIVE = "openai_responses:"
"Begins the signature of a block that stands for a Responses upstream's reasoning item: its id, `:`, proof."

_FIELDS = {"thinking": ("type", "thinking", "signature"), "redacted_thinking": ("type", "data")}


def seal(block: Block) -> str:
    """A block as `encrypted_content`."""
    return SEAL + base64.urlsafe_b64encode(msgspec.json.encode(block)).decode("ascii")


def unseal(content: str) -> Block | None:
    """The block that was sealed; None when it is not ours, or somebody has changed it."""
    if not content.startswith(SEAL) or not content.isascii():
        return None
    try:
        found: object = msgspec.json.decode(base64.urlsafe_b64decode(content.removeprefix(SEAL)))
    except (*BAD_JSON, binascii.Error):
        return None
    block = as_object(found)
    fields = _FIELDS.get(as_text(block.get("type")), ())
    kept = {name: block[name] for name in fields if isinstance(block.get(name), str)}
    return kept if fields and len(kept) == len(fields) else None


def text_of(item: Block) -> str:
    """What a reasoning item shows: its summary, else its text."""
    shown = [as_text(as_object(part).get("text")) for part in as_list(item.get("summary"))]
    if not any(shown):
        shown = [as_text(as_object(part).get("text")) for part in as_list(item.get("content"))]
    return "\n\n".join(text for text in shown if text)


def parse_reasoning(item: Block) -> Block | None:
    """The block that a reasoning item stands for; None when it carries no proof."""
    content = as_text(item.get("encrypted_content"))
    if not content:
        return None
    if content.startswith(SEAL):
        return unseal(content)
    return {"type": "thinking", "thinking": text_of(item), "signature": sign(item)}


def sign(item: Block) -> str:
    """The signature that stands for the proof of a Responses upstream's item; empty without one."""
    proof = as_text(item.get("encrypted_content"))
    return f"{NATIVE}{as_text(item.get('id'))}:{proof}" if proof else ""


def render_reasoning(block: Block) -> Block | None:
    """The reasoning item that a block stands for; None for another API's, which the upstream would refuse."""
    signature = as_text(block.get("signature"))
    if not signature.startswith(NATIVE):
        return None
    item_id, _, proof = signature.removeprefix(NATIVE).partition(":")
    text = as_text(block.get("thinking"))
    item: Block = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if text else [],
        "encrypted_content": proof,
    }
    return {**item, "id": item_id} if item_id else item
