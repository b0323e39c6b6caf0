"""Part 2, coordination: live systems asked for a decision, a conflict, a peer that is not there."""

from functools import partial

from pipeline.cascade import ConflictStrategy, SyncProtocol
from pipeline.cascade.demo.checks import Checks
from pipeline.cascade.demo.running import SYMBOL, Running
from pipeline.coordination.answers import CoordinationRequest

__all__ = ["show"]

_STAGES = ("strategic", "tactical", "risk", "execution")
_ASKED = ("risk", "execution")
_LIVE_S = 15.0
_NO_TIME_S = 0.001


def show(running: Running, checks: Checks) -> None:
    """Coordinate decisions with the workers, and with systems of the demo's own."""
    engine = running.engine
    live = engine.wait_for(_STAGES, _LIVE_S)
    checks.equal(f"{', '.join(_STAGES)} are live", True, live)
    _show_decision(running, checks)
    lone = engine.coordinate_decision(
        "demo", "entry_signal", {"signal": "buy"}, ["nobody"], timeout_s=2.0
    )
    checks.holds(
        "decision of a system that is not there",
        "failure, and HOLD",
        f"{lone.failure}, {lone.decision}",
        not lone.success and lone.decision == "HOLD",
    )
    synced = engine.synchronize(SyncProtocol.RELIABLE_SYNC)
    checks.holds(
        "reliable synchronisation",
        "confirmed by all live systems",
        f"epoch {synced.epoch}, {len(synced.confirmed)} confirmed, missing {synced.missing}",
        synced.success and not synced.missing,
    )
    _show_conflict(running, checks)


def _show_decision(running: Running, checks: Checks) -> None:
    """Ask workers of other processes; broken means that nobody can answer in time."""
    result = running.engine.coordinate_decision(
        requesting_system="demo",
        decision_type="entry_signal",
        decision_data={"signal": "buy", "strength": 0.8, "symbol": SYMBOL},
        affected_systems=_ASKED,
        quorum=len(_ASKED),
        timeout_s=_NO_TIME_S if running.broken else None,
    )
    said = {name: each.decision for name, each in result.answers.items()}
    checks.holds(
        f"answers of the workers on {SYMBOL}",
        f"one of each of {', '.join(_ASKED)}",
        f"{said} in {result.response_time_ms:.0f} ms" + (f", {result.reason}" * (not result)),
        set(said) == set(_ASKED),
    )


def _show_conflict(running: Running, checks: Checks) -> None:
    """Have two systems of the demo contradict each other."""
    engine = running.engine
    for name, says in (("demo-bull", "BUY"), ("demo-bear", "SELL")):
        engine.register_marl_system(name, name, ["opinion"])
        engine.on_request(name, partial(_says, says))
    engine.wait_for(("demo-bull", "demo-bear"), _LIVE_S, answering=True)
    seen = [
        engine.coordinate_decision(
            "demo", "direction", {}, systems, strategy=ConflictStrategy.HIERARCHICAL
        )
        for systems in (("demo-bull", "demo-bear"), ("demo-bear", "demo-bull"))
    ]
    decisions = {each.decision for each in seen}
    checks.holds(
        "contradicting answers, asked in either order",
        "a conflict, and one decision",
        f"{seen[0].conflict.kind if seen[0].conflict else None}, {', '.join(sorted(decisions))}",
        len(decisions) == 1 and all(each.conflict is not None for each in seen),
    )
    for name in ("demo-bull", "demo-bear"):
        engine.unregister_marl_system(name)


def _says(decision: str, _: CoordinationRequest) -> str:
    return decision
