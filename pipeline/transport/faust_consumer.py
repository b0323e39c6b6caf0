"""Faust's consumer, fed by the pump: the worker's rounds, rebalances."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from typing import Any

from faust.transport import base
from faust.types import TP, Message
from faust.types.tuples import ConsumerMessage

from pipeline.errors import AssignmentMismatch
from pipeline.transport.host import LogHost
from pipeline.transport.partitioner import partition_of
from pipeline.transport.rounds import TopicAndPartition

__all__ = ["RoundConsumer"]

_logger = logging.getLogger(__name__)
_REVOKE_LIMIT_S = 10.0


class RoundConsumer(base.Consumer):
    """Gives the app one message, whose value is the queue of the worker's rounds.

    Faust's way from a message to an agent (conductor, channel, stream) costs 200 us, as much as the
    work of a small round. So its agent is called once and takes round after round by itself, one at
    a time; it is called anew only where it failed.

    The app must have an attribute `host`, its `LogHost`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        host = getattr(self.app, "host", None)
        if not isinstance(host, LogHost):
            raise AssignmentMismatch(
                "Expected an app with a `host` for rdkafka://, was none. Build apps of this"
                " transport with pipeline.stages.app, or use kafka:// for others."
            )
        self.host = host
        self._assigned: set[TP] = set()
        self._wanted = asyncio.Event()
        self._working = False
        self._crashing: asyncio.Future[None] | None = None

    # -- life ----------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Start the host's threads."""
        await self.host.start(
            on_assigned=self._assigned_by_group,
            on_revoked=self._revoked_by_group,
            on_fatal=self._fatal,
        )

    async def on_stop(self) -> None:
        """Stop the host; nothing waits for acknowledgements, the log knows them."""
        await self.host.stop()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group.

        Raises:
            AssignmentMismatch: If the app's agents listen to other topics than the host.
        """
        expected = {self.host.settings.topic(self.host.spec.subscribed)}
        if set(topics) != expected:
            raise AssignmentMismatch(f"Expected agents on {sorted(expected)}, was {sorted(topics)}")
        self.host.subscribe()

    def _fatal(self, error: BaseException) -> None:
        _logger.error("worker_stops stage=%s why=%s", self.host.spec.stage, error)
        self._crashing = asyncio.ensure_future(self.crash(error))

    # -- rounds --------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand the rounds over, whenever there is an assignment and no agent that has them."""
        while not (self.should_stop or fetcher.should_stop):
            await self._wanted.wait()
            self._wanted.clear()
            if self._assigned and not self._working:
                self._working = True
                await self.callback(self._message())

    def _message(self) -> Message:
        tp = min(self._assigned)
        return ConsumerMessage(
            tp.topic, tp.partition, 0, 0.0, 0, None, None, self.host.rounds, None, 0, 0, tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    def give_back(self) -> None:
        """Say that the agent takes no more rounds: it failed, or is about to end."""
        self._working = False
        self._wanted.set()

    # -- rebalances ----------------------------------------------------------------------------

    def _assigned_by_group(self, partitions: Sequence[TopicAndPartition]) -> None:
        tps = {TP(*each) for each in partitions}
        asyncio.run_coroutine_threadsafe(self._on_assigned(tps), self.host.loop)

    def _revoked_by_group(self, partitions: Sequence[TopicAndPartition]) -> None:
        tps = {TP(*each) for each in partitions}
        done: Future[None] = asyncio.run_coroutine_threadsafe(self._on_revoked(tps), self.host.loop)
        try:
            done.result(_REVOKE_LIMIT_S)
        except TimeoutError:  # the next owner's marker makes what is left void
            _logger.warning("revoke_slow stage=%s", self.host.spec.stage)

    async def _on_assigned(self, tps: set[TP]) -> None:
        self.app.consumer_generation_id += 1
        self._assigned = tps
        await self.on_partitions_assigned(tps, self.app.consumer_generation_id)
        self._wanted.set()
        await self.host.assigned(tp.partition for tp in tps)

    async def _on_revoked(self, tps: set[TP]) -> None:
        self.app.on_rebalance_start()
        await self.host.revoked()
        await self.on_partitions_revoked(tps)
        self._assigned = set()

    # -- what Faust asks of a consumer ---------------------------------------------------------

    def assignment(self) -> set[TP]:
        """Return the partitions that the group assigned."""
        return set(self._assigned)

    async def perform_seek(self) -> None:
        """Do nothing: positions come from the output log."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Return nothing: positions come from the output log."""
        return {}

    async def wait_empty(self) -> None:
        """Do nothing: a round that is not through is void after the next marker."""

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002  # Faust's signature
        """Do nothing: the host commits offsets for lag tools, on its own clock."""
        return False

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        return False

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError("Expected positions to come from the output log, was a seek")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Refuse: positions come from the output log."""
        raise NotImplementedError("Expected positions to come from the output log, was a seek")

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        raise NotImplementedError("Expected rounds from the pump, was getmany")

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        raise NotImplementedError("Expected rounds from the pump, was a single record")

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def position(self, tp: TP) -> int | None:
        """Return the next offset to work off."""
        return self.host.resume_offsets().get((tp.topic, tp.partition))

    def highwater(self, tp: TP) -> int:
        """Return the end offset last seen by the pump."""
        low_high = self.host.pump.watermarks(tp.topic, tp.partition)
        return low_high[1]

    async def highwaters(self, *partitions: TP) -> MutableMapping[TP, int]:
        """Return end offsets as the broker says."""
        return {tp: self.highwater(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> MutableMapping[TP, int]:
        """Return first offsets as the broker says."""
        return {tp: self.host.pump.watermarks(tp.topic, tp.partition)[0] for tp in partitions}

    def topic_partitions(self, topic: str) -> int | None:
        """Return the partition count, if the broker knows the topic."""
        found = self.host.pump.consumer.list_topics(topic, timeout=5.0).topics.get(topic)
        return len(found.partitions) if found and found.partitions else None

    def key_partition(
        self, topic: str, key: bytes | None, partition: int | None = None
    ) -> int | None:
        """Return the partition that a key goes to."""
        if partition is not None or key is None:
            return partition
        count = self.topic_partitions(topic)
        return partition_of(key, count) if count else None

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: topics come from topics.yaml."""
        raise NotImplementedError("Expected topics from `cascade topics apply`")

    def close(self) -> None:
        """Do nothing; `on_stop` ends the threads."""
