"""What an agent of the risk stage says about an order: a verdict, a bound, reasons.

Risk is an envelope and a veto. An agent bounds the notional of an order; views are joined by the
strictest verdict and the smallest bound, and never averaged, least of all with direction.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.policies import ladder
from pipeline.policies.risk.reasons import RiskReason

__all__ = [
    "APPROVE",
    "DELAY",
    "EMERGENCY_STOP",
    "REDUCE_SIZE",
    "REJECT",
    "VERDICTS",
    "Bound",
    "View",
    "judge",
]

APPROVE = "APPROVE"
REDUCE_SIZE = "REDUCE_SIZE"
DELAY = "DELAY"
REJECT = "REJECT"
EMERGENCY_STOP = "EMERGENCY_STOP"
VERDICTS = (APPROVE, REDUCE_SIZE, DELAY, REJECT, EMERGENCY_STOP)

Bound = tuple[RiskReason, float]  # largest notional of the order, and what sets it


@dataclass(frozen=True, slots=True)
class View:
    """An agent's view of one order.

    Attributes:
        agent: Its name.
        verdict: One of `VERDICTS`.
        bound: Largest notional that it lets through, currency; infinite where it sets none.
        margin: How far the verdict was from tipping, in [0, 1].
        reasons: Why it is not a plain APPROVE.
    """

    agent: str
    verdict: str
    bound: float
    margin: float
    reasons: tuple[RiskReason, ...] = ()

    def distribution(self) -> dict[str, float]:
        """Return the view as a distribution over `VERDICTS`."""
        return ladder.distribution(VERDICTS, self.verdict, self.margin)


def judge(agent: str, bounds: Iterable[Bound], requested: float, least: float) -> View:
    """Return the view of an agent that does nothing but bound an order.

    APPROVE where the smallest bound leaves the order whole, REDUCE_SIZE where it leaves at least
    `least`, REJECT otherwise, and REJECT for a bound that is no number.

    Args:
        agent: Its name.
        bounds: Its bounds.
        requested: Notional asked for, currency, > 0.
        least: Smallest notional worth an order, currency, > 0.
    """
    pairs = list(bounds)
    allowed = min((_known(bound) for _, bound in pairs), default=math.inf)
    reasons = tuple(reason for reason, bound in pairs if _known(bound) < requested)
    if allowed >= requested:
        return View(agent, APPROVE, allowed, 1.0 - requested / allowed, ())
    if allowed >= least:
        return View(agent, REDUCE_SIZE, allowed, 1.0 - allowed / requested, reasons)
    return View(agent, REJECT, 0.0, 1.0 - max(0.0, allowed) / least, reasons)


def _known(bound: float) -> float:
    return 0.0 if math.isnan(bound) else bound
