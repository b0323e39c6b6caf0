"""What Kafka clients say of themselves, as details: whoever calls them judges their errors."""

import logging

__all__ = ["ClientLog"]


class ClientLog(logging.Logger):
    """Hands what a Kafka client logs on to `target`, at level DEBUG whatever its own level.

    A client that looks for its broker repeats itself at level ERROR several times a second.
    """

    def __init__(self, target: logging.Logger) -> None:
        super().__init__(f"{target.name}.client")
        self._target = target

    def handle(self, record: logging.LogRecord) -> None:
        """Hand a record on."""
        self._target.debug("%s", record.getMessage())
