"""What a stage says to a coordination request: a reading of its last decision on the symbol."""

from collections.abc import Callable
from typing import Any

from pipeline.control.state import ControlView, TradingState
from pipeline.coordination.answers import Abstention, Answer, CoordinationRequest
from pipeline.packets.vocabulary import Action, Side, Verdict

__all__ = ["answer_from"]

_STALE_S = 60.0
_RISK = "risk"


def answer_from(
    stage: str, record: Any, request: CoordinationRequest, control: ControlView, now_us: int
) -> Answer | Abstention:
    """Return what a stage says to a request, from its last record on the symbol.

    | stage | decision | confidence | direction | terms |
    |---|---|---|---|---|
    | strategic, tactical | action, with its distribution | as decided | | |
    | risk | verdict | 1 - risk_score | side of its envelope | quantity: its most, where it passes |
    | execution | side of its orders; HOLD without any | 1 | | quantity: sum of its orders |

    While trading is HALTED, or nobody knows whether it is, risk says EMERGENCY_STOP, whatever the
    symbol. A stage abstains, and says so, without a `symbol` in `decision_data`, without a decision
    on it, and where that is older than `max_age_s` of `decision_data`, 60 s by default.

    Args:
        stage: The stage.
        record: Its last record with a decision on the symbol; None where it has none.
        request: The request.
        control: What is in force.
        now_us: Now.
    """
    if stage == _RISK and control.trading_state is TradingState.HALTED:
        return Answer(
            decision=Verdict.EMERGENCY_STOP, reason=f"trading is halted: {control.reason}"
        )
    symbol = request.decision_data.get("symbol")
    if not symbol:
        return Abstention("Expected a symbol in decision_data, was none")
    if record is None:
        return Abstention(f"no decision on {symbol} here")
    age_s = (now_us - record.journal.now) / 1e6
    limit = request.decision_data.get("max_age_s")
    limit_s = float(limit) if isinstance(limit, int | float) else _STALE_S
    if age_s > limit_s:
        return Abstention(f"its last decision on {symbol} is {age_s:.1f} s old, over {limit_s:g}")
    return _ANSWERS[stage](record, {"flow_id": record.envelope.flow_id, "age_s": round(age_s, 3)})


def _strategic(record: Any, details: dict[str, Any]) -> Answer:
    found = record.strategic
    return Answer(
        decision=found.action,
        confidence=_ratio(found.confidence),
        distribution=dict(found.distribution),
        details={
            **details,
            "regime": found.regime,
            "signal_strength": found.signal_strength,
            "volatility": found.volatility,
        },
    )


def _tactical(record: Any, details: dict[str, Any]) -> Answer:
    found = record.tactical
    return Answer(
        decision=found.action,
        confidence=_ratio(found.confidence),
        distribution=dict(found.distribution),
        reason=", ".join(found.reasons),
        details={**details, "entry": found.entry, "momentum": found.momentum, "atr": found.atr},
    )


def _risk(record: Any, details: dict[str, Any]) -> Answer:
    found = record.risk
    bounds = found.envelope
    passing = bounds.side is not Side.NONE
    return Answer(
        decision=found.verdict,
        confidence=_ratio(1.0 - found.risk_score),
        direction=bounds.side.value if passing else "",
        terms={"quantity": bounds.max_quantity} if passing else {},
        reason=", ".join(found.reasons),
        details={
            **details,
            "equity": found.equity,
            "exposure": found.exposure,
            "drawdown": found.drawdown,
            "value_at_risk": found.value_at_risk,
            "reserved": found.reserved,
            "stop": bounds.stop,
            "target": bounds.target,
        },
    )


def _execution(record: Any, details: dict[str, Any]) -> Answer:
    found = record.execution
    orders = found.orders
    return Answer(
        decision=orders[0].side.value if orders else Action.HOLD,
        terms={"quantity": sum(order.quantity for order in orders)} if orders else {},
        reason=", ".join(found.reasons),
        details={**details, "urgency": found.urgency, "participation": found.participation},
    )


_ANSWERS: dict[str, Callable[[Any, dict[str, Any]], Answer]] = {
    "strategic": _strategic,
    "tactical": _tactical,
    "risk": _risk,
    "execution": _execution,
}


def _ratio(value: float) -> float:
    return min(1.0, max(0.0, value))
