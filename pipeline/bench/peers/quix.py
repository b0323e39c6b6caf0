"""Quix Streams: four dataframes in one application, default settings; at-least-once.

It pins another confluent-kafka than the pipeline, so it runs in an environment of its own.
"""

from functools import partial
from typing import Any

from quixstreams import Application

from pipeline.bench.peers.hops import HOPS, Where, forward, where

__all__ = ["main"]


def main(at: Where) -> None:
    """Forward until told to stop."""
    app = Application(
        broker_address=at.bootstrap,
        consumer_group=f"{at.namespace}.quix",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=at.folder,
    )
    names = at.topics()
    topics = [
        app.topic(
            name,
            value_deserializer="bytes",
            value_serializer="bytes",
            key_deserializer="bytes",
            key_serializer="bytes",
        )
        for name in names
    ]
    for hop, source, target in zip(HOPS, topics, topics[1:], strict=False):
        frame: Any = app.dataframe(source)
        frame.apply(partial(_forwarded, hop)).to_topic(target)
    app.run()


def _forwarded(hop: str, value: bytes) -> bytes:
    return forward(value, hop)


if __name__ == "__main__":
    main(where())
