"""Who acts: of all workers of a kind in a namespace the one that their group has chosen.

All are members of one consumer group of one topic, which has one partition: whoever is assigned it
holds the office. One that the broker has not answered for
longer than half a session does not count on it any more, for the group may have chosen another.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.errors import PipelineError
from pipeline.kafka_logging import ClientLog
from pipeline.settings import Settings

__all__ = ["Office"]

_logger = logging.getLogger(__name__)

_POLL_S = 0.2
_AGAIN_S = 1.0


class Office:
    """Holds the office, or stands by; on a thread of its own.

    Args:
        connect: Returns settings with a broker, or raises `BrokerUnavailable`.
        topic: Topic of one partition, without namespace.
        group: Consumer group, without namespace.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        connect: Callable[[], Settings],
        topic: str,
        group: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._topic = topic
        self._group = group
        self._monotonic = monotonic
        self._assigned = False
        self._polled_s = float("-inf")
        self._limit_s = 0.0
        self._terms = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{group}-office", daemon=True)

    def start(self) -> None:
        """Stand, without waiting for anything."""
        self._thread.start()

    def close(self) -> None:
        """Leave the group; another takes over at once."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def term(self) -> int | None:
        """Number of the term in which it holds the office; None while it does not."""
        alive = self._monotonic() - self._polled_s < self._limit_s
        return self._terms if self._assigned and alive else None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._stand(self._connect())
            except (PipelineError, KafkaException) as error:
                _logger.debug("no office: %s", error)
            except Exception:
                _logger.exception("no office")
            self._assigned = False
            self._stopping.wait(_AGAIN_S)

    def _stand(self, settings: Settings) -> None:
        self._limit_s = settings.session_timeout_ms / 2000
        consumer = Consumer(_properties(settings, self._group), logger=ClientLog(_logger))
        try:
            consumer.subscribe(
                [settings.topic(self._topic)], on_assign=self._gained, on_revoke=self._given_back,
                on_lost=self._given_back,
            )  # fmt: skip
            while not self._stopping.is_set():
                # What it reads is of no interest: the ledger reads the topic from its start.
                consumer.poll(_POLL_S)
                self._polled_s = self._monotonic()
        finally:
            self._assigned = False
            consumer.close()

    def _gained(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign(partitions)
        if partitions:
            self._polled_s = self._monotonic()
            self._terms += 1
            self._assigned = True
            _logger.warning("holds_office term=%d", self._terms)

    def _given_back(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        del consumer
        if partitions and self._assigned:
            self._assigned = False
            _logger.warning("gave_office_back term=%d", self._terms)


def _properties(settings: Settings, group: str) -> dict[str, Any]:
    group = settings.group(group)
    properties: dict[str, Any] = settings.client(
        group_id=group,
        client_id=group,
        partition_assignment_strategy="range",
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        auto_offset_reset="latest",
        enable_auto_commit=False,
        allow_auto_create_topics=False,
    )
    properties["error_cb"] = _noted
    return properties


def _noted(error: KafkaError) -> None:
    _logger.debug("kafka client: %s", error)
