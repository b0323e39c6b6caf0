"""How long a stage was away after its worker was killed, seen in its log."""

import time
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition

from pipeline.demo.summary import KillSeen
from pipeline.errors import ConfigurationError
from pipeline.packets.codec import is_marker, journal_head
from pipeline.run import log_specs
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, watermarks

__all__ = ["RecoveryWatch"]

_TIMEOUT_S = 10.0
_BATCH = 2000


class RecoveryWatch:
    """Watches one stage's log from a moment just before its worker is killed.

    Recovery ends with the first record of an owner whose marker came after the kill, by the
    broker's time of appending it. Nothing is decided from the records, only when they came, so that
    no position of the reading rule is needed.

    Args:
        settings: Broker and namespace.
        stage: The stage.
        at_s: When it is killed, seconds after the first counted record.
    """

    def __init__(self, settings: Settings, stage: str, at_s: float) -> None:
        self._stage = stage
        self._at_s = at_s
        self._killed_ms = 0.0
        self._epochs: dict[int, tuple[int, int]] = {}
        self._record_ms: int | None = None
        topic = settings.topic(log_specs()[stage].log)
        self._consumer = log_consumer(settings, f"demo-recovery-{stage}", fetch_wait_max_ms=100)
        try:
            found = self._consumer.list_topics(timeout=_TIMEOUT_S).topics.get(topic)
            if found is None:
                raise ConfigurationError(f"Expected topic {topic}, was not there")
            self._consumer.assign(
                [
                    TopicPartition(topic, each, watermarks(self._consumer, topic, each, 5.0)[1])
                    for each in found.partitions
                ]
            )
        except BaseException:
            self._consumer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def killed(self) -> None:
        """Note that the worker is killed now."""
        self._killed_ms = time.time_ns() / 1e6

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Look at the log; return whether a record of the new owner has been seen."""
        if self._record_ms is not None:
            return True
        for message in drain(self._consumer, _BATCH, timeout_s):
            value, partition = message.value(), int(message.partition() or 0)
            appended_ms = int(message.timestamp()[1])
            if is_marker(value):
                self._epochs[partition] = (int(message.offset() or 0), appended_ms)
                continue
            head = journal_head(value)
            known = self._epochs.get(partition)
            if head is not None and known is not None and head.epoch == known[0]:
                self._record_ms = appended_ms
                return True
        return False

    def seen(self) -> KillSeen:
        """Return what has been seen so far."""
        markers = [appended_ms for _, appended_ms in self._epochs.values()]
        if self._record_ms is not None:
            return KillSeen(self._stage, self._at_s, self._since(self._record_ms), "record")
        if markers:
            return KillSeen(self._stage, self._at_s, self._since(max(markers)), "marker")
        return KillSeen(self._stage, self._at_s, None, None)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _since(self, appended_ms: int) -> float:
        # The broker's clock ticks in milliseconds; what rounds below the kill is none.
        return max(0.0, round((appended_ms - self._killed_ms) / 1000, 3))
