"""What callers say of a fusion, and its record, as JSON."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import Analysis, Cluster, Contradiction, FusionOptions, MemberReply, Ruling, Stance, Verdict


def test_a_verdict_survives_json() -> None:
    """It is stored with the decision, and read by `junctor why`."""
    verdict = Verdict(
        fusion="fusion",
        mode="auto",
        path="vote+judge",
        members=(
            MemberReply(model="a", status="answered", answer="18", cluster=0, weight=1.2, usd=0.001),
            MemberReply(model="b", status="spared"),
        ),
        clusters=(Cluster(answer="18", members=(0,), p=0.8),),
        chosen=0,
        judge="b",
        rulings=(Ruling(order=(0, 1), preferred=0), Ruling(order=(1, 0), failed="no JSON")),
        analysis=Analysis(contradictions=(Contradiction("price", (Stance("a", "18"),)),)),
    )
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict


def test_options_take_openrouters_names_and_no_others() -> None:
    told = b'{"analysis_models":["a","b"],"model":"j","preset":"x","temperature":0.2}'
    options = msgspec.json.decode(told, type=FusionOptions)
    assert (options.analysis_models, options.model, options.mode) == (("a", "b"), "j", None)
    with pytest.raises(msgspec.ValidationError, match="panel"):
        msgspec.json.decode(b'{"panel":[]}', type=FusionOptions)
