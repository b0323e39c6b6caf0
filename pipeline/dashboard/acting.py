"""What may be done from the page, by whom, and what comes of it. The user is the author."""

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

from pipeline.cascade.emergency import EmergencyCascadeProtocols
from pipeline.clock import Clock, WallClock
from pipeline.control.latch import Latch
from pipeline.control.scope import Scope
from pipeline.dashboard.users import Role
from pipeline.emergency.commands import Commander, CommandResult
from pipeline.errors import PipelineError
from pipeline.events import EventBus
from pipeline.packets.events import EVERYTHING, Alert, AlertCommandKind, ControlKind
from pipeline.watch.alerting.commands import TOPIC, key_of, new_alert_command

__all__ = ["NEEDED", "Desk"]

_logger = logging.getLogger(__name__)

NEEDED: Final[Mapping[ControlKind, Role]] = {
    ControlKind.HALT: Role.OPERATOR,
    ControlKind.REDUCE: Role.OPERATOR,
    ControlKind.ISOLATE: Role.OPERATOR,
    ControlKind.RELEASE: Role.OPERATOR,
    ControlKind.BREAKER_OPEN: Role.OPERATOR,
    ControlKind.BREAKER_RESET: Role.RISK_OFFICER,
    ControlKind.RESUME: Role.RISK_OFFICER,
    ControlKind.RESET: Role.RISK_OFFICER,
    ControlKind.BOOTSTRAP: Role.RISK_OFFICER,
}
"""The role that each command needs; what is not here is not given from the page."""

_OF_EVERYTHING = frozenset(
    {ControlKind.HALT, ControlKind.REDUCE, ControlKind.RESUME, ControlKind.BOOTSTRAP}
)
_ANSWERS_S = 5.0


class Desk:
    """Gives commands and acknowledges, for users; thread-safe, and each call waits for Kafka.

    Args:
        bus: Connection to Kafka; not closed here.
        clock: Clock.
    """

    def __init__(self, bus: EventBus, clock: Clock | None = None) -> None:
        self._bus = bus
        self._clock = clock or WallClock()
        self._latch = Latch.of(bus.settings)
        self._commander = Commander(bus, timeout_s=_ANSWERS_S)
        self._lock = threading.Lock()
        self._protocols: EmergencyCascadeProtocols | None = None

    def close(self) -> None:
        """Let go of connections; what was commanded stands."""
        self._commander.close()
        if self._protocols is not None:
            self._protocols.close()

    def give(
        self, kind: ControlKind, *, author: str, reason: str, scope: str, lifts_epoch: int
    ) -> dict[str, Any]:
        """Give a command and wait a few seconds for the workers' acknowledgements.

        A HALT is latched on this machine before anything else, and stays so where the control log
        cannot be written: then the workers of this machine alone are halted.

        Args:
            kind: What it does; one of `NEEDED`.
            author: Who gives it.
            reason: Why.
            scope: What it is for.
            lifts_epoch: What a RESUME, RELEASE or RESET lifts: what its author has seen.

        Raises:
            UsageError: If it would not count.
            BrokerUnavailable: If it could not be written; it may still arrive.
        """
        where = EVERYTHING if kind in _OF_EVERYTHING else str(Scope.parse(scope))
        if kind is ControlKind.HALT:
            return self._halt(author, reason)
        return _document(
            self._commander.give(kind, where, author=author, reason=reason, lifts_epoch=lifts_epoch)
        )

    def acknowledge_emergency(self, emergency_id: str, *, author: str, note: str) -> None:
        """Note that `author` has taken an emergency on.

        Raises:
            UsageError: If there is no such emergency, or it is over.
            BrokerUnavailable: If no broker answers.
        """
        with self._lock:
            if self._protocols is None:
                self._protocols = EmergencyCascadeProtocols(self._bus)
            protocols = self._protocols
        protocols.acknowledge_emergency(emergency_id, author=author, note=note)

    def acknowledge_alert(self, alert: Alert, *, author: str, note: str) -> None:
        """Ask the monitor worker to note that `author` has taken an alert on.

        Raises:
            BrokerUnavailable: If no broker takes it.
        """
        command = new_alert_command(
            AlertCommandKind.ACKNOWLEDGE, alert.id, author=author, reason=note, clock=self._clock
        )
        self._bus.publish(TOPIC, command, key=key_of(command))

    def _halt(self, author: str, reason: str) -> dict[str, Any]:
        halt_id = self._latch.halt(reason, author)
        try:
            result = self._commander.give(
                ControlKind.HALT, author=author, reason=reason, after=self._latch.settle
            )
        except PipelineError as error:
            # Another halt may have settled meanwhile, and be lifted; this one is not.
            halt_id = self._latch.halt(reason, author)
            _logger.warning("halted_on_this_machine_alone author=%s why=%s", author, error)
            return {
                "kind": ControlKind.HALT.value,
                "local": True,
                "in_force": False,
                "said": (
                    "Halted on this machine alone, for the control log was not written. A worker"
                    " that reaches the broker again tells all; until then `cascade control resume"
                    f" --local {halt_id}` lifts it."
                ),
                "error": str(error),
            }
        return _document(result)


def _document(result: CommandResult) -> dict[str, Any]:
    command = result.command
    return {
        "kind": command.kind.value,
        "scope": command.scope,
        "epoch": result.epoch,
        "command_id": command.command_id,
        "author": command.author,
        "in_force": result.in_force,
        "latency_ms": result.latency_ms,
        "acknowledged": len(result.acknowledgements),
        "missing": dict(result.missing),
        "said": str(result),
    }
