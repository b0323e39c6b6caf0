"""How each part of the cascade is doing, in a word that a person reads without colour; pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pipeline.control.fences import Fence, Fences
from pipeline.control.latch import Latched
from pipeline.control.scope import STAGES
from pipeline.control.state import TradingStateMachine
from pipeline.control.trips import Trip
from pipeline.watch.lag import LagState, SystemLag

__all__ = ["Condition", "condition_of", "control_view", "stage_view"]

_BEHIND = frozenset({LagState.WARN, LagState.STALL, LagState.REWIND})
_MOVING = 0.05
_LATE_S = 5.0


class Condition(StrEnum):
    """Condition of a stage, best first.

    Attributes:
        WORKING: Records go through.
        IDLE: It runs, and nothing comes.
        BEHIND: Its input grows, or stands still.
        RESTRICTED: Its policy is isolated, or its breaker forced open: it holds every packet.
        ISOLATED: Its input waits in Kafka.
        DOWN: No worker runs.
        UNKNOWN: Nobody can tell.
    """

    WORKING = "working"
    IDLE = "idle"
    BEHIND = "behind"
    RESTRICTED = "restricted"
    ISOLATED = "isolated"
    DOWN = "down"
    UNKNOWN = "unknown"


def condition_of(
    stage: str, workers: Mapping[str, int] | None, fences: Fences, lag: SystemLag | None
) -> tuple[Condition, str]:
    """Return the condition of a stage, and why, for people.

    Args:
        stage: The stage, or `gateway`.
        workers: Live workers by stage; None where the broker does not tell.
        fences: What control fences off.
        lag: How far it is behind.
    """
    if workers is None:
        return Condition.UNKNOWN, "the broker does not answer"
    if stage in fences.stages:
        return Condition.ISOLATED, "isolated by control; its input waits in Kafka"
    if not workers.get(stage):
        return Condition.DOWN, "no worker runs"
    if stage in fences.policies:
        return Condition.RESTRICTED, "its policy is isolated by control; it holds every packet"
    if stage in fences.breakers:
        return Condition.RESTRICTED, "its breaker is forced open; it holds every packet"
    return _by_lag(lag)


def _by_lag(lag: SystemLag | None) -> tuple[Condition, str]:
    if lag is None or lag.records is None:
        return Condition.IDLE, "nothing has come yet"
    if lag.state in _BEHIND and lag.records and (lag.seconds or 0.0) > _LATE_S:
        return Condition.BEHIND, f"{lag.records:,} records wait, the oldest for {lag.seconds:.0f} s"
    moving = (lag.worked_off_per_second or 0.0) > _MOVING
    return (Condition.WORKING, "") if moving else (Condition.IDLE, "nothing comes in")


def stage_view(
    stage: str,
    workers: Mapping[str, int] | None,
    fences: Fences,
    lag: SystemLag | None,
    latency: Mapping[str, Any] | None,
    busy: float | None,
) -> dict[str, Any]:
    """Return a stage as the page shows it; arguments as those of `condition_of`, and figures."""
    condition, detail = condition_of(stage, workers, fences, lag)
    rate = lag.worked_off_per_second if lag else None
    return {
        "name": stage,
        "condition": condition.value,
        "detail": detail,
        "workers": None if workers is None else workers.get(stage, 0),
        "per_s": None if rate is None else round(rate, 1),
        "lag_records": lag.records if lag else None,
        "lag_s": None if lag is None or lag.seconds is None else round(lag.seconds, 1),
        "lag_state": lag.state.value if lag else LagState.NO_DATA.value,
        "latency_ms": latency,
        "busy": None if busy is None else round(busy, 3),
        "isolated": stage in fences.stages,
    }


def control_view(machine: TradingStateMachine, latched: Latched) -> dict[str, Any]:
    """Return trading state, fences and trips as the page shows them.

    Args:
        machine: What the control log says.
        latched: What the latch of this machine holds.
    """
    held = latched.holds(machine.lifted_epoch)
    reason = machine.reason
    return {
        "state": machine.trading_state.value,
        "reason": reason,
        "epoch": machine.epoch,
        "halt_epoch": machine.halt_epoch,
        "reduce_epoch": machine.reduce_epoch,
        "bootstrapped": not (machine.halt_epoch < 0 and reason == "not bootstrapped"),
        "latch": {
            "holds": held,
            "local": held and latched.local,
            "halt_id": latched.halt_id if held and latched.local else "",
            "state": latched.trading_state.value,
            "reason": latched.reason if held else "",
            "author": latched.author if held else "",
        },
        "fences": [_command(each) for each in machine.fences.standing],
        "trips": [_command(each) for each in machine.trips.standing],
        "isolated": [name for name in STAGES if name in machine.fences.fences.stages],
    }


def _command(each: Fence | Trip) -> dict[str, Any]:
    return {
        "scope": str(each.scope),
        "kind": each.command.kind.value,
        "epoch": each.epoch,
        "author": each.command.author,
        "reason": each.command.reason,
        "at": each.command.time / 1e6,
    }
