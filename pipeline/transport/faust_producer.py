"""Faust's producer on librdkafka, for `topic.send` and `faust send`; stages write by their host."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from faust.transport import base
from faust.types import TP
from faust.types.tuples import RecordMetadata
from mode import Service

from pipeline.settings import load_settings

__all__ = ["RecordProducer"]

_logger = logging.getLogger(__name__)


class RecordProducer(base.Producer):
    """Sends single records, idempotently, and resolves a future for each."""

    _kafka: Producer | None = None

    async def on_start(self) -> None:
        """Start the buffer that Faust's `send_soon` uses."""
        await super().on_start()
        host = getattr(self.app, "host", None)
        self._settings = host.settings if host is not None else load_settings()

    def _client(self) -> Producer:
        if self._kafka is None:
            properties = self._settings.client(
                acks="all", enable_idempotence=True, linger_ms=int(self.linger_ms)
            )
            self._kafka = Producer(properties, logger=_logger)
        return self._kafka

    @Service.task
    async def _poll(self) -> None:
        while not self.should_stop:
            if self._kafka is not None:
                self._kafka.poll(0)
            await self.sleep(0.02)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Schedule a record; the future fails with KafkaException if it cannot be delivered."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RecordMetadata] = loop.create_future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(KafkaException(error))
            else:
                future.set_result(_metadata(message))

        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or ())
        more: dict[str, Any] = {} if timestamp is None else {"timestamp": int(timestamp * 1000)}
        if partition is not None:
            more["partition"] = partition
        self._client().produce(topic, value, key, headers=pairs, on_delivery=delivered, **more)
        return future

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Send a record and wait for its acknowledgement."""
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Wait until what was sent is delivered."""
        await self.buffer.flush()
        if self._kafka is not None:
            await asyncio.to_thread(self._kafka.flush, self.request_timeout)

    async def on_stop(self) -> None:
        """Deliver what is left."""
        await self.flush()

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: topics come from topics.yaml."""
        raise NotImplementedError("Expected topics from `cascade topics apply`")

    def supports_headers(self) -> bool:
        """Say that Kafka has headers."""
        return True


def _metadata(message: Message) -> RecordMetadata:
    topic, partition = str(message.topic()), int(message.partition() or 0)
    kind, stamp = message.timestamp()
    return RecordMetadata(
        topic, partition, TP(topic, partition), int(message.offset() or 0), stamp / 1000, kind
    )
