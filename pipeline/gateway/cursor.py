"""Which order plans are through, while several are worked on at once."""

from collections import deque

from pipeline.transport.log import Position

__all__ = ["PlanCursor"]


class PlanCursor:
    """Where to resume an input whose records are finished in any order.

    Args:
        position: Where reading starts.
    """

    def __init__(self, position: Position) -> None:
        self._open: deque[tuple[int, tuple[int, int]]] = deque()
        self._finished: set[int] = set()
        self._end = position

    def add(self, offset: int, prior: tuple[int, int], after: tuple[int, int]) -> None:
        """Note the next record: its offset, the reading rule's position before and after it."""
        self._open.append((offset, prior))
        self._end = Position(offset + 1, *after)

    def skip(self, position: Position) -> None:
        """Note that everything before `position` that was not added needs nothing."""
        self._end = position

    def finish(self, offset: int) -> None:
        """Note that the record at `offset` is through."""
        self._finished.add(offset)
        while self._open and self._open[0][0] in self._finished:
            self._finished.remove(self._open.popleft()[0])

    @property
    def resume(self) -> Position:
        """Where to resume now: the first record that is not through."""
        if not self._open:
            return self._end
        offset, prior = self._open[0]
        return Position(offset, *prior)
