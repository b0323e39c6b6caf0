"""How the paper broker fills: pure functions of an order, with misbehaviour on request.

Nothing is random. Each decision takes a number in [0, 1) from a hash of the client order id, so
the same order meets the same fate in every run and after every restart.

Price of a fill, relative to the reference price::

    slippage = half_spread + impact * volatility * sqrt(quantity / daily_volume) * (0.5 + u)

with u in [0, 1) by the order's id. The middle term is the square-root law of market impact
(Torre, "BARRA Market Impact Model Handbook", 1997; Almgren, Thum, Hauptmann and Li, "Direct
estimation of equity market impact", Risk 18(7), 2005, find an exponent of 0.6; Toth et al., Phys.
Rev. X 1, 021006, 2011, find 0.5 and a constant near 1). A LIMIT order pays no more than its
limit; one whose limit lies on the passive side of the reference price is not marketable and is
cancelled whole, as an immediate-or-cancel order would be.
"""

import math
from dataclasses import dataclass, fields
from hashlib import blake2b

from pipeline.errors import ConfigurationError
from pipeline.gateway.venue import VenueOrder, VenueReport, VenueState
from pipeline.packets.vocabulary import OrderType, Side

__all__ = ["PaperBehaviour", "chance", "fill", "venue_order_id"]

_SHARES = ("partial", "reject", "slow", "unknown", "lost")


@dataclass(frozen=True, slots=True)
class PaperBehaviour:
    """How the paper broker behaves; the defaults fill every order at once and in full.

    Attributes:
        partial: Share of orders of which only a part is filled and the rest cancelled, 0 to 1.
            Whole quantities are filled in whole units, so an order for one unit is never cut.
        reject: Share of orders refused, 0 to 1.
        slow_ms: How long a slow order works before it is done, milliseconds.
        slow: Share of orders that are slow, 0 to 1, where `slow_ms` is above 0.
        unknown: Share of orders accepted without an answer to the submit, 0 to 1.
        lost: Share of submits that never reach the venue, 0 to 1, drawn anew for each attempt.
        half_spread: Half the quoted spread, relative to price.
        impact: Constant of the square-root law.
        volatility: Daily volatility, relative.
        daily_volume: Volume of a day, units.
        commission_per_unit: Currency per unit filled; the default is the usual tariff of a US
            broker for small accounts.
    """

    partial: float = 0.0
    reject: float = 0.0
    slow_ms: int = 0
    slow: float = 1.0
    unknown: float = 0.0
    lost: float = 0.0
    half_spread: float = 0.0001
    impact: float = 1.0
    volatility: float = 0.015
    daily_volume: float = 5_000_000.0
    commission_per_unit: float = 0.005

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            highest = 1.0 if field.name in _SHARES else math.inf
            if not (math.isfinite(value) and 0.0 <= value <= highest):
                limits = "from 0 to 1" if field.name in _SHARES else "at least 0"
                raise ConfigurationError(
                    f"Expected {field.name} of the paper broker to be a number {limits}, "
                    f"was {value}; correct the setting"
                )
        if self.daily_volume == 0.0:
            raise ConfigurationError(
                "Expected daily_volume of the paper broker to be above 0, was 0; "
                "correct the setting"
            )

    @classmethod
    def parse(cls, text: str) -> "PaperBehaviour":
        """Return the behaviour that a setting names, e.g. "partial=0.1,slow_ms=200".

        Args:
            text: Comma-separated NAME=NUMBER, the names those of the attributes; empty for the
                defaults.

        Raises:
            ConfigurationError: If a name is unknown or repeated, or a number is out of range.
        """
        values: dict[str, float] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, separator, number = (part.strip() for part in item.partition("="))
            if not separator or name not in _NAMES or name in values:
                raise ConfigurationError(
                    f"Expected NAME=NUMBER, each name once and out of {', '.join(_NAMES)}, "
                    f"was {item!r} in the paper broker's setting {text!r}"
                )
            try:
                values[name] = int(number) if name == "slow_ms" else float(number)
            except ValueError:
                raise ConfigurationError(
                    f"Expected a number, was {number!r} for {name} in the paper broker's "
                    f"setting {text!r}"
                ) from None
        return cls(**values)  # type: ignore[arg-type]  # slow_ms was parsed as an int above


_NAMES = tuple(field.name for field in fields(PaperBehaviour))


def chance(what: str, client_order_id: str, attempt: int = 0) -> float:
    """Return a number in [0, 1), the same for the same arguments, independent across `what`."""
    text = f"{what}\x1f{client_order_id}\x1f{attempt}"
    # 53 bits: all that a float can hold, so that the result never rounds up to 1.
    return (int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 11) / 2.0**53


def venue_order_id(client_order_id: str) -> str:
    """Return the paper broker's own id of an order."""
    return "paper-" + blake2b(client_order_id.encode(), digest_size=8).hexdigest()


def fill(order: VenueOrder, behaviour: PaperBehaviour) -> VenueReport:
    """Return how an order ends at the paper broker: its final report."""
    if reason := _refusal(order, behaviour):
        return _report(order, VenueState.REJECTED, reason)
    price = _price(order, behaviour)
    if price is None:
        return _report(order, VenueState.CANCELLED, "NOT_MARKETABLE")
    filled = _filled(order, behaviour)
    whole = filled == order.quantity
    return VenueReport(
        client_order_id=order.client_order_id,
        venue_order_id=venue_order_id(order.client_order_id),
        state=VenueState.FILLED if whole else VenueState.CANCELLED,
        filled=filled,
        price=price,
        fee=filled * behaviour.commission_per_unit,
        reason="" if whole else "LIQUIDITY",
    )


def _report(order: VenueOrder, state: VenueState, reason: str) -> VenueReport:
    own_id = venue_order_id(order.client_order_id)
    return VenueReport(order.client_order_id, own_id, state, 0.0, 0.0, 0.0, reason)


def _refusal(order: VenueOrder, behaviour: PaperBehaviour) -> str:
    if order.side is Side.NONE:
        return "NO_SIDE"
    for number in (order.quantity, order.limit_price, order.reference_price):
        if not (math.isfinite(number) and number > 0.0):
            return "INVALID_NUMBER"
    if chance("reject", order.client_order_id) < behaviour.reject:
        return "REFUSED_ON_REQUEST"
    return ""


def _price(order: VenueOrder, behaviour: PaperBehaviour) -> float | None:
    spread = 0.5 + chance("slippage", order.client_order_id)
    root = math.sqrt(order.quantity / behaviour.daily_volume)
    slippage = behaviour.half_spread + behaviour.impact * behaviour.volatility * root * spread
    if order.side is Side.BUY:
        price = order.reference_price * (1.0 + slippage)
        limit = order.limit_price if order.order_type is OrderType.LIMIT else math.inf
        return min(price, limit) if limit >= order.reference_price else None
    # Divided, not subtracted: an absurdly large sale still has a positive price.
    price = order.reference_price / (1.0 + slippage)
    limit = order.limit_price if order.order_type is OrderType.LIMIT else 0.0
    return max(price, limit) if limit <= order.reference_price else None


def _filled(order: VenueOrder, behaviour: PaperBehaviour) -> float:
    if chance("partial", order.client_order_id) >= behaviour.partial:
        return order.quantity
    part = order.quantity * (0.1 + 0.8 * chance("part", order.client_order_id))
    if order.quantity.is_integer():
        return max(1.0, float(math.floor(part)))
    return part
