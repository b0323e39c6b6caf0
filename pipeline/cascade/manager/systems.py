"""What is known of the four systems, from coordination, control and the workers of this process."""

from collections.abc import Mapping
from typing import Protocol

from pipeline.cascade.manager.embedded import EmbeddedWorker
from pipeline.cascade.manager.health import STAGES, SystemHealth, SystemStatus
from pipeline.control.fences import Fences
from pipeline.coordination.membership import Member, SystemState
from pipeline.coordination.vocabulary import Role
from pipeline.policies.breaker import BreakerState
from pipeline.stages.coordinated import STAGE_WORKER

__all__ = ["RegisteredSystem", "registered_workers", "statuses"]

_WAITING = frozenset({BreakerState.OPEN, BreakerState.HALF_OPEN})


class RegisteredSystem(Protocol):
    """A system that was registered here."""

    system_name: str
    worker: EmbeddedWorker


def registered_workers(members: list[Member]) -> list[Member]:
    """Return those that decide a stage's packets in the built-in worker's place."""
    return [
        each
        for each in members
        if each.said.role is Role.REGISTERED and STAGE_WORKER in each.said.capabilities
    ]


def statuses(
    known: Mapping[str, SystemState],
    live: list[Member],
    here: Mapping[str, RegisteredSystem],
    fences: Fences,
) -> dict[str, SystemStatus]:
    """Return the status of each of the four systems.

    Args:
        known: What coordination knows, by system.
        live: Live instances.
        here: Systems that were registered here.
        fences: What control isolates.
    """
    return {name: _status(name, known.get(name), live, here.get(name), fences) for name in STAGES}


def _status(
    name: str,
    known: SystemState | None,
    live: list[Member],
    here: RegisteredSystem | None,
    fences: Fences,
) -> SystemStatus:
    members = [each for each in live if each.system_id == name]
    health, reason = _health(name, known, here, fences)
    system_name = known.system_name if known is not None else f"{name.capitalize()} MARL"
    return SystemStatus(
        system_id=name,
        system_name=here.system_name if here is not None else system_name,
        status=health,
        registered=here is not None or bool(registered_workers(members)),
        here=here is not None,
        instances=len(members),
        load=known.current_load if known is not None else None,
        last_heartbeat=known.last_heartbeat if known is not None else 0,
        reason=reason,
    )


def _health(
    name: str, known: SystemState | None, here: RegisteredSystem | None, fences: Fences
) -> tuple[SystemHealth, str]:
    if reason := _isolation(name, fences):
        return SystemHealth.ISOLATED, reason
    if known is None:
        return SystemHealth.STALE, "never heard of"
    if known.status == "disconnected":
        return SystemHealth.STALE, f"last heard of {known.age_s:.1f} s ago"
    if here is not None and (reason := _trouble(here.worker)):
        return SystemHealth.DEGRADED, reason
    return SystemHealth.ACTIVE, "a heartbeat is late" if known.status == "stale" else ""


def _isolation(name: str, fences: Fences) -> str:
    if name in fences.stages:
        return "isolated by control"
    if name in fences.policies:
        return "its policy is isolated by control"
    return "its breaker is forced open" if name in fences.breakers else ""


def _trouble(worker: EmbeddedWorker) -> str:
    if not worker.owned:
        return worker.failure or "its worker owns nothing"
    return "its breaker is open" if worker.breaker in _WAITING else ""
