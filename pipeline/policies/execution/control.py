"""Risk control of the execution stage: the last look before there are orders."""

import math
from dataclasses import dataclass

from pipeline.policies.execution.reasons import ExecutionReason
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.execution.views import EXECUTE, REJECT, View

__all__ = ["CONTROL", "Mandate", "control"]

CONTROL = "risk_control"


@dataclass(frozen=True, slots=True)
class Mandate:
    """What risk let through, and when it is now.

    Attributes:
        approved: Whether the verdict lets orders through.
        halted: Whether trading is HALTED.
        barred: Whether trading is REDUCING and the order does not only reduce a position.
        direction: 1 to buy, -1 to sell, 0 neither, by the envelope.
        signal: The same by the signal.
        quantity: Largest quantity, units.
        price: Reference price.
        stop: Price.
        target: Price.
        volume: Of the bar, units; negative where there is no bar.
        event_time_us: Of the bar.
        deadline_us: Of the flow.
        now_us: Now. All times in microseconds since the Unix epoch, UTC.
    """

    approved: bool
    halted: bool
    barred: bool
    direction: int
    signal: int
    quantity: float
    price: float
    stop: float
    target: float
    volume: float
    event_time_us: int
    deadline_us: int
    now_us: int


def control(mandate: Mandate, settings: ExecutionSettings) -> View:
    """Return the view of risk control: a veto where anything is missing, late or inconsistent."""
    if not mandate.approved:
        return View(CONTROL, REJECT, 1.0, (ExecutionReason.NOT_APPROVED,))
    reasons = (*_late(mandate, settings), *_broken(mandate, settings))
    if mandate.halted:
        reasons = (ExecutionReason.TRADING_HALTED, *reasons)
    elif mandate.barred:
        reasons = (ExecutionReason.TRADING_REDUCING, *reasons)
    if reasons:
        return View(CONTROL, REJECT, 1.0, reasons)
    return View(CONTROL, EXECUTE, 1.0)


def _late(mandate: Mandate, settings: ExecutionSettings) -> tuple[ExecutionReason, ...]:
    age_us = mandate.now_us - mandate.event_time_us
    checks = (
        (ExecutionReason.DEADLINE_PASSED, mandate.now_us >= mandate.deadline_us),
        (ExecutionReason.STALE_EVENT, age_us > settings.maximum_event_age_us),
        (ExecutionReason.FUTURE_EVENT, -age_us > settings.maximum_clock_lead_us),
    )
    return tuple(reason for reason, failed in checks if failed)


def _broken(mandate: Mandate, settings: ExecutionSettings) -> tuple[ExecutionReason, ...]:
    values = (mandate.quantity, mandate.price, mandate.stop, mandate.target, mandate.volume)
    if not all(map(math.isfinite, values)):
        return (ExecutionReason.NOT_FINITE,)
    below, above = mandate.stop, mandate.target
    if mandate.direction < 0:
        below, above = above, below
    checks = (
        (ExecutionReason.MISSING_BAR, mandate.volume < 0.0),
        (ExecutionReason.MISSING_REFERENCE_PRICE, mandate.price <= 0.0),
        (ExecutionReason.EMPTY_ENVELOPE, not mandate.direction or _is_empty(mandate, settings)),
        (ExecutionReason.DIRECTION_MISMATCH, mandate.direction != mandate.signal),
        (ExecutionReason.INVALID_ENVELOPE, not below <= mandate.price <= above),
    )
    return tuple(reason for reason, failed in checks if failed)


def _is_empty(mandate: Mandate, settings: ExecutionSettings) -> bool:
    return mandate.quantity < settings.lot_size * (1.0 - 1e-9)
