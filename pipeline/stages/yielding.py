"""A built-in worker steps back while a registered one of its stage is announced.

Both are members of the stage's group, so nothing is decided twice, whoever is there. The built-in
one leaves the group, and the group hands its partitions over as in any rebalance. When the
registered one says farewell, or is not heard of any more, the built-in one joins again.
"""

import asyncio
import logging
from collections.abc import Callable

from confluent_kafka import KafkaException

from pipeline.transport.host import LogHost

__all__ = ["yield_to_registered"]

_logger = logging.getLogger(__name__)
_LOOK_S = 0.25


async def yield_to_registered(host: LogHost, displaced: Callable[[], bool]) -> None:
    """Keep a worker out of its group while it is displaced; runs until cancelled.

    Args:
        host: Owner of the worker's logs.
        displaced: Says whether a registered worker of the stage is live.
    """
    out = False
    while True:
        await asyncio.sleep(_LOOK_S)
        if displaced() == out:
            continue
        try:
            if out:
                host.subscribe()
            else:
                await asyncio.to_thread(host.pump.consumer.unsubscribe)
        except (AttributeError, KafkaException, RuntimeError) as error:
            # Not started yet, or on its way out: the next look tells.
            _logger.debug("cannot yield stage=%s why=%r", host.spec.stage, error)
            continue
        out = not out
        _logger.warning("%s stage=%s", "stepped_back" if out else "came_back", host.spec.stage)
