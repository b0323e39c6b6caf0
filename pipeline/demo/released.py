"""What risk released of its reservations, from its log."""

import math
import time
from collections.abc import Mapping

from confluent_kafka import Message
from msgspec import Struct

from pipeline.demo.collector import LogFollower
from pipeline.packets import schemas
from pipeline.packets.models import PortfolioUpdate
from pipeline.settings import Settings

__all__ = ["released_by_flow"]

_MAGIC = b"\xc3\x01"  # opens every packet, before the fingerprint of its schema
_POLL_S = 0.2
_TOLERANCE = 1e-6


def released_by_flow(
    settings: Settings, owing: Mapping[str, float], *, timeout_s: float
) -> dict[str, float]:
    """Return what was released for each flow, currency.

    Reads the whole risk log, and waits for what comes late.

    Args:
        settings: Broker and namespace.
        owing: Flows whose reservation is to be released in full; waited for.
        timeout_s: For how long.
    """
    released: dict[str, float] = {}

    def take(record: Struct, message: Message) -> None:
        del message
        if isinstance(record, PortfolioUpdate):
            released[record.flow_id] = released.get(record.flow_id, 0.0) + record.released

    opening = _MAGIC + schemas.fingerprint_of(schemas.current("PortfolioUpdate"))
    follower = LogFollower(
        settings,
        {"cascade.risk": take},
        client="demo-released",
        wanted=lambda value: value.startswith(opening),
    )
    try:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if not follower.poll(_POLL_S) and _all_released(owing, released):
                break
    finally:
        follower.close()
    return released


def _all_released(owing: Mapping[str, float], released: Mapping[str, float]) -> bool:
    return all(
        math.isclose(released.get(flow, 0.0), amount, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        for flow, amount in owing.items()
    )
