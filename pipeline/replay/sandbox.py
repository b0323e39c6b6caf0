"""Where replayed records go: a namespace of their own, as a type of their own.

A record of a sandbox is a `SandboxRecord` around the bytes that a stage would have written. No
reader of a log takes it for a log record, the gateway refuses it by its type, and it carries the
mark of its replay in its headers too. There is no setting that changes any of that.
"""

import logging
from collections.abc import Mapping

from confluent_kafka import KafkaError, Message, Producer

from pipeline import topics
from pipeline.clock import WallClock
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.packets.codec import encode
from pipeline.packets.models import SandboxRecord
from pipeline.replay.compare import Agreement
from pipeline.replay.recompute import Made, Recorded
from pipeline.settings import Settings
from pipeline.topics import Action, TopicFile

__all__ = ["HEADER_PREFIX", "Sandbox", "sandbox_settings"]

_logger = logging.getLogger(__name__)

HEADER_PREFIX = "__cascade.replay."
_RETENTION_H = 72
_FLUSH_S = 30.0


def sandbox_settings(settings: Settings, replay_id: str) -> Settings:
    """Return settings whose namespace is the sandbox of a replay."""
    return settings.model_copy(update={"namespace": settings.topic(f"replay-{replay_id}")})


class Sandbox:
    """The topics of one replay's sandbox.

    Args:
        settings: Settings of the cascade that is replayed.
        replay_id: The replay.
        counts: Partition count of each log that is replayed.

    Raises:
        BrokerUnavailable: If the topics cannot be created in time.
        ConfigurationError: If there are such topics of another shape.
    """

    def __init__(self, settings: Settings, replay_id: str, counts: Mapping[str, int]) -> None:
        self.settings = sandbox_settings(settings, replay_id)
        self._replay_id = replay_id
        self._clock = WallClock()
        self._failed: KafkaError | None = None
        self._make_topics(counts)
        self._producer = Producer(
            self.settings.client(
                client_id=self.settings.group("sandbox"),
                acks="all", enable_idempotence=True, linger_ms=20,
                message_max_bytes=2_000_000,
            ),
            logger=_logger,
        )  # fmt: skip

    def add(self, recorded: Recorded, made: Made, agreement: Agreement) -> None:
        """Write what came of a record; `flush` says whether it arrived."""
        entry = recorded.entry
        record = SandboxRecord(
            self._replay_id,
            entry.topic,
            entry.partition,
            entry.offset,
            recorded.flow_id,
            agreement.value,
            self._clock.now_us(),
            made.value or b"",
        )
        marks = {
            "id": self._replay_id,
            "source_topic": entry.topic,
            "source_partition": entry.partition,
            "source_offset": entry.offset,
        }
        headers: list[tuple[str, str | bytes | None]] = [
            (HEADER_PREFIX + name, str(value)) for name, value in marks.items()
        ]
        while True:
            try:
                self._producer.produce(
                    self.settings.topic(entry.topic), encode(record), entry.key,
                    partition=entry.partition, headers=headers, on_delivery=self._delivered,
                )  # fmt: skip
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def flush(self) -> None:
        """Wait until all that was added is there.

        Raises:
            BrokerUnavailable: If the broker does not take it in time.
        """
        left = self._producer.flush(_FLUSH_S)
        if left or self._failed is not None:
            why = f"{left} are under way" if self._failed is None else self._failed.str()
            raise BrokerUnavailable(
                f"Expected namespace {self.settings.namespace} to take the replayed records, was:"
                f" {why}"
            )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._failed = self._failed or error

    def _make_topics(self, counts: Mapping[str, int]) -> None:
        file = TopicFile.load()
        mine = {
            name: file.topics[name].model_copy(
                update={
                    "partitions": count,
                    "schemas": [SandboxRecord.__name__],
                    "retention": _RETENTION_H,
                    "max_message_bytes": 2_000_000,
                }
            )
            for name, count in counts.items()
        }
        made = topics.apply(self.settings, file.model_copy(update={"topics": mine}))
        if wrong := [change for change in made if change.action is Action.CONFLICT]:
            raise ConfigurationError(f"Expected the topics of a sandbox, was: {wrong[0].detail}")
