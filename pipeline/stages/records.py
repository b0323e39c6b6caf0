"""From a draft to the record that goes into the log: envelope, trace, journal."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from pipeline.control.state import ControlView, TradingState
from pipeline.errors import InvalidPacket, RecordTooLarge
from pipeline.packets import identity
from pipeline.packets.codec import encode
from pipeline.packets.models import Envelope, Journal, Outcome, PolicyStamp, Trace
from pipeline.packets.vocabulary import OutcomeKind, SuperpositionType
from pipeline.stages.contract import Draft, Input, Note, seal
from pipeline.stages.fates import NO_BAR, Fate
from pipeline.stages.routes import Route
from pipeline.transport.log import Position

__all__ = ["RecordWriter"]

_MAX_TRACE = 16
_TOPIC_TAKES = 900_000


class RecordWriter:
    """Builds the records of one stage.

    Args:
        route: Place of the stage.
        owner: Who writes, for the journal.
        build: Hash of code and settings.
        account: Account of packets that cannot be read.
        max_bytes: Largest record that the topic takes.
    """

    def __init__(
        self, route: Route, owner: str, build: str, account: str, max_bytes: int = _TOPIC_TAKES
    ) -> None:
        self._route = route
        self._owner = owner
        self._build = build
        self._account = account
        self._max_bytes = max_bytes

    def journal(
        self, each: Input, sequence: int, epoch: int, resume: Position, control: ControlView
    ) -> Journal:
        """Return the journal of the record made from `each`."""
        return Journal(
            sequence, epoch,
            each.topic, each.partition, each.offset, each.epoch, each.sequence,
            resume.offset, resume.epoch, resume.sequence,
            each.now, control.epoch, self._owner, self._build,
            control.trading_state is TradingState.HALTED,
        )  # fmt: skip

    def written(
        self,
        each: Input,
        item: Draft | Note,
        journal: Journal,
        retries: int,
        started: int,
        finished: int,
    ) -> tuple[Struct, bytes]:
        """Return what goes into the log for an input, and its bytes.

        A record that is too large, or whose content breaks a rule, gives way to one that says so.

        Raises:
            InvalidPacket: If a note breaks a rule.
        """
        if isinstance(item, Note):
            note = item.model(journal=journal, **item.fields)
            return note, encode(note)
        record = self.record(each, item, journal, retries, started, finished)
        try:
            return record, self._encoded(record, _carried(each, record))
        except (RecordTooLarge, InvalidPacket) as error:
            reason = Fate.TOO_LARGE if isinstance(error, RecordTooLarge) else Fate.POLICY_FAILED
            stage = self._route.stage
            fate = seal(OutcomeKind.DEAD_LETTERED, stage, reason, detail=str(error))
            record = self.minimal(each, fate, journal, started, finished)
            return record, encode(record)

    def record(
        self, each: Input, draft: Draft, journal: Journal, retries: int, started: int, finished: int
    ) -> Struct:
        """Return the stage's record of an input, complete."""
        packet = each.packet
        envelope = getattr(packet, "envelope", None)
        fields: dict[str, Any] = {}
        if envelope is None:
            envelope = self._unreadable(each)
        else:
            fields["bar"] = packet.bar
            for name in self._route.carried:
                fields[name] = getattr(packet, name)
        fields.update(draft.parts)
        if draft.outcome is not None and (
            # A run brings the bars of all its packets, this one's among them.
            draft.outcome.run is not None or not NO_BAR.isdisjoint(draft.outcome.reasons)
        ):
            fields["bar"] = None
        trace = Trace(self._route.stage, each.received, started, finished)
        return self._route.writes(
            journal=journal,
            envelope=self._envelope(envelope, draft.outcome, draft.policy, trace, retries),
            **fields,
        )

    def minimal(
        self, each: Input, outcome: Outcome, journal: Journal, started: int, finished: int
    ) -> Struct:
        """Return a record that always fits: the fate and the bar, nothing else."""
        packet = each.packet
        envelope = getattr(packet, "envelope", None) or self._unreadable(each)
        trace = Trace(self._route.stage, each.received, started, finished)
        return self._route.writes(
            journal=journal,
            envelope=self._envelope(envelope, outcome, None, trace, 0),
            bar=getattr(packet, "bar", None),
        )

    def _encoded(self, record: Struct, parts: Mapping[str, bytes]) -> bytes:
        value = encode(record, parts)
        if len(value) > self._max_bytes:
            raise RecordTooLarge(
                f"Expected a record up to {self._max_bytes} bytes, was {len(value)}"
            )
        return value

    def _envelope(
        self,
        above: Envelope,
        outcome: Outcome | None,
        policy: PolicyStamp | None,
        trace: Trace,
        retries: int,
    ) -> Envelope:
        route = self._route
        return Envelope(
            above.flow_id,
            identity.packet_id(above.flow_id, route.stage),
            above.packet_id,
            route.writes_type,
            route.stage,
            route.target,
            above.symbol,
            above.account,
            above.sequence,
            above.priority,
            above.event_time,
            above.accepted_at,
            above.deadline,
            above.retry_count + retries,
            above.max_retries,
            (*above.trace[-_MAX_TRACE + 1 :], trace),
            policy,
            outcome,
        )

    def _unreadable(self, each: Input) -> Envelope:
        """Return the envelope of a record whose own cannot be read."""
        flow = identity.unreadable_flow_id(each.topic, each.partition, each.offset)
        stamp = max(0, each.timestamp_ms) * 1000
        return Envelope(
            flow, identity.packet_id(flow, "unreadable"), "", SuperpositionType.CONTEXT_UPDATE,
            "unknown", self._route.stage, "unknown", self._account, 0, 1,
            stamp, stamp, stamp, 0, 0, (),
        )  # fmt: skip


def _carried(each: Input, record: Struct) -> dict[str, bytes]:
    """Return the bytes of the parts that the record carries over unchanged."""
    packet = each.packet
    return {
        name: part
        for name, part in each.parts.items()
        if getattr(record, name, None) is getattr(packet, name)
    }
