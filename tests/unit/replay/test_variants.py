"""What a replay can be asked to change."""

import pytest

from pipeline.errors import UsageError
from pipeline.replay.variants import Changes, LimitChange, builtin
from pipeline.settings import load_settings
from pipeline.stages.risk_logic import RiskLogic
from pipeline.stages.routes import ROUTES
from pipeline.stages.tactical_logic import TacticalLogic

SETTINGS = load_settings(broker=None, initial_equity=5000.0)


class OtherTactical(TacticalLogic):
    """A policy of somebody's own."""


NO_POLICY = object()


def _changes(*limits: str, policies: tuple[str, ...] = ()) -> Changes:
    return Changes.parse(limits, policies, SETTINGS)


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("risk.maximum_order=0.02", 0.04, 0.02),
        ("risk.throttle_orders=3", 20, 3),
    ],
)
def test_a_limit_is_changed_as_what_it_is(text: str, before: float, after: float) -> None:
    """The value takes the type of the one in force."""
    change = LimitChange.parse(text, SETTINGS)
    assert (before, after, type(before)) == (change.before, change.after, type(change.after))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("risk.maximum_order", "STAGE.LIMIT=VALUE"),
        ("gateway.maximum_order=1", "with a stage of strategic"),
        ("risk.maximum_odor=1", "Expected a limit of risk, one of .*maximum_order"),
        ("risk.accounts=1", "Expected a limit of risk"),
        ("risk.maximum_order=much", "Expected a number for risk.maximum_order, was 'much'"),
        ("risk.throttle_orders=2.5", "Expected a whole number"),
    ],
)
def test_a_limit_that_is_none_is_refused(text: str, sentence: str) -> None:
    """The error says what there is."""
    with pytest.raises(UsageError, match=sentence):
        LimitChange.parse(text, SETTINGS)


def test_limits_that_do_not_fit_together_are_refused() -> None:
    """The stage's own check speaks."""
    with pytest.raises(UsageError, match="drawdown_warning below drawdown_limit"):
        _changes("risk.drawdown_limit=0.05").logic("risk", SETTINGS)


def test_the_built_in_stage_has_the_workers_settings() -> None:
    """Risk knows the account's cash, as its worker does; a changed limit changes nothing else."""
    change = LimitChange.parse("risk.maximum_order=0.02", SETTINGS)
    logic = builtin("risk", SETTINGS, [change])
    assert isinstance(logic, RiskLogic)
    assert ((("main", 5000.0),), 0.02, 0.05) == (
        logic.settings.accounts, logic.settings.maximum_order, logic.settings.maximum_symbol,
    )  # fmt: skip


def test_every_stage_has_built_in_decisions() -> None:
    """Each is one of its own stage."""
    assert list(ROUTES) == [builtin(stage, SETTINGS).stage for stage in ROUTES]


def test_changes_are_tried_alone_only_where_there_are_several() -> None:
    """One change explains all; of several each has to answer for itself."""
    one, two = (
        _changes("risk.maximum_order=0.02"),
        _changes("risk.maximum_order=0.02", "tactical.atr_period=10"),
    )
    assert {} == one.single("risk", SETTINGS)
    assert ["risk.maximum_order: 0.04 to 0.02"] == list(two.single("risk", SETTINGS))
    assert frozenset({"risk", "tactical"}) == two.stages


@pytest.mark.parametrize(
    ("limits", "policies", "sentence"),
    [
        ((), ("tactical",), "STAGE=MODULE:NAME"),
        ((), ("nowhere=a:b",), "with a stage of"),
        (("risk.maximum_order=1", "risk.maximum_order=2"), (), "each limit once"),
        (("tactical.atr_period=10",), ("tactical=a:b",), "limits or a policy for tactical"),
    ],
)
def test_contradictions_are_refused(
    limits: tuple[str, ...], policies: tuple[str, ...], sentence: str
) -> None:
    """Nothing is guessed about which of two was meant."""
    with pytest.raises(UsageError, match=sentence):
        _changes(*limits, policies=policies)


def test_a_policy_is_loaded_by_its_name() -> None:
    """A class is called, an object is taken as it is."""
    changes = _changes(policies=(f"tactical={__name__}:OtherTactical",))
    assert isinstance(changes.logic("tactical", SETTINGS), OtherTactical)


@pytest.mark.parametrize(
    ("stage", "name", "sentence"),
    [
        ("tactical", "no.such.module:Policy", "Expected a policy at no.such.module:Policy"),
        ("tactical", f"{__name__}:Missing", "Expected a policy at"),
        ("tactical", f"{__name__}:SETTINGS", "Expected a policy at"),
        ("risk", f"{__name__}:OtherTactical", "was one of tactical"),
    ],
)
def test_what_is_no_policy_is_refused(stage: str, name: str, sentence: str) -> None:
    """Before anything is replayed."""
    with pytest.raises(UsageError, match=sentence):
        _changes(policies=(f"{stage}={name}",)).logic(stage, SETTINGS)
