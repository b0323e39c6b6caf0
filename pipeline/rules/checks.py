"""Checks of one packet by itself: each returns what is wrong as a sentence, None where nothing is.

They need nothing but the packet, so the stages run the cheap ones in its path
(`pipeline.rules.path`), and the validation framework runs all of them. A check of a part that the
packet does not have returns None. What the codec refuses already (NaN, negative prices, unknown
names, probabilities out of bounds) is not asked again.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import InvalidPacket
from pipeline.packets import models
from pipeline.packets.identity import flow_id, packet_id
from pipeline.packets.superposition import TOLERANCE
from pipeline.packets.vocabulary import Action, Verdict
from pipeline.rules.market import check_market_data

__all__ = [
    "RECORD_STAGES",
    "bar",
    "distribution",
    "hop",
    "identity",
    "market",
    "mode",
    "reservation",
    "strategic",
    "tactical",
]

RECORD_STAGES: Mapping[type, str] = {
    models.StrategicSignal: "strategic",
    models.TacticalSignal: "tactical",
    models.RiskAssessment: "risk",
    models.ExecutionPlan: "execution",
}
"""Which stage writes a record."""

_HOLD = Action.HOLD
_PASSING = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
_RELATIVE = 1e-9  # reservations are rounded up; sums of floats are not


def market(packet: models.MarketData) -> str | None:
    """Check market data as the first stage takes it; see `check_market_data`."""
    try:
        check_market_data(packet)
    except InvalidPacket as invalid:
        return invalid.message
    return None


def bar(packet: Any) -> str | None:
    """Check low <= open, close <= high."""
    found = packet.bar
    if found is None:
        return None
    low, high = found.low, found.high
    if low <= found.open <= high and low <= found.close <= high:
        return None
    return f"Expected low <= open, close <= high, was {low}, {found.open}, {found.close}, {high}"


def hop(packet: Any) -> str | None:
    """Check that the stage that wrote a record is its source, its newest hop, and in its id."""
    stage = RECORD_STAGES[type(packet)]
    envelope = packet.envelope
    if envelope.source_system != stage:
        return f"Expected source {stage}, was {envelope.source_system}"
    if envelope.packet_id != f"{envelope.flow_id}-{stage}":
        return f"Expected packet {envelope.flow_id}-{stage}, was {envelope.packet_id}"
    trace = envelope.trace
    if not trace or trace[-1].stage != stage:
        return f"Expected {stage} at the end of the trace, was {[each.stage for each in trace]}"
    return None


def identity(packet: Any) -> str | None:
    """Check that flow and packet ids are those that source, symbol and sequence give.

    Of a stage's record only the packet id can be worked out; the source is in the first packet.
    """
    envelope = packet.envelope
    if isinstance(packet, models.MarketData):
        expected = flow_id(envelope.source_system, envelope.symbol, envelope.sequence)
        if envelope.flow_id != expected:
            return f"Expected flow {expected}, was {envelope.flow_id}"
        stage = "market"
    else:
        stage = RECORD_STAGES[type(packet)]
        if not envelope.parent_id.startswith(f"{envelope.flow_id}-"):
            return f"Expected a parent of flow {envelope.flow_id}, was {envelope.parent_id!r}"
    if envelope.packet_id != packet_id(envelope.flow_id, stage):
        return f"Expected packet {packet_id(envelope.flow_id, stage)}, was {envelope.packet_id}"
    return None


def distribution(name: str, chances: Mapping[str, float]) -> str | None:
    """Check that probabilities sum to 1 within 1e-6."""
    total = sum(chances.values())
    if -TOLERANCE <= total - 1.0 <= TOLERANCE:
        return None
    return f"Expected the probabilities of {name} to sum to 1, was {total}"


def mode(name: str, action: str, stated: float, chances: Mapping[str, float]) -> str | None:
    """Check that an action is the most probable one, with the probability stated."""
    found = chances.get(action)
    best = max(chances.values(), default=0.0)
    if found is None or found < best - TOLERANCE:
        return (
            f"Expected {name} to choose the most probable action, was {action} of {dict(chances)}"
        )
    if -TOLERANCE <= stated - found <= TOLERANCE:
        return None
    return f"Expected {name} to state the probability {found} of {action}, was {stated}"


def strategic(packet: Any) -> str | None:
    """Check the strategic decision: a distribution, its mode, and the lean that it states.

    signal_strength = P(BUY) - P(SELL)
    """
    part = packet.strategic
    if part is None:
        return None
    chances = part.distribution
    failure = distribution("strategic", chances) or mode(
        "strategic", part.action, part.confidence, chances
    )
    if failure is not None:
        return failure
    lean = chances.get("BUY", 0.0) - chances.get("SELL", 0.0)
    if -TOLERANCE <= part.signal_strength - lean <= TOLERANCE:
        return None
    return f"Expected signal_strength {lean}, P(BUY) - P(SELL), was {part.signal_strength}"


def tactical(packet: Any) -> str | None:
    """Check the tactical decision: a distribution, its mode, and a price to enter at."""
    part = packet.tactical
    if part is None:
        return None
    chances = part.distribution
    failure = distribution("tactical", chances) or mode(
        "tactical", part.action, part.probability, chances
    )
    if failure is None and part.entry <= 0.0 and part.action is not _HOLD:
        return f"Expected a price to {part.action} at, was {part.entry}"
    return failure


def reservation(packet: Any) -> str | None:
    """Check that risk reserved what it approved: quantity times reference price, or more."""
    part = packet.risk
    if part is None or part.verdict not in _PASSING:
        return None
    envelope = part.envelope
    least = envelope.max_quantity * envelope.reference_price
    if part.reserved >= least * (1.0 - _RELATIVE):
        return None
    return f"Expected {least} reserved for {envelope.max_quantity} units, was {part.reserved}"
