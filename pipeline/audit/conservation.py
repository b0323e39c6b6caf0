"""What went in is the sum of what came out and what is under way, packet by packet."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from pipeline.audit.findings import Finding, FindingKind
from pipeline.audit.ordering import Counted
from pipeline.packets.events import ValidationType
from pipeline.packets.models import ExecutionPlan
from pipeline.packets.runs import unrolled

__all__ = ["Conservation"]

_REMEMBERED: Final = 50_000


class Conservation:
    """Sets each end of a packet off against its entry, in whichever order they are read.

    Args:
        patience_s: How long an entry may take to be read after its end.
        open_limit_s: For how long a packet that has not come out is remembered.
    """

    def __init__(self, patience_s: float, open_limit_s: float) -> None:
        self._patience_ms = int(patience_s * 3000)
        self._limit_ms = int(open_limit_s * 1000)
        self._inside: OrderedDict[str, int] = OrderedDict()
        self._ahead: OrderedDict[str, tuple[Counted, int]] = OrderedDict()
        self._out: OrderedDict[str, None] = OrderedDict()
        self._begun_us: int | None = None

    @property
    def under_way(self) -> int:
        """Packets that went in and have not come out."""
        return len(self._inside)

    def entered(self, flow_id: str, timestamp_ms: int) -> None:
        """Note a record of the ingest topic; the same flow again has an end of its own."""
        if self._begun_us is None:
            self._begun_us = timestamp_ms * 1000
        if self._ahead.pop(flow_id, None) is not None:
            self._note_out(flow_id)
        else:
            self._inside[flow_id] = timestamp_ms

    def ended(self, one: Counted) -> None:
        """Note a record of execution's log; others are passed over."""
        if not isinstance(one.record, ExecutionPlan):
            return
        for packet in unrolled(one.record):
            flow_id, accepted_at = packet.envelope.flow_id, packet.envelope.accepted_at
            if self._inside.pop(flow_id, None) is not None:
                self._note_out(flow_id)
            elif flow_id not in self._out:
                self._ahead[flow_id] = (one, accepted_at)

    def advance(self, read_until_ms: int) -> Iterator[Finding]:
        """Say that all appended before was taken; yield packets that came out and never went in."""
        for flow_id, (one, accepted_at) in list(self._ahead.items()):
            if read_until_ms - one.entry.timestamp_ms <= self._patience_ms:
                break
            del self._ahead[flow_id]
            if self._begun_us is None or accepted_at < self._begun_us:
                continue  # went in before reading began
            topic, partition, _, sequence = one.key
            yield Finding(
                FindingKind.CONSERVATION, topic, partition, sequence, one.entry.offset,
                f"{topic}[{partition}]@{one.entry.offset}: expected a packet that went in, was"
                f" none of flow {flow_id}", flow_id, one.record.envelope.packet_id,
                validation_type=ValidationType.FLOW_CONTINUITY,
            )  # fmt: skip
        for flow_id, since_ms in list(self._inside.items()):
            if read_until_ms - since_ms <= self._limit_ms:
                break
            del self._inside[flow_id]

    def _note_out(self, flow_id: str) -> None:
        self._out[flow_id] = None
        if len(self._out) > _REMEMBERED:
            self._out.popitem(last=False)
