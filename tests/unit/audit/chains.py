"""Audit logs to tamper with."""

from msgspec.structs import replace

from pipeline.audit.chain import START, ChainHead, sha256_of
from pipeline.audit.content import Digest, Place, Range, Window, start_record, window_record
from pipeline.packets.codec import encode
from pipeline.packets.events import AuditRecord

__all__ = ["Log", "chained", "log_of", "window"]

Log = list[tuple[int, bytes | None]]


def window(first: int, end: int) -> AuditRecord:
    """Return the record of a window over one partition."""
    digest = Digest()
    for offset in range(first, end):
        digest.add(offset, b"k", b"v%d" % offset)
    where = ("cascade.control", 0)
    ranges = [Range(*where, first, end, digest.count, digest.sha256)]
    return window_record("a", Window(ranges, {where: Place(end)}, {where: Place(end)}), 1)


def chained(head: ChainHead, *records: AuditRecord) -> list[bytes]:
    """Return the bytes of records that continue a chain."""
    values: list[bytes] = []
    for number, record in enumerate(records, head.sequence + 1):
        previous = sha256_of(values[-1]) if values else str(head.sha256)
        values.append(encode(replace(record, sequence=number, previous_sha256=previous)))
    return values


def log_of(count: int = 8) -> Log:
    """Return a sound log: a START, then windows of five records each."""
    opening = start_record("a", {("cascade.control", 0): Place(0)}, 1, "first")
    windows = [window(5 * n, 5 * n + 5) for n in range(count - 1)]
    return list(enumerate(chained(START, opening, *windows)))
