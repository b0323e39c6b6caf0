"""Position fragmentation: an order's quantity cut into slices."""

import math
from dataclasses import dataclass

from pipeline.policies.execution.reasons import ExecutionReason
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.execution.views import EXECUTE, HOLD, SLICE, View

__all__ = ["FRAGMENTATION", "Slices", "fragment", "schedule_weights", "split_lots"]

FRAGMENTATION = "position_fragmentation"

_ROUNDING = 1e-9  # lots


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices of a plan.

    Attributes:
        lots: Lots of each, first to last; empty where nothing can be sent.
        view: The agent's view.
    """

    lots: tuple[int, ...]
    view: View

    @property
    def total(self) -> int:
        """Lots of all slices."""
        return sum(self.lots)


def schedule_weights(count: int, aversion: float) -> list[float]:
    """Return the shares of `count` slices, first to last; they sum to 1 but for rounding.

    Almgren and Chriss, "Optimal Execution of Portfolio Transactions", 2000, equation 18: slice j
    of N is proportional to cosh(kappa tau (N - j + 1/2)), with 2 (cosh(kappa tau) - 1) =
    (kappa~ tau)^2 = `aversion`. The cosines follow from c_(m+1) = 2 cosh(kappa tau) c_m - c_(m-1),
    so no transcendental function is needed and every machine gets the same slices.

    Args:
        count: N, >= 1.
        aversion: >= 0; 0 gives equal slices, more sends more of it first.
    """
    ratio = 1.0 + 0.5 * aversion
    cosines = [1.0]  # in units of cosh(kappa tau / 2), last slice first
    before = 1.0
    for _ in range(count - 1):
        following = 2.0 * ratio * cosines[-1] - before
        before = cosines[-1]
        cosines.append(following)
    total = math.fsum(cosines)
    return [cosine / total for cosine in reversed(cosines)]


def split_lots(lots: int, weights: list[float], most: int) -> tuple[int, ...]:
    """Return `lots` shared out by `weights`, at most `most` to a slice, and exactly in sum.

    Rounded down first; what is left goes to the slices in order, as far as each has room. Slices
    of 0 are left out.

    Args:
        lots: To share out, <= `most` x slices.
        weights: Shares.
        most: Largest slice.
    """
    shares = [min(most, math.floor(lots * weight)) for weight in weights]
    left = lots - sum(shares)
    for index, share in enumerate(shares):
        added = min(left, most - share)
        shares[index] += added
        left -= added
    return tuple(share for share in shares if share)


def fragment(quantity: float, largest: float, urgent: float, settings: ExecutionSettings) -> Slices:
    """Return the slices of an order: as few as the cap on a slice allows.

    Never more than `quantity`; less, with a reason, where `maximum_children` slices cannot hold
    it.

    Args:
        quantity: Units that may be sent.
        largest: Largest slice, units.
        urgent: Urgency, in [0, 1]; sends more of it first.
        settings: Lot, most slices, risk aversion.
    """
    lots = math.floor(quantity / settings.lot_size + _ROUNDING)
    most = math.floor(largest / settings.lot_size + _ROUNDING)
    if lots < 1 or most < 1:
        reason = ExecutionReason.EMPTY_ENVELOPE if lots < 1 else ExecutionReason.NO_LIQUIDITY
        return Slices((), View(FRAGMENTATION, HOLD, 1.0, (reason,)))
    if lots <= most:
        return Slices((lots,), View(FRAGMENTATION, EXECUTE, 1.0 - lots / most))
    sent = min(lots, most * settings.maximum_children)
    count = -(-sent // most)
    weights = schedule_weights(count, settings.risk_aversion * urgent)
    reasons = [ExecutionReason.SLICED]
    if sent < lots:
        reasons.append(ExecutionReason.PARTICIPATION_CAP)
    view = View(FRAGMENTATION, SLICE, 1.0 - most / lots, tuple(reasons))
    return Slices(split_lots(sent, weights, most), view)
