"""How far packets have come: a thread of the first stage's worker that reads the last log's end.

It looks at one record of each fetch, and asks for few and large ones, so that it costs little. It
does not follow the reading rule: a record that does not count would mislead a measure for the
blink of an eye, and no decision is recorded from it.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from pipeline.errors import PipelineError, PoisonError
from pipeline.packets.codec import decode, journal_head
from pipeline.packets.lanes import is_urgent
from pipeline.packets.models import Envelope, ExecutionPlan
from pipeline.settings import Settings
from pipeline.stages.overload import may_share
from pipeline.transport.clients import drain, log_consumer

__all__ = ["Follower", "ProgressReader", "progress_of"]

_logger = logging.getLogger(__name__)
# Often enough against a deadline of 100 ms, and 40 requests a second at most.
_FETCH_WAIT_MS = 25
_FETCH_BYTES = 1_000_000
_BATCH = 1000
_POLL_S = 0.5
_ASK_S = 5.0
_AGAIN_S = 1.0


def progress_of(plan: ExecutionPlan, first: str) -> tuple[int, int, int | None] | None:
    """Return (round begun at the first stage, done, deadline) of a record of the last log.

    The deadline is None where the first stage held the packet to be late.

    Args:
        plan: The record.
        first: Name of the first stage.

    Returns:
        None where it tells nothing of how far others have come: it was urgent, or nobody can read
        it. Times are microseconds since the Unix epoch.
    """
    envelope: Envelope = plan.envelope
    if is_urgent(envelope.priority):
        return None
    for trace in envelope.trace:
        if trace.stage == first:
            outcome = envelope.outcome
            late = outcome is not None and outcome.stage == first and may_share(outcome)
            return trace.started, envelope.trace[-1].finished, None if late else envelope.deadline
    return None


class Follower(Protocol):
    """Is told how far packets have come."""

    def came_out(self, at_us: int, out_us: int, deadline_us: int | None) -> None:
        """Take what `progress_of` returns of the newest packet that came out."""
        ...

    def forget(self) -> None:
        """Take note that nobody can tell any more."""
        ...


class ProgressReader(threading.Thread):
    """Tells a follower how far packets have come, until stopped.

    While the log cannot be read the follower knows nothing, and nobody is shed or held back for it.

    Args:
        settings: Settings with a broker.
        first: Name of the first stage.
        log: The last log, without namespace.
        follower: Is told.
        needed: Nothing is read while it is not set, and each record is told at once while it is;
            None: all is read, in few and large fetches.
    """

    def __init__(
        self,
        settings: Settings,
        first: str,
        log: str,
        follower: Follower,
        needed: threading.Event | None = None,
    ) -> None:
        super().__init__(name=f"progress-{first}", daemon=True)
        self._settings = settings
        self._first = first
        self._topic = settings.topic(log)
        self._follower = follower
        self._needed = needed
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()

    def run(self) -> None:
        """Read along until stopped; what goes wrong is tried again."""
        while not self._stopping.is_set():
            sparing = {"fetch_wait_max_ms": _FETCH_WAIT_MS, "fetch_min_bytes": _FETCH_BYTES}
            consumer = log_consumer(
                self._settings, f"cascade.{self._first}.progress",
                **(sparing if self._needed is None else {}),
            )  # fmt: skip
            try:
                self._follow(consumer)
            except (KafkaException, PipelineError) as error:
                _logger.debug("progress unknown: %s", error)
            finally:
                consumer.close()
            self._follower.forget()
            self._stopping.wait(_AGAIN_S)

    def _follow(self, consumer: Consumer) -> None:
        found = consumer.list_topics(self._topic, timeout=_ASK_S).topics[self._topic].partitions
        if not found:
            return
        ends = [TopicPartition(self._topic, each, OFFSET_END) for each in found]
        while not self._stopping.is_set():
            if self._needed is not None and not self._needed.wait(_POLL_S):
                continue
            consumer.assign(ends)
            while not self._stopping.is_set() and self._wanted():
                self.take(drain(consumer, _BATCH, _POLL_S))
            consumer.unassign()

    def _wanted(self) -> bool:
        return self._needed is None or self._needed.is_set()

    def take(self, messages: Sequence[Message]) -> None:
        """Tell what the newest of these records of the log tells."""
        for message in reversed(messages):
            value = message.value()
            if journal_head(value) is None:
                continue
            try:
                plan = decode(value)
            except PoisonError:
                continue
            progress = progress_of(plan, self._first) if isinstance(plan, ExecutionPlan) else None
            if progress is not None:
                self._follower.came_out(*progress)
                return
