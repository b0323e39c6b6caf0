"""The log protocol, pure: who may write an output log, and which of its records count.

A log partition has one writing stage. Whoever takes it over writes a marker with a fresh random
token and reads the log until that token comes, at offset M; from then on it writes records with
epoch M. Nothing else decides: no clock, no group generation, no "end of the log".

Every reader follows one rule, `LogReader`:

1. A marker at offset M makes M the epoch.
2. A record with a lower epoch comes from an owner that was taken over: it is ignored.
3. A record whose log sequence is not the last accepted + 1 lies behind a hole that a lost batch
   left: it is ignored; the owner finds the hole too, and takes over again.
4. A record whose epoch no marker before it opened cannot exist: `ForeignRecord`.

So a zombie may write what it likes, nobody uses it, and all readers agree on the same records.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.errors import ForeignRecord

__all__ = ["START", "InputPosition", "LogReader", "Position", "RoundCursor", "by_priority"]

_NONE: Final = -1


class Position(NamedTuple):
    """Where to read a log on: the next offset, with the rule's epoch and sequence before it."""

    offset: int
    epoch: int
    sequence: int


START: Final = Position(0, _NONE, _NONE)


class LogReader:
    """The reading rule over one log partition.

    There is no way in without a position. A reader that met a marker in mid-log could not tell
    whether the first record after it continues the sequence or lies behind a hole, and one that
    guesses disagrees with all others. Where the start of a log is gone, a snapshot's position is
    the way in.

    Args:
        position: Where reading starts; `START` for the whole log.
    """

    def __init__(self, position: Position = START) -> None:
        self.epoch = position.epoch
        self.sequence = position.sequence

    def marker(self, offset: int) -> None:
        """Note a marker at `offset`: it opens epoch `offset`."""
        self.epoch = offset

    def accepts(self, offset: int, epoch: int, sequence: int) -> bool:
        """Say whether the record at `offset` counts, and note it if so.

        Raises:
            ForeignRecord: If its epoch was opened by no marker before it.
        """
        if not 0 <= epoch <= self.epoch:
            raise ForeignRecord(
                f"Expected a record of an epoch from 0 to {self.epoch}, was {epoch} at offset"
                f" {offset}. Only the log's own stage may write it, and reading must begin at a"
                " position that a reader or a snapshot stored.",
                offset=offset,
            )
        if epoch < self.epoch or sequence != self.sequence + 1:
            return False
        self.sequence = sequence
        return True


@dataclass(slots=True)
class InputPosition:
    """How far one input partition is worked off, as the output log tells.

    `position` is where to resume. `done` holds the offsets past it that are worked off already,
    because a round is worked off in order of priority.
    """

    position: Position
    done: set[int]

    def fold(self, offset: int, resume: Position, *, finished: bool = True) -> None:
        """Fold the journal of one output record, made from `offset`.

        Args:
            offset: The input's offset.
            resume: Where to resume after the record.
            finished: Whether it was the last record of that input.
        """
        self.move(resume)
        if finished and offset >= self.position.offset:
            self.done.add(offset)

    def move(self, resume: Position) -> None:
        """Go on to `resume`; all before it is worked off or needs no record.

        Never goes back. A snapshot may stand further than the records after it say, since what
        needs no record moves positions in memory only, and their writer may not have known it.
        Once passed is passed for good: going back would work off again what `done` has forgotten.
        """
        if resume.offset <= self.position.offset:
            return
        if self.done:
            self._forget(self.position.offset, resume.offset)
        self.position = resume

    def _forget(self, start: int, end: int) -> None:
        # Whichever is shorter, so that a round costs no more than its records and its span.
        if end - start < len(self.done):
            self.done.difference_update(range(start, end))
        else:
            self.done = {done for done in self.done if done >= end}


class RoundCursor:
    """Resume positions while the records of one input partition are worked off in any order.

    Args:
        offsets: Offsets of the round's records, ascending.
        priors: For each, (epoch, sequence) of the reading rule just before it.
        end: The position after the last of them.
    """

    def __init__(
        self, offsets: Sequence[int], priors: Sequence[tuple[int, int]], end: Position
    ) -> None:
        self._offsets = offsets
        self._priors = priors
        self._end = end
        self._done: set[int] = set()
        self._first = 0

    def finish(self, offset: int) -> Position:
        """Note that the record at `offset` is worked off; return where to resume now."""
        self._done.add(offset)
        while self._first < len(self._offsets) and self._offsets[self._first] in self._done:
            self._first += 1
        if self._first == len(self._offsets):
            return self._end
        return Position(self._offsets[self._first], *self._priors[self._first])


def by_priority(priorities: Iterable[int]) -> list[int]:
    """Return the indices of a round's records, highest priority first, else in order."""
    ranked = list(priorities)
    return sorted(range(len(ranked)), key=lambda index: -ranked[index])
