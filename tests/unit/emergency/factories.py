"""An emergency cascade in memory: a control log, its commands, and what can be seen of it."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from pipeline.control.state import TradingStateMachine
from pipeline.emergency.commands import CommandResult
from pipeline.emergency.plans import Check, Finding
from pipeline.emergency.supervising import Asked, Request
from pipeline.emergency.table import scope_of
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.packets.events import (
    EVERYTHING,
    ControlCommand,
    ControlKind,
    EmergencyEvent,
    EmergencyLevel,
    EmergencyType,
    TradingState,
)

NOW_US = 1_700_000_000_000_000


def event(**changes: Any) -> EmergencyEvent:
    """Return an emergency that was just declared."""
    made = EmergencyEvent(
        "id", EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CRITICAL, NOW_US, "test",
        ("tactical",), "provoked", "{}", (), "", 0.0,
    )  # fmt: skip
    return structs.replace(made, **changes)


class MemoryCascade:
    """Takes commands as the control log does, and is looked at as the live cascade is.

    Attributes:
        machine: What its control log says.
        given: All commands, in order.
        deaf: How often in a row no worker acknowledges a command, the next ones.
        broken: Whether the control log cannot be written.
        blind: Whether what is in force is not seen on the live cascade.
        silent: Whether its stages write nothing.
        asked: What supervisors have done, by request id.
    """

    def __init__(self, topics: Any) -> None:
        self.machine = TradingStateMachine(["operator"])
        self.given: list[ControlCommand] = []
        self.deaf = 0
        self.broken = False
        self.blind = False
        self.silent = False
        self.asked: dict[str, str] = {}
        self._topics = topics
        self.give(ControlKind.BOOTSTRAP, author="operator", reason="test")

    def give(
        self,
        kind: ControlKind,
        scope: str = EVERYTHING,
        *,
        author: str,
        reason: str,
        lifts_epoch: int = -1,
        timeout_s: float | None = None,
        after: Callable[[int], None] | None = None,
        command_id: str = "",
        resumed: bool = False,
    ) -> CommandResult:
        """Give a command; see `Commander.give`."""
        if self.broken:
            raise BrokerUnavailable("Expected a broker, was none")
        if command_id and command_id in (ids := [each.command_id for each in self.given]):
            epoch = ids.index(command_id)
            return self._result(self.given[epoch], epoch)
        epoch = len(self.given)
        command = ControlCommand(
            command_id or f"c{epoch}", kind, scope, author, reason, NOW_US, 0, lifts_epoch
        )
        if refusal := self.machine.refusal(command):
            raise UsageError(refusal)
        self.given.append(command)
        self.machine.apply(command, epoch)
        if after is not None:
            after(epoch)
        return self._result(command, epoch)

    def _result(self, command: ControlCommand, epoch: int) -> CommandResult:
        self.deaf -= 1
        return CommandResult(command, epoch, (), {"tactical": 1} if self.deaf >= 0 else {}, 0.0)

    @property
    def commands(self) -> list[str]:
        """The commands after the bootstrap, as text."""
        return [f"{each.kind} {each.scope}" for each in self.given[1:]]

    def control(self) -> TradingStateMachine:
        """Return what the control log says."""
        return self.machine

    def workers(self) -> Mapping[str, int]:
        """Return one worker of each stage."""
        return dict.fromkeys(("strategic", "tactical", "risk", "execution", "gateway"), 1)

    def ask(self, what: Request, stage: str, request_id: str, timeout_s: float) -> Asked:
        """Have a supervisor act; one that is asked twice acts once."""
        if request_id not in self.asked:
            self.asked[request_id] = f"{what} {stage}"
        return Asked(not self.broken, self.asked[request_id])

    def caught_up(self, system: str) -> Finding:
        """Look whether nothing waits."""
        return self._found(True)

    def quiet(self, system: str) -> Finding:
        """Look whether a system writes nothing."""
        return Finding(self.silent, f"{system} writes nothing")

    def released(self, system: str) -> Finding:
        """Look whether nothing fences a system off."""
        return self._found(not self._fenced(system))

    def ends(self, topic: str) -> Mapping[int, int]:
        """Return the end of a topic in memory."""
        return {0: len(self._topics.log_of(topic))}

    @property
    def checks(self) -> Mapping[str, Check]:
        """What can be seen."""
        return {
            "isolated": lambda system: self._found(self._fenced(system)),
            "released": self.released,
            "breaker_open": lambda _: self._found(bool(self.machine.fences.fences.breakers)),
            "alive": lambda _: self._found(True),
            "caught_up": self.caught_up,
            "halted": lambda _: self._found(self.state is TradingState.HALTED),
            "reducing": lambda _: self._found(self.state is not TradingState.ACTIVE),
        }

    @property
    def state(self) -> TradingState:
        """The trading state now."""
        return self.machine.trading_state

    def _fenced(self, system: str) -> bool:
        scope = scope_of(system)
        return scope is not None and self.machine.fences.isolated(scope) is not None

    def _found(self, met: bool) -> Finding:
        return Finding(met and not self.blind, "as the log says")
