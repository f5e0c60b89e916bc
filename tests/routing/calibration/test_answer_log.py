"""Answers of a calibration in progress, on a real disk."""

from __future__ import annotations

from pathlib import Path

import msgspec

from junctor.routing.calibration.answer_log import AnswerLog, Said, digest_of, key_of
from junctor.routing.calibration.questions import Question


def said_of(model: str = "small", question: str = "q1", answer: str | None = "4", **more: bool) -> Said:
    return Said(
        model=model,
        identity=f"x/{model}",
        question=question,
        answer=answer,
        usd=0.1,
        tokens=3,
        seconds=0.5,
        **more,
    )


def test_answers_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    with AnswerLog(path) as log:
        log.add(said_of())
        log.add(said_of(answer=None, question="q2"))
    with AnswerLog(path) as log:
        assert log.said == {
            ("small", "x/small", "q1"): said_of(),
            ("small", "x/small", "q2"): said_of(answer=None, question="q2"),
        }


def test_an_answer_is_on_the_disk_before_the_log_is_closed(tmp_path: Path) -> None:
    with AnswerLog(tmp_path / "a.jsonl") as log:
        log.add(said_of())
        assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 1


def test_the_torn_last_line_of_a_killed_process_does_not_count_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = msgspec.json.encode(said_of())
    path.write_bytes(whole + b"\n" + whole[:20])
    with AnswerLog(path) as log:
        assert len(log.said) == 1
        log.add(said_of(question="q2"))
    with AnswerLog(path) as log:
        assert {key[2] for key in log.said} == {"q1", "q2"}


def test_a_refusal_counts_in_this_run_and_is_asked_again_in_the_next(tmp_path: Path) -> None:
    with AnswerLog(tmp_path / "a.jsonl") as log:
        log.add(said_of(refused=True))
        assert len(log.said) == 1
    with AnswerLog(tmp_path / "a.jsonl") as log:
        assert log.said == {}


def test_a_finished_calibration_leaves_no_file(tmp_path: Path) -> None:
    with AnswerLog(tmp_path / "a.jsonl") as log:
        log.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_question_is_known_by_what_is_sent() -> None:
    """Whatever its right answer is; and its text is not to be read from its key."""
    plain = Question(prompt="Hi", answer="1", kind="own")
    assert key_of(plain) == key_of(msgspec.structs.replace(plain, answer="2"))
    other = msgspec.structs.replace(plain, messages=msgspec.Raw(b'[{"role": "user", "content": "Hi"}]'))
    assert key_of(plain) != key_of(other)
    assert digest_of([plain, other]) != digest_of([other, plain])
    assert "Hi" not in key_of(plain)
