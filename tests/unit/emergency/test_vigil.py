"""Signs that last become emergencies, once; those that flicker do not."""

from collections.abc import Iterable

import pytest

from pipeline.emergency.detectors import Sign
from pipeline.emergency.vigil import Turn, TurnKind, Vigil
from pipeline.packets.events import EmergencyLevel, EmergencyType
from pipeline.settings import DetectionSettings

LIMITS = DetectionSettings(hold=1.5, clear=5.0, escalate_after=20.0)
STEP_S = 0.5


def _sign(level: str = "WARNING", subject: str = "cascade", *, at_once: bool = False) -> Sign:
    return Sign(
        EmergencyType.CASCADE_BREAKDOWN, EmergencyLevel(level), (), "seen",
        subject=subject, at_once=at_once,
    )  # fmt: skip


def _watched(looks: Iterable[Sign | None], vigil: Vigil | None = None) -> list[Turn]:
    """Return the turns over a series of looks half a second apart."""
    vigil = vigil or Vigil(LIMITS)
    turns = []
    for number, sign in enumerate(looks):
        turns += vigil.judge([sign] if sign else [], number * STEP_S)
    return turns


def _kinds(turns: Iterable[Turn]) -> list[TurnKind]:
    return [each.kind for each in turns]


def test_a_sign_counts_once_it_has_lasted() -> None:
    """It begins after `hold`, is told once, and remembers since when it was there."""
    turns = _watched([None, *[_sign()] * 20])
    assert ([TurnKind.BEGUN], 0.5) == (_kinds(turns), turns[0].since_s)
    assert [] == _watched([_sign()] * 3)


def test_a_sign_that_flickers_is_none() -> None:
    """One look now and then never adds up."""
    assert [] == _watched([_sign(), None, None, None, None] * 20)


def test_a_sign_with_short_gaps_does_not_flap() -> None:
    """Gaps shorter than `clear` neither end it nor begin it anew."""
    looks = [*[_sign()] * 4, *([None] * 8 + [_sign()]) * 5]
    assert [TurnKind.BEGUN] == _kinds(_watched(looks))


def test_it_is_over_once_it_was_away_for_long() -> None:
    """After `clear` it is over; if it comes back, it begins again."""
    looks = [*[_sign()] * 4, *[None] * 11, *[_sign()] * 4]
    assert [TurnKind.BEGUN, TurnKind.OVER, TurnKind.BEGUN] == _kinds(_watched(looks))


def test_a_breach_counts_at_once() -> None:
    """What must not happen even once is not waited for."""
    assert [TurnKind.BEGUN] == _kinds(_watched([_sign(at_once=True)]))


def test_a_higher_level_counts_once_it_has_lasted() -> None:
    """It is told as worse, once; a peak is not, and neither is a lower level afterwards."""
    steady, high = [_sign()] * 4, _sign("CRITICAL")
    assert [TurnKind.BEGUN] == _kinds(_watched([*steady, high, _sign(), high, _sign()]))
    turns = _watched([*steady, *[high] * 4, *[_sign()] * 4, *[high] * 4])
    assert [TurnKind.BEGUN, TurnKind.WORSE] == _kinds(turns)
    assert EmergencyLevel.CRITICAL is turns[1].sign.level


@pytest.mark.parametrize(
    ("level", "expected"),
    [("WARNING", ["CRITICAL"]), ("CRITICAL", ["EMERGENCY"]), ("CAUTION", [])],
)
def test_what_lasts_is_one_level_worse(level: str, expected: list[str]) -> None:
    """After `escalate_after` it counts one level higher, once."""
    turns = _watched([_sign(level)] * 120)
    assert expected == [each.sign.level for each in turns if each.kind is TurnKind.WORSE]


def test_subjects_are_apart() -> None:
    """Each subject is an emergency of its own."""
    vigil = Vigil(LIMITS)
    both = [_sign(subject="risk"), _sign(subject="tactical")]
    turns = [turn for look in range(6) for turn in vigil.judge(both, look * STEP_S)]
    assert ["risk", "tactical"] == [each.sign.subject for each in turns]


@pytest.mark.parametrize(("at_once", "expected"), [(False, 2), (True, 1)])
def test_what_people_take_for_over_begins_anew_if_it_is_not(at_once: bool, expected: int) -> None:
    """A state that lasts is told again; a moment that is past is not."""
    vigil = Vigil(LIMITS)
    sign = _sign(at_once=at_once)
    turns = _watched([sign] * 10, vigil)
    vigil.reopen(sign.emergency_type, sign.subject)
    vigil.reopen(sign.emergency_type, "another")
    turns += [turn for look in range(10, 20) for turn in vigil.judge([sign], look * STEP_S)]
    assert [TurnKind.BEGUN] * expected == _kinds(turns)
