"""Flows as the monitor sees them, at moments that tests choose."""

from pipeline.packets.identity import flow_id
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.watch.observations import FlowEnd, Hop

__all__ = ["BEGIN_US", "STAGES", "flow", "flow_end", "seconds"]

BEGIN_US = 1_700_000_000_000_000
STAGES = ("strategic", "tactical", "risk", "execution")


def seconds(after: float) -> int:
    """Return the moment so many seconds after the beginning, microseconds."""
    return BEGIN_US + round(after * 1_000_000)


def flow(number: int) -> str:
    """Return the id of flow `number`."""
    return flow_id("market", "AAPL", number)


def flow_end(
    number: int,
    ended_s: float,
    *,
    broker_ms: float = 1.0,
    wait_ms: float = 2.0,
    work_ms: float = 3.0,
    kind: OutcomeKind = OutcomeKind.HELD,
    sealed_by: str = "execution",
    reasons: tuple[str, ...] = (),
    retries: int = 0,
) -> FlowEnd:
    """Return a flow that passed all stages, each with the same times, and ended at a moment."""
    share_us = round((broker_ms + wait_ms + work_ms) * 1000)
    at = began = seconds(ended_s) - share_us * len(STAGES)
    hops = []
    for stage in STAGES:
        received = at + round(broker_ms * 1000)
        started = received + round(wait_ms * 1000)
        at += share_us
        hops.append(Hop(stage, received, started, at))
    return FlowEnd(
        flow(number), "AAPL", number, kind, sealed_by, reasons, (), tuple(hops), began,
        at // 1000, 100.0, None, 0.0, False, retries,
    )  # fmt: skip
