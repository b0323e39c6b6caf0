"""A built-in worker steps back while a registered one of its stage is announced.

Both are members of the stage's group, so nothing is decided twice, whoever is there. The built-in
one leaves the group, and the group hands its partitions over as in any rebalance. When the
registered one says farewell, or is not heard of any more, the built-in one joins again.
"""

import asyncio
import logging
from collections.abc import Callable

from pipeline.transport.host import LogHost

__all__ = ["yield_to_registered"]

_logger = logging.getLogger(__name__)
_LOOK_S = 0.25


async def yield_to_registered(
    host: LogHost, displaced: Callable[[], bool], settled: Callable[[], bool]
) -> None:
    """Keep a worker out of its group while it is displaced; runs until cancelled.

    Args:
        host: Owner of the worker's logs.
        displaced: Says whether a registered worker of the stage is live.
        settled: Says whether the worker has given back what it was assigned.
    """
    out = was_settled = False
    while True:
        await asyncio.sleep(_LOOK_S)
        # Giving back discards what the pump was told meanwhile, a new subscription among it.
        may_return, was_settled = was_settled, settled()
        if displaced() == out or getattr(host, "pump", None) is None:
            continue
        if not out:
            host.pump.unsubscribe()
        elif may_return:
            host.subscribe()
        else:
            continue
        out = not out
        _logger.warning("%s stage=%s", "stepped_back" if out else "came_back", host.spec.stage)
