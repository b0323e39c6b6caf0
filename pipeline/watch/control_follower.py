"""Reads the control log along, and notes which commands nobody had the right to give."""

from collections import deque
from collections.abc import Callable
from datetime import timedelta

from msgspec import structs

from pipeline.control.log import Entry, KafkaControlLog
from pipeline.control.state import TradingStateMachine
from pipeline.errors import PipelineError
from pipeline.settings import Settings

__all__ = ["ControlFollower", "only_lacks_the_right"]

_ASK_S = 3.0
_POLL_S = 0.1
_MOST = 1000
_MICROSECOND = timedelta(microseconds=1)


def only_lacks_the_right(machine: TradingStateMachine, entry: Entry, author: str) -> bool:
    """Say whether a command would count next if somebody with the right had given it.

    Args:
        machine: What the log says before the command.
        entry: The command.
        author: Somebody with the right.
    """
    command = entry.command
    if command is None or machine.refusal(command, entry.appended_at) is None:
        return False
    granted = structs.replace(command, author=author)
    return machine.refusal(granted, entry.appended_at) is None


class ControlFollower:
    """The control log as of the last `follow`; one thread calls that.

    Args:
        connect: Returns settings with a broker, or raises `BrokerUnavailable`.
        name: Says who reads.
    """

    def __init__(self, connect: Callable[[], Settings], name: str) -> None:
        self._connect = connect
        self._name = name
        self._log: KafkaControlLog | None = None
        self._authors: tuple[str, ...] = ()
        self._refused: deque[int] = deque(maxlen=_MOST)
        self.machine = TradingStateMachine(())

    def follow(self, now_us: int) -> None:
        """Read on to the end.

        Args:
            now_us: Now, microseconds since the Unix epoch, UTC.

        Raises:
            BrokerUnavailable: If the broker does not answer.
            PositionLost: If the log has lost commands.
        """
        if self._log is None:
            settings = self._connect()
            self._authors = settings.control_authors
            self.machine = TradingStateMachine(self._authors)
            self._log = KafkaControlLog(settings, f"{self._name}-control")
        try:
            end = self._log.end(_ASK_S)
            while self._log.next_epoch < end:
                entry = self._log.poll(_POLL_S)
                if entry is None:
                    return
                self._take(entry, now_us)
        except PipelineError:
            self.close()
            raise

    def unauthorised(self, now_us: int, window_s: float) -> int:
        """Return how many commands within a window nobody had the right to give.

        One that cannot be read counts, too.
        """
        since_us = now_us - int(timedelta(seconds=window_s) / _MICROSECOND)
        return sum(at_us >= since_us for at_us in tuple(self._refused))

    def close(self) -> None:
        """Let go of the connection; the next `follow` reads anew."""
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def _take(self, entry: Entry, now_us: int) -> None:
        machine = self.machine
        author = next(iter(self._authors), "")
        if entry.forgery is not None:
            pass  # or whoever cannot sign could have the emergency worker halt in their stead
        elif entry.command is None or only_lacks_the_right(machine, entry, author):
            self._refused.append(entry.appended_at or now_us)
        machine.take(entry)
