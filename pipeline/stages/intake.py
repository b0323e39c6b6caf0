"""From a round's messages to a stage's inputs: reading rule, decoding, fates sealed up front."""

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import Message
from msgspec import Struct

from pipeline.errors import InvalidPacket, PoisonError, RoutingError
from pipeline.packets.codec import decode_with_parts, is_marker, journal_head
from pipeline.packets.models import Envelope, OrderEvent, Outcome, PortfolioUpdate
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.rules.registry import path_check
from pipeline.settings import Settings
from pipeline.stages.contract import Input, seal
from pipeline.stages.fates import Fate
from pipeline.stages.routes import Route
from pipeline.transport.clients import offset_of
from pipeline.transport.journal import Ownership
from pipeline.transport.log import Position, RoundCursor, by_priority
from pipeline.transport.rounds import Round, TopicAndPartition

__all__ = ["Intake"]

_NO_LOG = (-1, -1)
_WITHOUT_ENVELOPE: Mapping[str, type[Struct]] = {
    "risk": OrderEvent,
    "execution": PortfolioUpdate,
}
"""What else a stage reads beside packets."""


class Intake:
    """Turns a round into the inputs of one ownership.

    Args:
        route: Place of the stage.
        settings: Settings.
    """

    def __init__(self, route: Route, settings: Settings) -> None:
        self._route = route
        self._settings = settings
        self._event_clock = settings.clock == "event"
        self._check = path_check(settings)

    def take(
        self, ownership: Ownership, taken: Round, now: int
    ) -> tuple[list[Input], dict[TopicAndPartition, RoundCursor]]:
        """Return the inputs in order of priority, and a cursor for each input partition.

        Moves the positions of partitions that brought nothing to work off.
        """
        inputs: list[Input] = []
        cursors: dict[TopicAndPartition, RoundCursor] = {}
        for (real, partition), messages in taken.records.items():
            where = (self._settings.plain_topic(real), partition)
            known = ownership.positions.get(where)
            if known is None:
                continue
            mine = [
                each
                for each in self._readable(ownership, where, messages, taken.received, now)
                if each.offset not in known.done
            ]
            end = self._end(ownership, where, messages)
            if mine:
                offsets = [each.offset for each in mine]
                cursors[where] = RoundCursor(offsets, [each.prior for each in mine], end)
                inputs.extend(mine)
            elif end.offset > known.position.offset:
                known.move(end)
        order = by_priority(_priority(each) for each in inputs)
        return [inputs[index] for index in order], cursors

    def _end(
        self, ownership: Ownership, where: TopicAndPartition, messages: Sequence[Message]
    ) -> Position:
        reader = ownership.readers.get(where)
        rule = _NO_LOG if reader is None else (reader.epoch, reader.sequence)
        return Position(offset_of(messages[-1]) + 1, *rule)

    def _readable(
        self,
        ownership: Ownership,
        where: TopicAndPartition,
        messages: Sequence[Message],
        received: int,
        now: int,
    ) -> Iterator[Input]:
        """Yield what counts by the reading rule."""
        reader = ownership.readers.get(where)
        start = ownership.positions[where].position.offset
        for message in messages:
            offset = offset_of(message)
            if offset < start:
                continue
            if reader is None:
                yield self._of(where, message, -1, -1, _NO_LOG, received, now)
                continue
            value = message.value()
            if is_marker(value):
                reader.marker(offset)
                continue
            head = journal_head(value)
            prior = (reader.epoch, reader.sequence)
            if head is not None and reader.accepts(offset, head.epoch, head.sequence):
                yield self._of(where, message, head.epoch, head.sequence, prior, received, now)

    def _of(
        self,
        where: TopicAndPartition,
        message: Message,
        epoch: int,
        sequence: int,
        prior: tuple[int, int],
        received: int,
        now: int,
    ) -> Input:
        return self.read(
            where, offset_of(message), message.timestamp()[1], message.key(), message.value(),
            epoch, sequence, prior, received, now,
        )  # fmt: skip

    def read(
        self,
        where: TopicAndPartition,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        epoch: int,
        sequence: int,
        prior: tuple[int, int],
        received: int,
        now: int,
    ) -> Input:
        """Return a record as the stage's input: decoded, its fate sealed where nothing is decided.

        The arguments are the fields of `Input`.
        """
        packet: Struct | None = None
        parts: Mapping[str, bytes] = {}
        error: PoisonError | None = None
        fate: Outcome | None = None
        try:
            packet, parts = decode_with_parts(value)
            now = self._now(packet, now)
            fate = self._fate(packet, now)
        except PoisonError as poison:
            error = poison
            reason = Fate.VALIDATION if isinstance(poison, InvalidPacket) else Fate.MALFORMED
            reason = Fate.ROUTING if isinstance(poison, RoutingError) else reason
            fate = seal(OutcomeKind.DEAD_LETTERED, self._route.stage, reason, detail=str(poison))
        return Input(
            where[0], where[1], offset, epoch, sequence, prior, timestamp_ms,
            received, now, key, value, packet, error, fate, parts,
        )  # fmt: skip

    def _now(self, packet: Struct, now: int) -> int:
        """Return the clock of the decision; the event clock makes runs repeatable."""
        if not self._event_clock:
            return now
        envelope: Envelope | None = getattr(packet, "envelope", None)
        if envelope is not None:
            return envelope.accepted_at
        return int(getattr(packet, "accepted_at", now))

    def _fate(self, packet: Struct, now: int) -> Outcome | None:
        """Return what seals a packet's fate before the stage decides, None where nothing does.

        Raises:
            RoutingError: If the packet does not belong to this stage.
            InvalidPacket: If it breaks a rule.
        """
        route = self._route
        envelope: Envelope | None = getattr(packet, "envelope", None)
        if envelope is None or not isinstance(packet, route.reads):
            if isinstance(packet, _WITHOUT_ENVELOPE.get(route.stage, ())):
                return None
            raise RoutingError(
                f"Expected a {route.reads.__name__} for {route.stage},"
                f" was a {type(packet).__name__}"
            )
        if envelope.outcome is not None:
            return envelope.outcome
        if envelope.packet_type != route.reads_type or envelope.target_system != route.stage:
            raise RoutingError(
                f"Expected {route.reads_type} for {route.stage},"
                f" was {envelope.packet_type} for {envelope.target_system}"
            )
        if (failure := self._check(packet)) is not None:
            raise InvalidPacket(failure, packet_id=envelope.packet_id)
        if now > envelope.deadline and not self._event_clock:
            late_ms = (now - envelope.deadline) / 1000
            detail = f"{late_ms:.1f} ms past its deadline"
            return seal(OutcomeKind.EXPIRED, route.stage, Fate.DEADLINE, detail=detail)
        return None


def _priority(each: Input) -> int:
    """Return the order in which a round is worked off: fills first, then by priority."""
    envelope: Envelope | None = getattr(each.packet, "envelope", None)
    if envelope is not None:
        return envelope.priority
    return 4 if each.packet is not None else 1
