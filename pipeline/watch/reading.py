"""Which records of a log count, for a reader that did not begin at its start; pure."""

from pipeline.transport.log import LogReader, Position

__all__ = ["MidLogReader"]


class MidLogReader:
    """The reading rule as far as it can be kept from the middle of a log.

    A reader without a position cannot tell whether the first record that it meets continues the
    log's sequence or lies behind a hole (`pipeline.transport.log`). This one takes the first record
    for good, and the first of each epoch, until a marker has passed: its owner read the log to that
    marker, so from its first record on the rule holds in full. It may count a few records wrongly
    until then, which does for figures and would not for decisions.
    """

    def __init__(self) -> None:
        self._rule: LogReader | None = None
        self._marked = -1
        self._certain = False

    def marker(self, offset: int) -> None:
        """Note a marker at `offset`."""
        self._marked = offset
        if self._rule is not None and self._certain:
            self._rule.marker(offset)

    def accepts(self, offset: int, epoch: int, sequence: int) -> bool:
        """Say whether the record at `offset` counts, and note it if so.

        Raises:
            ForeignRecord: Once the rule holds in full, as `LogReader`.
        """
        if epoch < self._marked:
            return False
        rule = self._rule
        if not self._certain and (rule is None or epoch > rule.epoch):
            self._certain = epoch == self._marked
            rule = self._rule = LogReader(Position(offset, epoch, sequence - 1))
        return rule is not None and rule.accepts(offset, epoch, sequence)
