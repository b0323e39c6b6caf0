"""Reading rules that lack a part, to show that the model notices."""

from pipeline.transport.log import LogReader

__all__ = ["Guessing", "WithoutEpochs", "WithoutSequences"]


class Guessing(LogReader):
    """Begins at the first marker it meets and takes the first record after it for the next."""

    _guessed = False

    def accepts(self, offset: int, epoch: int, sequence: int) -> bool:
        """Take the first record's word for its sequence."""
        if self.epoch < 0:
            return False
        if not self._guessed and epoch == self.epoch:
            self._guessed, self.sequence = True, sequence - 1
        return super().accepts(offset, epoch, sequence)


class WithoutEpochs(LogReader):
    """Takes whatever continues the sequence, whoever wrote it."""

    def accepts(self, offset: int, epoch: int, sequence: int) -> bool:
        """Look at the sequence only."""
        return super().accepts(offset, self.epoch, sequence)


class WithoutSequences(LogReader):
    """Takes whatever the epoch's owner wrote, holes or not."""

    def accepts(self, offset: int, epoch: int, sequence: int) -> bool:
        """Look at the epoch only."""
        if epoch == self.epoch:
            self.sequence = sequence - 1
        return super().accepts(offset, epoch, sequence)
