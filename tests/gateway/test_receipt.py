"""What an answer came to, as the caller reads it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import Candidate, Decision, Escalation, Verdict
from junctor.gateway.receipt import (
    parse_receipt_comment,
    render_estimate,
    render_exact,
    render_receipt_comment,
    render_usd,
    render_warning,
)
from junctor.pool.ledger import Receipt
from junctor.wire.sse import EventParser, render_event
from verdicts import JUDGED, decision_of


def receipt(usd: float = 0.000021, saved: float = -0.5) -> Receipt:
    return Receipt(
        request_id="req_1",
        model="small",
        decision_id="dec_1",
        input_tokens=3,
        output_tokens=4,
        cached_tokens=0,
        usd=usd,
        price_source="test",
        strongest_model="large",
        strongest_usd=0.0,
        saved_usd=saved,
        first_token_ms=1.0,
        total_ms=2.0,
        attempts=1,
    )


def test_an_exact_receipt_has_all_four_headers() -> None:
    assert dict(render_exact(receipt())) == {
        "x-junctor-model": "small",
        "x-junctor-decision": "dec_1",
        "x-junctor-cost": "0.000021",
        "x-junctor-saved": "-0.5",
    }


def test_without_a_decision_a_beginning_stream_promises_no_cost() -> None:
    assert dict(render_estimate("small", None)) == {"x-junctor-model": "small"}


def test_the_estimate_is_that_of_the_model_that_answers() -> None:
    """After a fallback, cost and saving are those of the fallback, not of the model that was chosen."""
    candidates = tuple(
        Candidate(name=name, p_good=0.5, p_source="", usd=usd) for name, usd in (("a", 1.0), ("b", 3.0))
    )
    decision = Decision(
        id="dec_1",
        request_id="req_1",
        candidates=candidates,
        chosen="a",
        rule="",
        mode="cost",
        floor=None,
        features={},
        path="prompt",
        took_us=0.0,
        saved_usd=2.0,
        artefact="",
    )
    headers = dict(render_estimate("b", decision))
    assert (headers["x-junctor-cost"], headers["x-junctor-saved"]) == ("3", "0")
    assert headers["x-junctor-cost-basis"] == "estimated"


def test_the_estimate_of_a_cascade_is_of_all_its_calls() -> None:
    escalation = Escalation(ladder="l", floor=0.98, confidence=0.95, prompts=500, usd=0.25)
    decision = Decision(
        id="dec_1",
        request_id="req_1",
        candidates=(Candidate(name="a", p_good=0.5, p_source="", usd=1.0),),
        chosen="a",
        rule="",
        mode="balanced",
        floor=None,
        features={},
        path="cascade",
        took_us=1.0,
        saved_usd=0.75,
        artefact="",
        escalation=escalation,
    )
    assert dict(render_estimate("a", decision)) == {
        "x-junctor-model": "a",
        "x-junctor-decision": "dec_1",
        "x-junctor-cost": "0.25",
        "x-junctor-saved": "0.75",
        "x-junctor-cost-basis": "estimated",
    }


def test_the_estimate_of_a_fusion_is_of_all_its_calls_and_compares_with_nobody() -> None:
    assert dict(render_estimate("large", decision_of(JUDGED))) == {
        "x-junctor-model": "large",
        "x-junctor-decision": "dec_7",
        "x-junctor-cost": "0.00243",
        "x-junctor-cost-basis": "estimated",
    }


def test_a_whole_answer_of_a_fusion_does_not_say_that_nothing_was_saved() -> None:
    """It cost many times what one model costs: a 0 would say that it cost the same."""
    assert "x-junctor-saved" not in dict(render_exact(receipt(), decision_of(JUDGED)))
    assert "x-junctor-saved" in dict(render_exact(receipt()))


def test_a_note_comes_before_what_was_left_out() -> None:
    assert dict(render_warning((), "a note")) == {"x-junctor-warning": "a note"}
    assert dict(render_warning(("seed",), "a note"))["x-junctor-warning"].startswith("a note; not sent to")


def test_a_fusion_whose_progress_goes_out_first_promises_no_cost() -> None:
    begun = decision_of(Verdict(fusion="fusion", mode="auto"))
    assert dict(render_estimate(None, begun)) == {"x-junctor-decision": "dec_7"}


def test_the_comment_of_a_fusion_does_not_say_that_nothing_was_saved_either() -> None:
    comment = render_receipt_comment(receipt(), decision_of(JUDGED))
    assert b"saved" not in comment
    found = parse_receipt_comment(comment)
    assert found is not None
    assert (found.usd, found.saved_usd) == (0.000021, None)
    alone = decision_of(JUDGED)
    assert b'"saved_usd":-0.5' in render_receipt_comment(
        receipt(), msgspec.structs.replace(alone, fusion=None)
    )


def test_the_comment_is_found_at_the_end_of_a_stream_and_no_client_sees_it() -> None:
    stream = render_event(b'{"a": 1}') + render_receipt_comment(receipt()) + render_event(b"[DONE]")
    assert [event.data for event in EventParser().feed(stream)] == [b'{"a": 1}', b"[DONE]"]
    found = parse_receipt_comment(stream)
    assert found is not None
    assert (found.model, found.decision, found.usd, found.saved_usd) == ("small", "dec_1", 0.000021, -0.5)


def test_a_stream_without_a_receipt_has_none() -> None:
    assert parse_receipt_comment(b"data: x\n\n") is None
    assert parse_receipt_comment(b": junctor {broken\n\n") is None


@given(st.floats(-1e4, 1e4))
def test_an_amount_is_plain_decimals_to_the_nano_dollar(amount: float) -> None:
    """No `1e-05`: shells and spreadsheets read it."""
    text = render_usd(amount)
    assert "e" not in text
    assert abs(float(text) - amount) <= 0.5000001e-9 + abs(amount) * 1e-12
