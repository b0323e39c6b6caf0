"""Reservations: what risk set aside for a flow is open or was released, never both or neither."""

from collections import defaultdict
from collections.abc import Iterable

from pipeline.packets.models import PortfolioUpdate
from pipeline.packets.vocabulary import FlowState
from pipeline.rules.oracle.reading import Accepted

__all__ = ["reservations_balance"]

_TOLERANCE = 1e-9  # relative; sums of fractions of one amount


def reservations_balance(risk: Iterable[Accepted]) -> list[str]:
    """Check that for each flow reserved = open + released, and open = 0 once it has ended."""
    reserved: dict[str, float] = {}
    released: dict[str, float] = defaultdict(float)
    ended: set[str] = set()
    found = []
    for _, _, record, _ in risk:
        if isinstance(record, PortfolioUpdate):
            if record.released and record.flow_id not in reserved:
                found.append(f"flow {record.flow_id}: released, never reserved")
            released[record.flow_id] += record.released
            if record.flow_state is not FlowState.OPEN:
                ended.add(record.flow_id)
        elif record.risk and record.risk.reserved > 0.0:
            if record.envelope.flow_id in reserved:
                found.append(f"flow {record.envelope.flow_id}: reserved twice")
            reserved[record.envelope.flow_id] = record.risk.reserved
    for flow, amount in reserved.items():
        found += _unbalanced(flow, amount, amount - released[flow], ended=flow in ended)
    return found


def _unbalanced(flow: str, amount: float, still_open: float, *, ended: bool) -> list[str]:
    if still_open < -_TOLERANCE * amount:
        return [f"flow {flow}: {amount - still_open} released of {amount}"]
    if ended and still_open > _TOLERANCE * amount:
        return [f"flow {flow}: ended with {still_open} of {amount} not released"]
    return []
