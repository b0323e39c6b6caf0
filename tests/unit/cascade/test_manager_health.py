"""State and health score of the cascade."""

from pipeline.cascade.manager.health import (
    HOLD_S,
    STAGES,
    CascadeState,
    FlowFigures,
    StateMachine,
    SystemHealth,
    SystemStatus,
    health_score,
)
from pipeline.packets.vocabulary import OutcomeKind
from tests.unit.cascade.test_manager_flows import plan


def systems(**health: SystemHealth) -> dict[str, SystemStatus]:
    """Return the four systems, active unless told otherwise."""
    return {
        name: SystemStatus(
            name, name, health.get(name, SystemHealth.ACTIVE), registered=False, here=False,
            instances=1, load=0.1, last_heartbeat=1, reason="",
        )
        for name in STAGES
    }  # fmt: skip


def look(
    machine: StateMachine, now_s: float, *, flowing: bool = False, **health: SystemHealth
) -> str:
    """Return the state at a moment."""
    found = systems(**health)
    return machine.look(health_score(found, None), found, flowing=flowing, now_s=now_s)


def test_the_score_is_availability_times_soundness() -> None:
    """One stage of four that is gone costs a quarter, a degraded one half of that."""
    assert 1.0 == health_score(systems(), None)
    assert 0.75 == health_score(systems(risk=SystemHealth.STALE), None)
    assert 0.75 == health_score(systems(risk=SystemHealth.ISOLATED), 0.0)
    assert 0.875 == health_score(systems(risk=SystemHealth.DEGRADED), None)
    assert 0.9 == health_score(systems(), 0.1)
    assert 0.0 == health_score({}, None)


def test_states_follow_systems_and_flows() -> None:
    """INITIALIZING until all stages were active once; then READY, FLOWING, DEGRADED, SHUTDOWN."""
    machine = StateMachine(0.8)

    seen = [
        look(machine, 0.0, risk=SystemHealth.STALE),
        look(machine, 1.0),
        look(machine, 2.0, flowing=True),
        look(machine, 3.0, risk=SystemHealth.DEGRADED),
        look(machine, 4.0),
    ]
    machine.shut_down()

    expected = ["INITIALIZING", "READY", "FLOWING", "DEGRADED", "READY"]
    assert expected == seen
    assert CascadeState.SHUTDOWN is machine.state
    assert "SHUTDOWN" == look(machine, 5.0)


def test_emergency_begins_below_the_threshold_and_ends_after_a_lasting_recovery() -> None:
    """A short recovery does not end it, and a score between the two limits neither."""
    machine = StateMachine(0.8)
    look(machine, 0.0)
    assert "EMERGENCY" == look(machine, 1.0, risk=SystemHealth.STALE)
    assert "EMERGENCY" == look(machine, 2.0)
    assert "EMERGENCY" == look(machine, 3.0, risk=SystemHealth.STALE)
    assert "EMERGENCY" == look(machine, 4.0)
    assert "EMERGENCY" == look(machine, 4.0 + HOLD_S - 0.1)
    assert "READY" == look(machine, 4.0 + HOLD_S)


def test_the_threshold_decides() -> None:
    """With a threshold below the score the same failure only degrades."""
    machine = StateMachine(0.7)
    look(machine, 0.0)

    assert "DEGRADED" == look(machine, 1.0, risk=SystemHealth.STALE)


def test_emergency_can_be_left_by_hand() -> None:
    """It does not come back for the same failure, but does for the next one."""
    machine = StateMachine(0.8)
    look(machine, 0.0)
    look(machine, 1.0, risk=SystemHealth.STALE)
    machine.leave_emergency()
    assert "DEGRADED" == look(machine, 2.0, risk=SystemHealth.STALE)
    assert "READY" == look(machine, 3.0)
    assert "EMERGENCY" == look(machine, 4.0, tactical=SystemHealth.STALE)


def test_figures_are_of_what_ended() -> None:
    """Without flows there is no data; with some, rates are ratios and latency milliseconds."""
    figures = FlowFigures()
    none = figures.metrics(0.0, systems())
    assert (0, None, None, None) == (
        none.total_packets_processed, none.success_rate, none.error_rate, none.average_latency_ms,
    )  # fmt: skip
    for number in range(3):
        figures.note(plan(number), 1.0)
    figures.note(plan(3, OutcomeKind.DEAD_LETTERED), 1.0)

    found = figures.metrics(2.0, systems(), 5)

    assert (4, 0.4, 20.0, 0.75, 0.25, 5, 0.1) == (
        found.total_packets_processed, found.packets_per_second, found.average_latency_ms,
        found.success_rate, found.error_rate, found.current_queue_depth, found.system_load,
    )  # fmt: skip
    assert 0.75 == found.cascade_health_score
    assert {"held": 3, "dead_lettered": 1} == {k: v for k, v in found.outcomes.items() if v}


def test_old_flows_leave_rates_but_not_the_total() -> None:
    """Rates look at the last minute."""
    figures = FlowFigures()
    figures.note(plan(1, OutcomeKind.EXPIRED), 0.0)

    later = figures.metrics(61.0, systems())

    assert (1, None) == (later.total_packets_processed, later.error_rate)
    assert 61.0 == figures.since_last_s(61.0) or figures.since_last_s(61.0) is None
