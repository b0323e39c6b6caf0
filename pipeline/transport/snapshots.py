"""Snapshots: a stage's state as of a position of its log, in chunks on a topic of its own.

A snapshot is written only after the log was read back through its position, so it can hold nothing
that another owner made void. It counts only when all its chunks are there and its hash is right.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, TopicPartition

from pipeline.errors import MalformedPacket, PoisonError
from pipeline.packets.codec import decode_as, encode
from pipeline.packets.models import Cursor, Snapshot
from pipeline.transport.clients import drain, offset_of, watermarks
from pipeline.transport.log import Position

__all__ = ["CHUNK_BYTES", "assemble", "chunks", "latest"]

CHUNK_BYTES = 500_000
_LOOK_BACK = 64


def chunks(
    stage: str,
    partition: int,
    at: Position,
    cursors: tuple[Cursor, ...],
    data: bytes,
    now: int,
    chunk_bytes: int = CHUNK_BYTES,
) -> list[bytes]:
    """Return the wire form of a snapshot's chunks, in the order to write them.

    Args:
        stage: Stage.
        partition: Log partition.
        at: Offset, epoch and sequence of the last record in the state.
        cursors: Input positions.
        data: The state.
        now: Microseconds.
        chunk_bytes: Most bytes of state in one chunk.
    """
    snapshot_id = secrets.token_hex(8)
    digest = hashlib.sha256(data).hexdigest()
    parts = [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)] or [b""]
    return [
        encode(
            Snapshot(
                snapshot_id, stage, partition, index, len(parts), at.offset, at.epoch, at.sequence,
                cursors, now, digest, part,
            )
        )
        for index, part in enumerate(parts)
    ]  # fmt: skip


def assemble(parts: Iterable[Snapshot]) -> tuple[Snapshot, bytes] | None:
    """Return the newest complete snapshot among `parts` (in log order) and its state."""
    gathered: dict[str, dict[int, Snapshot]] = {}
    newest: tuple[Snapshot, bytes] | None = None
    for part in parts:
        mine = gathered.setdefault(part.snapshot_id, {})
        mine[part.chunk] = part
        if len(mine) == part.chunks and (newest is None or part.log_offset > newest[0].log_offset):
            data = b"".join(mine[index].data for index in range(part.chunks))
            if hashlib.sha256(data).hexdigest() == part.sha256:
                newest = (part, data)
    return newest


def latest(
    consumer: Consumer,
    topic: str,
    partition: int,
    timeout_s: float,
    expired: Callable[[], bool] = lambda: False,
) -> tuple[Snapshot, bytes] | None:
    """Return the newest complete snapshot of a partition, or None where there is none.

    Reads backwards in doubling steps, since snapshots are kept as long as the log.

    Raises:
        BrokerUnavailable: If the topic cannot be read in time.
    """
    low, high = watermarks(consumer, topic, partition, timeout_s)
    back = _LOOK_BACK
    while high > low:
        start = max(low, high - back)
        found = assemble(_read(consumer, topic, partition, start, high, expired))
        if found is not None or start == low:
            return found
        back *= 2
    return None


def _read(
    consumer: Consumer,
    topic: str,
    partition: int,
    start: int,
    end: int,
    expired: Callable[[], bool],
) -> list[Snapshot]:
    consumer.assign([TopicPartition(topic, partition, start)])
    found: list[Snapshot] = []
    at = start
    while at < end and not expired():
        for message in drain(consumer, 500, 0.1):
            at = offset_of(message) + 1
            if at <= end:
                try:
                    found.append(decode_as(message.value(), Snapshot))
                except (PoisonError, MalformedPacket):
                    continue
    consumer.assign([])
    return found
