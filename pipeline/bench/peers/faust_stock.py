"""Faust as it comes: four chained agents on its own transport (aiokafka), default settings.

Run with `-l info`: Faust's default of `warn` is slower, since its spinner turns on debug logging.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

import faust

from pipeline.bench.peers.hops import HOPS, Where, forward, where

__all__ = ["main", "stock_app"]


def stock_app(at: Where) -> faust.App:
    """Return an app whose agents hand packets from topic to topic."""
    app = faust.App(
        f"{at.namespace}.faust",
        broker=f"kafka://{at.bootstrap}",
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        datadir=at.folder,
        web_enabled=False,
    )
    names = at.topics()
    for hop, source, target in zip(HOPS, names, names[1:], strict=False):
        _agent(app, hop, source, target)
    return app


def _agent(app: faust.App, hop: str, source: str, target: str) -> None:
    outlet = app.topic(target, value_type=bytes, key_type=bytes)

    async def agent(stream: Any) -> AsyncIterator[None]:
        async for event in stream.events():
            await outlet.send(
                key=event.key, value=forward(event.value, hop), partition=event.message.partition
            )
            yield

    inlet = app.topic(source, value_type=bytes, key_type=bytes, internal=True)
    app.agent(inlet, name=f"hop-{hop}")(agent)


def main() -> None:
    """Run the worker."""
    app = stock_app(where())
    app.finalize()
    sys.argv = sys.argv[:1]
    faust.Worker(app, loglevel="info", quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
