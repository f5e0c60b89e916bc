"""One list of models for both SDKs."""

from __future__ import annotations

import json

from anthropic.types import ModelInfo
from openai.types import Model as SdkModel

from junctor.chat import ModelCard
from junctor.wire.model_list import render_model, render_models

CARDS = [("a", ModelCard(name="a", provider="openai", window=9000)), ("x-auto", ModelCard(name="auto"))]


def test_both_sdks_read_each_model() -> None:
    listed = json.loads(render_models(CARDS))
    assert listed["object"] == "list"
    ours = [SdkModel.model_validate(model) for model in listed["data"]]
    assert [(model.id, model.owned_by) for model in ours] == [("a", "openai"), ("x-auto", "junctor")]
    theirs = [ModelInfo.model_validate(model) for model in listed["data"]]
    assert [(model.id, model.display_name) for model in theirs] == [("a", "a"), ("x-auto", "auto")]
    assert theirs[0].max_input_tokens == 9000
    assert json.loads(render_model(*CARDS[0])) == listed["data"][0]


def test_the_page_is_the_only_one() -> None:
    listed = json.loads(render_models(CARDS))
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "a", "x-auto")
    assert json.loads(render_models([]))["first_id"] is None
