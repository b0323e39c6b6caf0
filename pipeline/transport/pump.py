"""The pumps: threads that poll a worker's inputs and never wait for the worker.

Because they never wait, rebalances are answered at once and `max.poll.interval.ms` is never
exceeded, however long a round takes. When too much is queued in a lane, or the stage is isolated,
its partitions are paused in librdkafka and polled on.

The priority lane has a pump of its own: a consumer hands its messages out in the order in which it
fetched them, and a full lane must not hold up the other one.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.clock import Clock
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from pipeline.transport.clients import drain, group_consumer, log_consumer, watermarks
from pipeline.transport.pacing import Pacing
from pipeline.transport.rounds import RoundQueue, TopicAndPartition

__all__ = ["InputPump"]

_logger = logging.getLogger(__name__)
_IDLE_POLL_S = 0.1
_COMMAND_POLL_S = 0.02
_BATCH = 1000


class _Pump(threading.Thread):
    """Polls partitions of one lane by plain assignment.

    Args:
        name: Of the thread.
        consumer: Polls; closed at the end.
        settings: Settings.
        rounds: Where messages go.
        clock: Stamps when they were taken.
        gather_s: The longest that records wait for more; see `Pacing`.
        on_failed: Called with the error that ended the thread.
        priority: Whether it is the priority lane.
    """

    def __init__(
        self,
        name: str,
        consumer: Consumer,
        settings: Settings,
        rounds: RoundQueue,
        clock: Clock,
        *,
        gather_s: float,
        on_failed: Callable[[BaseException], None],
        priority: bool = False,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._rounds = rounds
        self._priority = priority
        self._lane = rounds.priority if priority else rounds.normal
        self._clock = clock
        self._pacing = Pacing(gather_s)
        self._on_failed = on_failed
        self._queue_limit = settings.lane_queue_records
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._reading: list[TopicPartition] = []
        self._paused = self._full = self._isolated = False
        self._generation = 0
        self.consumer = consumer

    def read(self, positions: Mapping[TopicAndPartition, int], generation: int) -> None:
        """Read the inputs on from `positions`; their messages carry `generation`."""
        partitions = [TopicPartition(*where, offset) for where, offset in positions.items()]
        self._do(lambda: self._assign(partitions, generation))

    def isolate(self, isolated: bool) -> None:  # noqa: FBT001  # a state, not an option
        """Fetch nothing until told otherwise, whatever partitions come and go meanwhile."""
        self._isolated = isolated  # read before each poll

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._do(lambda: None)

    def run(self) -> None:
        """Poll until stopped."""
        try:
            while not self._stopping.is_set():
                self._work_off_commands()
                self._poll()
        except BaseException as error:
            _logger.debug("pump failed", exc_info=True)
            self._on_failed(error)
        finally:
            self.consumer.close()

    def _do(self, command: Callable[[], None]) -> None:
        self._commands.put(command)

    def _work_off_commands(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command()

    def _assign(self, partitions: list[TopicPartition], generation: int) -> None:
        self._generation = generation
        self._reading = partitions
        self._paused = False
        self.consumer.assign(partitions)

    def _poll(self) -> None:
        self._bound_queue()
        timeout_s = _IDLE_POLL_S if self._reading else _COMMAND_POLL_S
        messages = drain(self.consumer, _BATCH, timeout_s, self._gather)
        if messages:
            self._pacing.handed_over(time.monotonic(), len(messages))
            self._rounds.add(
                messages, self._clock.now_us(), self._generation, priority=self._priority
            )

    def _gather(self) -> None:
        if wait_s := self._pacing.wait_s(time.monotonic(), self._rounds.work_s):
            time.sleep(wait_s)

    def _bound_queue(self) -> None:
        if self._full:
            self._full = self._lane.size >= self._queue_limit // 2
        else:
            self._full = self._lane.size > self._queue_limit
        paused = self._full or self._isolated
        if paused != self._paused:
            (self.consumer.pause if paused else self.consumer.resume)(self._reading)
            self._paused = paused


class InputPump(_Pump):
    """Polls the inputs of one worker, as a member of its group.

    Args:
        settings: Settings.
        group: Consumer group, without namespace.
        rounds: Where messages go.
        clock: Stamps when they were taken.
        gather_s: The longest that records wait for more; see `Pacing`.
        priority: Real name of the topic that has a lane of its own; None: there is one lane.
        on_assigned: Called with the subscribed partitions that the group assigned.
        on_revoked: Called before they are given back; may block for a while.
        on_failed: Called with the error that ended a thread.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        rounds: RoundQueue,
        clock: Clock,
        *,
        gather_s: float,
        priority: str | None = None,
        on_assigned: Callable[[Sequence[TopicAndPartition]], None],
        on_revoked: Callable[[Sequence[TopicAndPartition]], None],
        on_failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__(
            f"pump-{group}", group_consumer(settings, group), settings, rounds, clock,
            gather_s=gather_s, on_failed=on_failed,
        )  # fmt: skip
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._ahead_topic = priority
        self._ahead = None if priority is None else _Pump(
            f"pump-{group}-priority", log_consumer(settings, f"{group}.priority"), settings,
            rounds, clock, gather_s=0.0, on_failed=on_failed, priority=True,
        )  # fmt: skip

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group for `topics` (real names)."""

        def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
            # Fetching starts with `read`, at the positions that the output log tells.
            self._assign([], 0)
            self._on_assigned([(each.topic, each.partition) for each in partitions])

        def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._on_revoked([(each.topic, each.partition) for each in partitions])
            consumer.unassign()
            self._reading = []
            self._discard_commands()  # what they would read is no longer ours

        self._do(
            lambda: self.consumer.subscribe(
                list(topics), on_assign=assigned, on_revoke=revoked, on_lost=revoked
            )
        )

    def unsubscribe(self) -> None:
        """Leave the group; `subscribe` joins it again."""
        self._do(self.consumer.unsubscribe)

    def read(self, positions: Mapping[TopicAndPartition, int], generation: int) -> None:
        """Read the inputs on from `positions`, each in its lane."""
        ahead = {at: offset for at, offset in positions.items() if at[0] == self._ahead_topic}
        super().read({at: positions[at] for at in positions if at not in ahead}, generation)
        if self._ahead is not None:
            self._ahead.read(ahead, generation)

    def isolate(self, isolated: bool) -> None:  # noqa: FBT001  # a state, not an option
        """Fetch nothing until told otherwise, whatever partitions come and go meanwhile."""
        super().isolate(isolated)
        if self._ahead is not None:
            self._ahead.isolate(isolated)

    def commit(self, positions: Mapping[TopicAndPartition, int]) -> None:
        """Commit offsets to the group, for lag tools; nothing resumes from them."""
        partitions = [TopicPartition(*where, offset) for where, offset in positions.items()]
        self._do(lambda: self._commit(partitions))

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first, end) offsets of a partition as the broker says."""
        return watermarks(self.consumer, topic, partition, 5.0)

    def start(self) -> None:
        """Start polling."""
        if self._ahead is not None:
            self._ahead.start()
        super().start()

    def stop(self) -> None:
        """Leave the group and end the threads."""
        if self._ahead is not None:
            self._ahead.stop()
        super().stop()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the threads have ended."""
        if self._ahead is not None:
            self._ahead.join(timeout)
        super().join(timeout)

    def is_alive(self) -> bool:
        """Say whether all inputs are polled."""
        return super().is_alive() and (self._ahead is None or self._ahead.is_alive())

    def _discard_commands(self) -> None:
        while not self._commands.empty():
            self._commands.get_nowait()

    def _commit(self, partitions: list[TopicPartition]) -> None:
        try:
            self.consumer.commit(offsets=partitions, asynchronous=True)
        except (KafkaException, PipelineError) as error:
            _logger.debug("commit for lag tools failed: %s", error)
