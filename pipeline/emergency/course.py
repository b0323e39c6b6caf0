"""What is declared, what stands in the records of its course, and what is looked at meanwhile."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.control.state import TradingStateMachine
from pipeline.emergency.ledger import Emergency
from pipeline.emergency.plans import (
    Check,
    Finding,
    PlanResult,
    RecoveryPlan,
    RecoveryStep,
    StepResult,
)
from pipeline.emergency.table import Containment, containment
from pipeline.packets.events import (
    EmergencyEvent,
    EmergencyLevel,
    EmergencyType,
    RecoveryAction,
)

__all__ = [
    "Declaration",
    "LiveView",
    "carried_out",
    "commands_of",
    "summary_of",
    "with_steps",
]


class LiveView(Protocol):
    """What is asked of the live cascade; see `LiveCascade`."""

    @property
    def checks(self) -> Mapping[str, Check]:
        """What can be looked for, by name."""
        ...

    def control(self) -> TradingStateMachine:
        """Return what the control log says now."""
        ...

    def ends(self, topic: str) -> Mapping[int, int]:
        """Return the end offsets of a topic by partition."""
        ...

    def caught_up(self, system: str) -> Finding:
        """Look whether nothing waits for a system."""
        ...

    def quiet(self, system: str) -> Finding:
        """Look whether a system writes nothing."""
        ...

    def released(self, system: str) -> Finding:
        """Look whether nothing fences a system off."""
        ...


@dataclass(frozen=True, slots=True)
class Declaration:
    """What somebody declares; see `EmergencyEvent` for the fields."""

    emergency_type: EmergencyType
    emergency_level: EmergencyLevel
    source_system: str
    affected_systems: tuple[str, ...]
    description: str
    context: Mapping[str, Any]
    estimated_impact: str = ""
    recovery_time_estimate: float = 0.0
    recovery_actions: tuple[RecoveryAction, ...] = ()


def commands_of(event: EmergencyEvent) -> tuple[Containment, ...]:
    """Return the commands that contain an emergency, by the table."""
    return containment(event.emergency_type, event.emergency_level, event.affected_systems)


def carried_out(emergency: Emergency, plan: RecoveryPlan) -> Mapping[str, StepResult]:
    """Return what of a plan stands in the emergency's course, by step key."""
    return {
        key: StepResult(
            RecoveryStep(each["action"], each["system"]),
            bool(each["done"]), each["detail"], int(each["epoch"]), key,
        )
        for each in emergency.steps
        if (key := each.get("key", "")).startswith(f"{plan.plan_id}/")
    }  # fmt: skip


def summary_of(result: PlanResult) -> str:
    """Return in a line what came of a plan, for people."""
    seen = "; ".join(finding.seen for finding in result.findings.values())
    failed = "; ".join(step.detail for step in result.steps if not step.done)
    return f"{seen}; failed: {failed}" if failed and not result.succeeded else seen


def with_steps(steps: str, results: Sequence[StepResult]) -> str:
    """Return the record of what was done, with these steps added; each key stands there once."""
    done = json.loads(steps).get("steps", [])
    known = {each.get("key") for each in done}
    done += [
        {
            "action": each.step.action,
            "system": each.step.system,
            "done": each.done,
            "epoch": each.epoch,
            "detail": each.detail[:500],
            "key": each.key,
        }
        for each in results
        if not each.key or each.key not in known
    ]
    return json.dumps({"steps": done[-100:]})
