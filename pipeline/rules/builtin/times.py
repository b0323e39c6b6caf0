"""Rules about times: of one packet, and of packets in a row."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pipeline.packets import models
from pipeline.packets.events import ValidationLevel, ValidationType
from pipeline.rules import oracle
from pipeline.rules.checks import RECORD_STAGES
from pipeline.rules.context import ValidationContext
from pipeline.rules.model import Need, NoData, packet_rule, rule
from pipeline.rules.windows import STAGE_LOGS

__all__ = ["TIME_RULES"]

_TYPE = ValidationType.TEMPORAL_CONSISTENCY
_RECORDS = tuple(RECORD_STAGES)
# Hosts that are kept in time by NTP differ by less; a jump of more fails closed (WallClock).
_SKEW_US = 50_000
# As risk refuses it: a source whose clock runs ahead by more cannot be judged for staleness.
_LEAD_US = 5_000_000
_CLOCKS = ("Set the clocks of all hosts by NTP; `chronyc tracking` says how far they are off.",)


@packet_rule(
    "temporal.envelope",
    _TYPE,
    of=(models.MarketData, *_RECORDS),
    remediation=_CLOCKS,
)
def envelope(packet: Any) -> str | None:
    """A bar is accepted after it was made, and its deadline is after that."""
    times = packet.envelope
    if times.deadline < times.accepted_at:
        return f"Expected a deadline after {times.accepted_at}, was {times.deadline}"
    lead_us = times.event_time - times.accepted_at
    if lead_us > _LEAD_US:
        return f"Expected a bar up to {_LEAD_US / 1e6:g} s ahead, was {lead_us / 1e6:g} s"
    return None


@packet_rule("temporal.trace", _TYPE, of=_RECORDS, remediation=_CLOCKS)
def trace(packet: Any) -> str | None:
    """Along the trace time goes forward: received, started, finished, and on to the next stage."""
    hops = packet.envelope.trace
    for hop in hops:
        if hop.finished < hop.started:
            return f"Expected {hop.stage} to finish after {hop.started}, was {hop.finished}"
    for before, after in pairwise(hops):
        if after.started < before.finished - _SKEW_US:
            early_ms = (before.finished - after.started) / 1000
            return f"Expected {after.stage} after {before.stage}, was {early_ms:g} ms before"
    return None


@packet_rule(
    "temporal.decision",
    _TYPE,
    of=_RECORDS,
    with_context=True,
    remediation=_CLOCKS,
)
def decision(packet: Any, context: ValidationContext) -> str | None:
    """No decision is dated before the packet's acceptance, nor after now."""
    made = packet.journal.now
    early_us = packet.envelope.accepted_at - made
    if early_us > _LEAD_US:
        return f"Expected a decision after acceptance, was {early_us / 1e6:g} s before it"
    if made > context.now_us + _LEAD_US:
        return f"Expected a decision before now, was {(made - context.now_us) / 1e6:g} s ahead"
    return None


@rule(
    "temporal.order",
    _TYPE,
    needs=Need.LOGS,
    level=ValidationLevel.CRITICAL,
    remediation=(
        "Halt trading: windows and marks are built on the order of bars: `cascade control halt`.",
        "Find out whether the log has two writers: `cascade doctor` or the owners in its journals.",
    ),
)
def order(context: ValidationContext) -> Iterator[str]:
    """For each symbol bars count in the order of their sequence numbers, each once."""
    logs = context.logs
    windows = [] if logs is None else [logs.of(topic) for topic in STAGE_LOGS]
    if not any(window.records for window in windows):
        raise NoData("Expected records in the logs, was none")
    for window in windows:
        for text in oracle.symbols_in_order(window.records):
            yield f"{window.topic}{text}"


TIME_RULES = (envelope, trace, decision, order)
"""Rules about times."""
