"""What is printed of a calibration, where the command's own tests do not come by."""

from __future__ import annotations

import pytest

from junctor.cli import terminal
from junctor.cli.calibration_report import print_all, wilson
from junctor.routing.calibration.store import Calibration, Kind


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("abilities", '{"format": 99, "artefact": "x", "models": []}'),
        ("votes", '{"format": 99, "pools": [], "identities": {}}'),
        ("judges", '{"format": 99, "judges": []}'),
        (
            "ladder",
            (
                '{"identities": {}, "ladder": {"format": 99, "version": "x", "strongest": "b", "rungs": [], '
                '"last": {"weights": [], "two": 0, "three": 0, "none": 0}, "caution": 0, "floor": 0.9, '
                '"confidence": 0.9, "prompts": 1, "promises": {}}}'
            ),
        ),
    ],
)
def test_one_of_another_version_is_listed_as_such(
    kind: Kind, document: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "width", 200)
    print_all(
        [
            Calibration(
                id="cal_1",
                created_at="2026-11-21T14:00:00.000+00:00",
                kind=kind,
                is_current=False,
                document=document,
            )
        ]
    )
    assert capsys.readouterr().out == f"cal_1  2026-11-21 14:00  {kind}\n    of another version\n"


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    [(0.0, 5, 0.0, 0.4345), (1.0, 5, 0.5655, 1.0), (0.5, 10, 0.2366, 0.7634), (0.9, 100, 0.8256, 0.9448)],
)
def test_the_interval_of_a_share_is_wilsons(share: float, count: int, low: float, high: float) -> None:
    """Also where nobody, or everybody, was right."""
    assert wilson(share, count) == pytest.approx((low, high), abs=1e-4)


def test_nothing_kept_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    print_all([])
    assert "`junctor calibrate` makes one" in capsys.readouterr().out
