"""Reads the ends of flows along, in a consumer group of its own."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from pipeline.packets.models import ExecutionPlan
from pipeline.settings import Settings
from pipeline.watch.group import Entry, GroupReader, Start
from pipeline.watch.observations import FlowEnd

__all__ = ["ENDS", "FlowSource", "KafkaFlows", "Start", "Take"]

ENDS: Final = "cascade.execution"
"""Topic with one record for each packet, which carries the packet's whole trace."""

Take = Callable[[Sequence[FlowEnd]], None]
"""Takes the ends that arrived together, in the order of their log."""


class FlowSource(Protocol):
    """Where ends of flows come from."""

    @property
    def connected(self) -> bool:
        """Whether its positions are fixed, and records are being read."""
        ...

    @property
    def undecodable(self) -> int:
        """Records that could not be read."""
        ...

    def start(self, take: Take) -> None:
        """Begin, without waiting for anything."""
        ...

    def ready(self, timeout_s: float) -> None:
        """Wait until what ended before is taken, and nothing that ends from then on is missed."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class KafkaFlows:
    """Reads the execution log in a group of its own; see `GroupReader` for the arguments."""

    def __init__(
        self,
        connect: Callable[[], Settings],
        *,
        group: str | None = None,
        start: Start = "latest",
    ) -> None:
        self._reader = GroupReader(connect, (ENDS,), name="monitor", group=group, start=start)
        self.undecodable = 0

    @property
    def connected(self) -> bool:
        """Whether its positions are fixed, and records are being read."""
        return self._reader.connected

    @property
    def assigned(self) -> bool:
        """Whether it has the log's partition, which one reader of a group has."""
        return self._reader.assigned

    def start(self, take: Take) -> None:
        """Begin, without waiting for anything.

        Args:
            take: Called on the reader's own thread; what it raises is logged.
        """
        self._reader.start(partial(self._hand_over, take))

    def ready(self, timeout_s: float) -> None:
        """Wait until nothing that ends from then on is missed, and what it began with is taken.

        Raises:
            BrokerUnavailable: If that is not within `timeout_s`; it goes on trying.
        """
        self._reader.ready(timeout_s)

    def close(self) -> None:
        """End it; nothing is handed over any more when this returns."""
        self._reader.close()

    def _hand_over(self, take: Take, entries: Sequence[Entry]) -> None:
        self.undecodable += sum(1 for each in entries if each.packet is None)
        ends = [
            end
            for each in entries
            if isinstance(each.packet, ExecutionPlan)
            for end in FlowEnd.all_of(each.packet, each.timestamp_ms)
        ]
        if ends:
            take(ends)
