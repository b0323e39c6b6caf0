import pytest

from pipeline.emergency.table import (
    LEVELS,
    Containment,
    Measure,
    containment,
    measures,
    recovery_actions,
)
from pipeline.packets.events import ControlKind, EmergencyLevel, EmergencyType, RecoveryAction

_ISOLATE, _HALT = ControlKind.ISOLATE, ControlKind.HALT


def _commands(kind: str, level: str, *affected: str) -> list[tuple[ControlKind, str]]:
    found = containment(EmergencyType(kind), EmergencyLevel(level), affected)
    return [(each.kind, each.scope) for each in found]


def test_a_critical_system_failure_isolates_the_system() -> None:
    """The stage is fenced off, and nothing else happens."""
    expected = [(_ISOLATE, "stage:tactical")]
    assert expected == _commands("SYSTEM_FAILURE", "CRITICAL", "tactical")


def test_every_emergency_halts() -> None:
    """At level EMERGENCY, orders stop before anything else is done, whatever the type."""
    for kind in EmergencyType:
        assert (_HALT, "*") == _commands(kind, "EMERGENCY", "risk")[0]


def test_what_is_no_more_than_a_caution_does_nothing() -> None:
    """ADVISORY and CAUTION are for people."""
    for kind in EmergencyType:
        assert [] == _commands(kind, "ADVISORY", "risk") + _commands(kind, "CAUTION", "risk")


def test_a_level_never_does_less_than_the_one_below() -> None:
    """A worse emergency is never answered more weakly."""
    strength = list(Measure)
    for kind in EmergencyType:
        strongest = [
            max((strength.index(each) for each in measures(kind, level)), default=-1)
            for level in LEVELS
        ]
        assert sorted(strongest) == strongest, kind


@pytest.mark.parametrize("affected", [(), ("nowhere",), ("market_data",), ("throttle:IBM",)])
def test_what_cannot_be_fenced_off_is_halted(affected: tuple[str, ...]) -> None:
    """A doubt about what is broken never leaves orders going."""
    assert [(_HALT, "*")] == _commands("SYSTEM_FAILURE", "CRITICAL", *affected)


def test_an_unknown_system_beside_a_known_one_halts_too() -> None:
    """The known one is fenced off, the unknown one is the doubt."""
    found = _commands("SYSTEM_FAILURE", "CRITICAL", "tactical", "nowhere")
    assert [(_HALT, "*"), (_ISOLATE, "stage:tactical")] == found


def test_scopes_are_systems_too() -> None:
    """Corrupt data of one symbol is fenced off at WARNING already, and no stage with it."""
    affected = ("symbol:IBM", "tactical", "source:market")
    fenced = [(_ISOLATE, "symbol:IBM"), (_ISOLATE, "source:market")]
    assert fenced == _commands("DATA_CORRUPTION", "WARNING", *affected)
    assert [*fenced, (_ISOLATE, "stage:tactical")] == sorted(
        _commands("DATA_CORRUPTION", "CRITICAL", *affected), key=lambda each: each[1][:2] == "st"
    )


def test_breakers_are_those_of_stages_that_decide() -> None:
    """The gateway has no policy, and a symbol called like a stage is none."""
    found = _commands("VALIDATION_FAILURE", "WARNING", "risk", "gateway", "symbol:tactical")
    assert [(ControlKind.BREAKER_OPEN, "policy:risk")] == found


def test_the_actions_have_the_names_of_the_specification() -> None:
    """What nobody does is for people."""
    fence = Containment(_ISOLATE, "stage:risk")
    assert (RecoveryAction.ISOLATE_SYSTEM,) == recovery_actions((fence, fence))
    assert (RecoveryAction.MANUAL_INTERVENTION,) == recovery_actions(())
