"""Part 5, emergency protocols: a failing system is isolated, holds its work, and is let back in."""

from pipeline.cascade import (
    EmergencyLevel,
    EmergencyType,
    OutcomeKind,
    SuperpositionType,
)
from pipeline.cascade.demo.checks import Checks, wait_for
from pipeline.cascade.demo.flow import bars
from pipeline.cascade.demo.running import SYMBOL, Running
from pipeline.errors import OutcomePending

__all__ = ["show"]

_SYSTEM = "tactical"
_SEEN_S = 10.0
_HELD_S = 1.5
_OUTCOME_S = 20.0


def show(running: Running, checks: Checks) -> None:
    """Declare a system failure and end it again; broken means that it is declared too mildly."""
    protocols, manager = running.protocols, running.manager
    protocols.add_emergency_contact(name="Demo", contact_info="demo", contact_type="log")
    emergency_id = protocols.declare_emergency(
        emergency_type=EmergencyType.SYSTEM_FAILURE,
        emergency_level=EmergencyLevel.ADVISORY if running.broken else EmergencyLevel.CRITICAL,
        source_system="demo",
        affected_systems=[_SYSTEM],
        description="System failure declared by the demo",
    )
    status = protocols.get_emergency_status()
    active = [each.event_id for each in status.active_emergencies]
    checks.equal("active emergencies", [emergency_id], active)
    told = wait_for(
        lambda: protocols.get_emergency_status().emergency_contacts_notified == ("Demo",), _SEEN_S
    )
    checks.equal("the contact was told", True, told)
    isolated = wait_for(
        lambda: manager.get_cascade_status().systems[_SYSTEM].status == "isolated", _SEEN_S
    )
    seen = manager.get_cascade_status().systems[_SYSTEM].status
    checks.holds(f"{_SYSTEM} after a CRITICAL SYSTEM_FAILURE", "isolated", seen, isolated)
    packet_id = _inject_one(running)
    checks.equal("a flow meanwhile", "waits", "waits" if _waits(running, packet_id) else "ended")
    protocols.acknowledge_emergency(emergency_id, author="operator")
    protocols.resolve_emergency(emergency_id, author="operator")
    outcome = manager.wait_for(packet_id, _OUTCOME_S)
    running.outcomes.append(outcome)
    checks.holds(
        "the same flow after the emergency was resolved",
        "ended, and not executed if it was too late",
        f"{outcome.kind}, {', '.join(outcome.reasons)}",
        outcome.kind is not OutcomeKind.DEAD_LETTERED,
    )
    back = wait_for(
        lambda: manager.get_cascade_status().systems[_SYSTEM].status == "active", _SEEN_S
    )
    checks.equal(f"{_SYSTEM} active again", True, back)
    left = protocols.get_emergency_status().active_emergencies
    checks.equal("active emergencies after it", 0, len(left))


def _inject_one(running: Running) -> str:
    (bar,) = bars(1, running.injected)
    running.injected += 1
    return running.manager.inject_superposition(
        SuperpositionType.CONTEXT_UPDATE, bar, "market_data", symbol=SYMBOL
    )


def _waits(running: Running, packet_id: str) -> bool:
    try:
        running.manager.wait_for(packet_id, _HELD_S)
    except OutcomePending:
        return True
    return False
