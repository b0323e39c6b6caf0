"""A control log in memory, with the faults that a broker can have."""

import threading
import time
from collections.abc import Callable
from itertools import count

from pipeline.control.log import Entry
from pipeline.errors import BrokerUnavailable, PositionLost
from pipeline.packets.events import EVERYTHING, ControlCommand, ControlKind

_DEADLINE_S = 20.0


_NUMBERS = count()


def command(
    kind: ControlKind,
    *,
    author: str = "operator",
    lifts_epoch: int = -1,
    scope: str = EVERYTHING,
    expires_at: int = 0,
) -> ControlCommand:
    """Return a command with the fields that matter to a test."""
    return ControlCommand(
        f"id-{next(_NUMBERS)}", kind, scope, author, "why", 1, expires_at, lifts_epoch
    )


BOOTSTRAP = command(ControlKind.BOOTSTRAP)
HALT = command(ControlKind.HALT)


def resume(lifts_epoch: int) -> ControlCommand:
    """Return a RESUME that lifts a halt."""
    return command(ControlKind.RESUME, lifts_epoch=lifts_epoch)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail where it does not within a generous deadline."""
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.002)


class MemoryBroker:
    """Holds the records of a control log.

    Attributes:
        records: The records.
        answers: False is a broker that cannot be reached.
        withheld: How many records the log's end counts beyond those that readers get.
        asked: How often a reader has asked for the end.
        opened: How often the log has been opened.
    """

    def __init__(self, *commands: ControlCommand | None) -> None:
        self.records: list[ControlCommand | None] = list(commands)
        self.answers = True
        self.withheld = 0
        self.asked = 0
        self.opened = 0
        self.lock = threading.Lock()

    def append(self, *commands: ControlCommand | None) -> None:
        """Append records."""
        with self.lock:
            self.records += commands

    def open(self) -> "MemoryLog":
        """Open the log from its start."""
        self.opened += 1
        return MemoryLog(self)


class MemoryLog:
    """One reader of a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.next_epoch = 0

    def end(self, timeout_s: float) -> int:
        """Return the end of the log; see `pipeline.control.log.ControlLog`."""
        del timeout_s
        self._broker.asked += 1
        if not self._broker.answers:
            raise BrokerUnavailable("Expected an answer, was none")
        with self._broker.lock:
            end = len(self._broker.records) + self._broker.withheld
        if end < self.next_epoch:
            raise PositionLost(f"Expected {self.next_epoch} records, was {end}")
        return end

    def poll(self, timeout_s: float) -> Entry | None:
        """Return the next record, if there is one."""
        with self._broker.lock:
            if self._broker.answers and self.next_epoch < len(self._broker.records):
                entry = Entry(self.next_epoch, self._broker.records[self.next_epoch], 0)
                self.next_epoch += 1
                return entry
        time.sleep(min(timeout_s, 0.002))
        return None

    def close(self) -> None:
        """Nothing to let go of."""
