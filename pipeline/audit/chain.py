"""The audit log as a chain, pure: which of its records count, and what is wrong with it.

Each record carries its sequence number and the SHA-256 of the record before it, as its bytes stand
in Kafka. Two auditors may race, a killed one may leave records behind; still there is one chain:

1. A record counts if it continues the chain: sequence last + 1, hash of the last that counted.
2. Of several that continue the same record, the first in the topic counts. The others, and what
   their writer built on them, lost a race: their hash before is known, and nobody uses them.
3. Whatever else stands there was changed, or misses a record that is missing or came out of order.

So writing is a comparison and swap by log order: who wrote a record and reads it back as one that
counts knows that the chain is his up to there; who does not starts over from what counts.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.errors import PoisonError
from pipeline.packets.codec import decode_as
from pipeline.packets.events import AuditRecord

__all__ = ["START", "ChainFault", "ChainHead", "ChainReader", "FaultKind", "Link", "sha256_of"]

_REMEMBERED = 50_000


class FaultKind(StrEnum):
    """What can be wrong with a record of the chain."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"


@dataclass(frozen=True, slots=True)
class ChainFault:
    """A record that is not as it was written.

    Attributes:
        kind: What is wrong.
        sequence: Of the record.
        offset: Where in the topic it was noticed.
        text: More, for people.
    """

    kind: FaultKind
    sequence: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest record that counts.

    Attributes:
        sequence: Its number; -1 before the first.
        sha256: Of its bytes, hex; empty before the first, None where that record was changed.
    """

    sequence: int
    sha256: str | None


START: Final = ChainHead(-1, "")


@dataclass(frozen=True, slots=True)
class Link:
    """A record that counts."""

    offset: int
    record: AuditRecord
    sha256: str


def sha256_of(value: bytes) -> str:
    """Return the hash that the next record carries."""
    return hashlib.sha256(value).hexdigest()


class ChainReader:
    """Follows the audit log record by record.

    Args:
        head: What the first record continues; None: it is taken as it comes, as in the middle of a
            log whose start is gone.

    Attributes:
        faults: What is wrong so far; `finish` adds what only the end tells.
        lost_races: Records that another auditor was quicker than.
    """

    def __init__(self, head: ChainHead | None = START) -> None:
        self._head = head
        # It has the right number and the wrong hash; the next record tells which of the two
        # was changed, it or the one before it.
        self._suspect: Link | None = None
        self._known: OrderedDict[str, int] = OrderedDict()
        self._gaps: dict[int, int] = {}
        self.faults: list[ChainFault] = []
        self.lost_races = 0

    @property
    def head(self) -> ChainHead:
        """The newest record that counts."""
        return self._head or START

    def add(self, offset: int, value: bytes | None) -> Link | None:
        """Take the next record; return it if it counts.

        A record that should count and was changed is left out, and the chain goes on behind it.
        """
        try:
            record = decode_as(value, AuditRecord)
        except PoisonError as error:
            self._unreadable(offset, error.message)
            return None
        link = Link(offset, record, sha256_of(value or b""))
        if self._head is None or self._continues(link):
            return self._accepted(link)
        if record.sequence in self._gaps:
            return self._late(link)
        if self._lost_race(link):
            return None
        return self._broken(link)

    def finish(self) -> list[ChainFault]:
        """Return all faults, now that nothing more comes."""
        if self._suspect is not None:
            self._fault(
                FaultKind.CHANGED, self._suspect.record.sequence - 1, self._suspect.offset,
                f"it or record {self._suspect.record.sequence}: their hashes differ",
            )  # fmt: skip
            self._suspect = None
        for sequence, offset in sorted(self._gaps.items()):
            self._fault(FaultKind.MISSING, sequence, offset, "not in the log")
        self._gaps.clear()
        self.faults.sort(key=lambda each: (each.sequence, each.offset))
        return self.faults

    def _continues(self, link: Link) -> bool:
        head, record = self.head, link.record
        if record.sequence != head.sequence + 1:
            return False
        return head.sha256 is None or record.previous_sha256 == head.sha256

    def _accepted(self, link: Link) -> Link:
        if self._suspect is not None:  # its own hash is right, so the record before it was changed
            suspect, self._suspect = self._suspect, None
            self._fault(
                FaultKind.CHANGED, suspect.record.sequence - 1, suspect.offset,
                "its bytes are not those that the next record was chained to",
            )  # fmt: skip
        self._head = ChainHead(link.record.sequence, link.sha256)
        self._remember(link)
        return link

    def _remember(self, link: Link) -> None:
        self._known[link.sha256] = link.record.sequence
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _late(self, link: Link) -> Link:
        del self._gaps[link.record.sequence]
        text = f"behind record {self.head.sequence}"
        self._fault(FaultKind.REORDERED, link.record.sequence, link.offset, text)
        self._remember(link)
        return link

    def _lost_race(self, link: Link) -> bool:
        """Say whether a record builds on a known one, or is one that stands there already."""
        previous, sequence = link.record.previous_sha256, link.record.sequence
        base = START.sequence if previous == START.sha256 else self._known.get(previous)
        again = self._known.get(link.sha256) == sequence
        if (base is None or base + 1 != sequence) and not again:
            return False
        self.lost_races += 1
        self._remember(link)
        return True

    def _broken(self, link: Link) -> Link | None:
        """Judge a record that neither continues the chain nor lost a race."""
        head, sequence = self.head, link.record.sequence
        if self._suspect is not None and sequence == head.sequence + 1:
            # The suspect's own bytes are not those that this one was chained to: it was changed.
            suspect, self._suspect = self._suspect, None
            self._fault(
                FaultKind.CHANGED, suspect.record.sequence, suspect.offset,
                "its bytes are not those that the next record was chained to",
            )  # fmt: skip
            return self._accepted(link)
        if link.record.previous_sha256 == head.sha256 and sequence != head.sequence + 1:
            text = f"it says to be record {sequence}"
            self._fault(FaultKind.CHANGED, head.sequence + 1, link.offset, text)
            self._head = ChainHead(head.sequence + 1, None)
            return None
        if sequence <= head.sequence:
            text = "another record of that number counts, and it was not made from any known one"
            self._fault(FaultKind.CHANGED, sequence, link.offset, text)
            return None
        if sequence == head.sequence + 1:
            self._suspect = link
        for missing in range(head.sequence + 1, sequence):
            self._gaps[missing] = link.offset
        self._head = ChainHead(sequence, link.sha256)
        self._remember(link)
        return link

    def _unreadable(self, offset: int, why: str) -> None:
        sequence = self.head.sequence + 1
        self._fault(FaultKind.CHANGED, sequence, offset, why)
        self._head = ChainHead(sequence, None)

    def _fault(self, kind: FaultKind, sequence: int, offset: int, text: str) -> None:
        self.faults.append(ChainFault(kind, sequence, offset, text))
