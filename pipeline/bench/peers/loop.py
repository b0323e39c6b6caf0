"""The floor: four hops in a plain confluent-kafka loop, one thread, no framework; at-least-once."""

import signal
import threading
import time

from confluent_kafka import Consumer, Producer

from pipeline.bench.peers.hops import HOPS, Where, forward, where

__all__ = ["main"]

_POLL_S = 0.1
_MOST = 1000
_COMMIT_S = 1.0
_FLUSH_S = 10.0


def main(at: Where, stop: threading.Event) -> None:
    """Forward until told to stop."""
    topics = at.topics()
    following = dict(zip(topics, zip(HOPS, topics[1:], strict=True), strict=False))
    consumer = Consumer(
        {
            "bootstrap.servers": at.bootstrap,
            "group.id": f"{at.namespace}.loop",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 2,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": at.bootstrap,
            "enable.idempotence": True,
            "max.in.flight.requests.per.connection": 1,
            "linger.ms": 0,
            "delivery.report.only.error": True,
        }
    )
    consumer.subscribe(topics[:-1])
    committed = time.monotonic()
    while not stop.is_set():
        first = consumer.poll(_POLL_S)
        if first is not None:
            for message in [first, *consumer.consume(_MOST, 0.0)]:
                value = message.value()
                if message.error() is not None or value is None:
                    continue
                hop, topic = following[str(message.topic())]
                partition = int(message.partition() or 0)
                producer.produce(topic, forward(value, hop), message.key(), partition)
            producer.poll(0)
        if time.monotonic() - committed > _COMMIT_S:
            committed = time.monotonic()
            producer.flush(_FLUSH_S)
            if consumer.assignment() and first is not None:
                consumer.commit(asynchronous=True)
    producer.flush(_FLUSH_S)
    consumer.close()


if __name__ == "__main__":
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    main(where(), ending)
