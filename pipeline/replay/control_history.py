"""What the control log said at each of its epochs."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Self

from pipeline.control.log import TOPIC, Entry, KafkaControlLog
from pipeline.control.state import NONE, ControlView, TradingState, TradingStateMachine
from pipeline.errors import BrokerUnavailable, PositionLost
from pipeline.packets.models import Journal
from pipeline.settings import Settings

__all__ = ["ControlHistory"]

_TIMEOUT_S = 10.0
_POLL_S = 0.2


class ControlHistory:
    """The control log, folded command by command.

    Args:
        entries: The log from its start.
        authors: Who may bootstrap and resume.

    Attributes:
        entries: The log.
        refused: Why, of each command that did not count, by epoch.
    """

    def __init__(self, entries: Iterable[Entry], authors: Collection[str]) -> None:
        machine = TradingStateMachine(authors)
        self._views = {NONE: machine.view(current=True)}
        self.entries = tuple(entries)
        for entry in self.entries:
            machine.take(entry)
            self._views[machine.epoch] = machine.view(current=True)
        self.refused = dict(machine.refused)
        self._self_halted: dict[int, ControlView] = {}

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Return the history that stands in Kafka now.

        Raises:
            BrokerUnavailable: If the log cannot be read in time.
            PositionLost: If it does not start at its first command.
        """
        log = KafkaControlLog(settings, "control-history")
        entries: list[Entry] = []
        try:
            end = log.end(_TIMEOUT_S)
            while log.next_epoch < end:
                entry = log.poll(_POLL_S) or log.poll(_TIMEOUT_S)
                if entry is None:
                    raise BrokerUnavailable(
                        f"Expected the control log up to {end}, was {log.next_epoch} and no more"
                        f" for {_TIMEOUT_S:g} s"
                    )
                entries.append(entry)
        finally:
            log.close()
        return cls(entries, settings.control_authors)

    def at(self, epoch: int) -> ControlView:
        """Return what was in force once the command of `epoch` had counted; -1: before any.

        Raises:
            PositionLost: If no command of that epoch counted.
        """
        if (found := self._views.get(epoch)) is None:
            raise PositionLost(
                f"Expected a command at epoch {epoch} that counted, was none",
                topic=TOPIC,
                partition=0,
                offset=epoch,
            )
        return found

    def seen_by(self, journal: Journal) -> ControlView:
        """Return what was in force for whoever wrote a record.

        Its worker may have held trading halted on its own: by its latch, because it had lost
        sight of the control log, or because the auditor was silent or behind.

        Raises:
            PositionLost: If the record names an epoch at which no command counted.
        """
        view = self.at(journal.control_epoch)
        if not journal.halted or view.trading_state is TradingState.HALTED:
            return view
        if (known := self._self_halted.get(view.epoch)) is None:
            reason = (
                "halted by the worker itself: its latch, no sight of the control log, or an auditor"
                " that is silent or behind"
            )
            known = replace(view, trading_state=TradingState.HALTED, current=False, reason=reason)
            self._self_halted[view.epoch] = known
        return known
