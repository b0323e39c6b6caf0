"""Accounts: cash, positions, reservations and the throttle, on plain values.

Reserved notional is kept in multiples of 2^-8 currency units: their sums and differences are exact
in binary floating point up to 3e13, so that reserved = open + released holds to the last bit after
any order of events.
"""

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "QUANTUM",
    "Account",
    "Exposure",
    "Fill",
    "Holding",
    "Reservation",
    "Throttle",
    "Trade",
    "money",
]

QUANTUM = 2.0**-8
_DUST = 1e-9  # units; a rest that only rounding can leave


def money(notional: float, *, up: bool) -> float:
    """Return `notional` rounded up or down to a multiple of `QUANTUM`."""
    steps = notional / QUANTUM
    return (math.ceil(steps) if up else math.floor(steps)) * QUANTUM


@dataclass(slots=True)
class Reservation:
    """What an approved flow may still use. Invariant: reserved = open + released.

    Attributes:
        symbol: Instrument.
        direction: 1 buys, -1 sells.
        quantity: Units approved.
        price: Reference price.
        reserved: Notional, currency.
        released: Of that, given back.
        filled: Units filled so far.
        event_time_us: Of the bar that it was approved for.
    """

    symbol: str
    direction: int
    quantity: float
    price: float
    reserved: float
    event_time_us: int
    released: float = 0.0
    filled: float = 0.0

    @property
    def open(self) -> float:
        """Notional that still counts in the exposure, currency."""
        return self.reserved - self.released

    def releases(self, filled: float, *, final: bool) -> float:
        """Return the notional that a fill gives back; all of the rest where it is final."""
        if final:
            return self.open
        return min(self.open, money(filled * self.price, up=False))


@dataclass(slots=True)
class Holding:
    """One symbol in one account.

    Attributes:
        quantity: Signed units.
        average_price: Of the units held; 0 where there are none.
        notional: Open reservations by side, currency: (sells, buys).
        units: Units of the same, not filled yet: (sells, buys).
        orders: Approved flows in flight.
        mark: Last price it was valued at.
        value: Quantity at that mark, currency.
    """

    quantity: float = 0.0
    average_price: float = 0.0
    notional: list[float] = field(default_factory=lambda: [0.0, 0.0])
    units: list[float] = field(default_factory=lambda: [0.0, 0.0])
    orders: int = 0
    mark: float = 0.0
    value: float = 0.0

    def toward(self, direction: int, mark: float) -> float:
        """Return the largest exposure to one side, were all its flows filled; may be negative."""
        return direction * self.quantity * mark + self.notional[direction > 0]

    def exposure(self, mark: float) -> float:
        """Return the largest absolute exposure that fills of open flows can lead to."""
        return max(self.toward(1, mark), self.toward(-1, mark))

    def weight(self, mark: float) -> float:
        """Return the signed notional were all flows filled."""
        return self.quantity * mark + self.notional[1] - self.notional[0]

    def closable(self, direction: int) -> float:
        """Return the units that an order may trade before it adds exposure to its side."""
        return max(0.0, -direction * self.quantity - self.units[direction > 0])


@dataclass(slots=True)
class Throttle:
    """Approvals of a symbol in one direction.

    Attributes:
        direction: Of the last approval; 0 before the first.
        approvals: (flow id, event time) within the window, oldest first.
        last_flow: Flow approved last.
        tripped: Whether it is shut until somebody resets it.
        tripped_epoch: What was known of control when it tripped; a later reset opens it.
    """

    direction: int = 0
    approvals: list[tuple[str, int]] = field(default_factory=list)
    last_flow: str = ""
    tripped: bool = False
    tripped_epoch: int = -1

    def count(self, direction: int, since_us: int) -> int:
        """Return the approvals in `direction` at or after `since_us`."""
        if direction != self.direction:
            return 0
        return sum(1 for _, time_us in self.approvals if time_us >= since_us)


@dataclass(frozen=True, slots=True)
class Trade:
    """What happened to a flow at the venue.

    Attributes:
        flow_id: The flow.
        symbol: Instrument.
        direction: 1 bought, -1 sold; 0 where nothing was filled.
        units: Filled by this event.
        price: Of them.
        fee: Currency.
        final: Whether the flow is at its end.
    """

    flow_id: str
    symbol: str
    direction: int
    units: float
    price: float
    fee: float
    final: bool


@dataclass(frozen=True, slots=True)
class Fill:
    """What a fill makes of an account.

    Attributes:
        position: Signed units after.
        average_price: Of them.
        cash: After, fee included.
        realised: Profit realised by this fill, without its fee.
        released: Notional given back.
    """

    position: float
    average_price: float
    cash: float
    realised: float
    released: float


@dataclass(frozen=True, slots=True)
class Exposure:
    """An account as an order for one symbol and direction finds it.

    Attributes:
        equity: Cash and positions at their marks, currency.
        drawdown: Fall from the highest equity, share of it.
        total: Sum of the symbols' exposures, reservations included, currency.
        others: The same without the order's symbol.
        others_squared: Sum of the squares of the other symbols' exposures.
        toward: Exposure of the symbol to the order's side, reservations included; may be negative.
        net: The same over all symbols.
        weight: Signed notional of the symbol were all its flows filled.
        closable: Units that reduce the position.
        orders: Approved flows in flight for the symbol.
        positions: Symbols with a position or a flow in flight.
        held: Whether the order's symbol is one of them.
    """

    equity: float
    drawdown: float
    total: float
    others: float
    others_squared: float
    toward: float
    net: float
    weight: float
    closable: float
    orders: int
    positions: int
    held: bool


_NOTHING = Holding()


class Account:
    """One account. Its methods with a verb change it, the others do not.

    Args:
        cash: Before the first fill, currency.
    """

    def __init__(self, cash: float) -> None:
        self.cash = cash
        self.realised = 0.0
        self.peak = cash
        self.value = 0.0
        self.holdings: dict[str, Holding] = {}
        self.reservations: dict[str, Reservation] = {}
        self.throttles: dict[str, Throttle] = {}

    @property
    def equity(self) -> float:
        """Cash and positions at their last marks, currency."""
        return self.cash + self.value

    def quantity(self, symbol: str) -> float:
        """Return the signed units held."""
        return self.holdings.get(symbol, _NOTHING).quantity

    def throttle(self, symbol: str) -> Throttle:
        """Return the throttle of a symbol, for reading."""
        return self.throttles.get(symbol) or Throttle()

    def exposure(self, symbol: str, direction: int, price: float) -> Exposure:
        """Return what an order for `symbol` at `price` finds.

        Args:
            symbol: Instrument of the order.
            direction: 1 to buy, -1 to sell.
            price: Reference price, taken as the symbol's mark.
        """
        own = self.holdings.get(symbol, _NOTHING)
        others = squared = net = 0.0
        for name, holding in self.holdings.items():
            if name != symbol:
                # `toward` to both sides, written out: this runs over all symbols for each order.
                value = holding.quantity * holding.mark
                short, long = holding.notional[0] - value, holding.notional[1] + value
                exposure = max(long, short)
                others += exposure
                squared += exposure * exposure
                net += long if direction > 0 else short
        equity = self.equity + (own.quantity * price - own.value)
        peak = max(self.peak, equity)
        toward = own.toward(direction, price)
        return Exposure(
            equity=equity,
            drawdown=max(0.0, (peak - equity) / peak) if peak > 0.0 else 1.0,
            total=others + own.exposure(price),
            others=others,
            others_squared=squared,
            toward=toward,
            net=net + toward,
            weight=own.weight(price),
            closable=own.closable(direction),
            orders=own.orders,
            positions=len(self.holdings),
            held=symbol in self.holdings,
        )

    def reserve(self, flow_id: str, reservation: Reservation) -> None:
        """Count an approved flow in the exposure from now on."""
        self.reservations[flow_id] = reservation
        holding = self.holdings.setdefault(reservation.symbol, Holding(mark=reservation.price))
        holding.notional[reservation.direction > 0] += reservation.reserved
        holding.units[reservation.direction > 0] += reservation.quantity
        holding.orders += 1

    def remember_approval(
        self, symbol: str, direction: int, flow_id: str, event_time_us: int, window_us: int
    ) -> None:
        """Count an approval in the symbol's throttle."""
        throttle = self.throttles.setdefault(symbol, Throttle())
        if throttle.tripped:  # it was reset, or there would be no approval
            throttle.tripped = False
            throttle.approvals.clear()
        if throttle.direction != direction:
            throttle.approvals.clear()
        throttle.direction = direction
        since = event_time_us - window_us
        throttle.approvals = [pair for pair in throttle.approvals if pair[1] >= since]
        throttle.approvals.append((flow_id, event_time_us))
        throttle.last_flow = flow_id

    def trip(self, symbol: str, control_epoch: int) -> None:
        """Shut the symbol's throttle, until it is reset after `control_epoch`."""
        throttle = self.throttles.setdefault(symbol, Throttle())
        throttle.tripped, throttle.tripped_epoch = True, control_epoch

    def move(self, symbol: str, mark: float) -> None:
        """Value a symbol at a new mark."""
        holding = self.holdings.get(symbol)
        if holding is not None:
            self._revalue(holding, mark)

    def fill(self, trade: Trade) -> Fill:
        """Return what a trade would make of the account, average cost accounting.

        Changes nothing; `settle` does.
        """
        holding = self.holdings.get(trade.symbol, _NOTHING)
        reservation = self.reservations.get(trade.flow_id)
        signed = trade.direction * trade.units
        position = holding.quantity + signed
        position = 0.0 if abs(position) < _DUST else position
        closed = min(trade.units, max(0.0, -trade.direction * holding.quantity))
        gain = trade.direction * (holding.average_price - trade.price)
        return Fill(
            position=position,
            average_price=_average(holding, trade, position),
            cash=self.cash - signed * trade.price - trade.fee,
            realised=closed * gain,
            released=reservation.releases(trade.units, final=trade.final) if reservation else 0.0,
        )

    def settle(self, trade: Trade, fill: Fill, mark: float) -> None:
        """Fold a trade, or the end of a flow, into the account."""
        holding = self.holdings.setdefault(trade.symbol, Holding())
        holding.quantity = fill.position
        holding.average_price = fill.average_price
        self.cash = fill.cash
        self.realised += fill.realised
        self._release(trade, fill.released)
        self._revalue(holding, mark)
        if holding.quantity == 0.0 and holding.orders == 0:
            del self.holdings[trade.symbol]

    def _release(self, trade: Trade, released: float) -> None:
        reservation = self.reservations.get(trade.flow_id)
        if reservation is None:
            return
        holding, side = self.holdings[reservation.symbol], reservation.direction > 0
        waiting = max(0.0, reservation.quantity - reservation.filled)
        gone = waiting if trade.final else min(waiting, trade.units)
        reservation.filled += trade.units
        reservation.released += released
        holding.notional[side] -= released
        holding.units[side] = max(0.0, holding.units[side] - gone)
        if trade.final:
            self._end(trade.flow_id, reservation, holding)

    def _end(self, flow_id: str, reservation: Reservation, holding: Holding) -> None:
        del self.reservations[flow_id]
        holding.orders -= 1
        if holding.orders == 0:
            holding.units = [0.0, 0.0]
        throttle = self.throttles.get(reservation.symbol)
        if throttle and reservation.filled == 0.0:  # nothing was repeated, so it does not count
            throttle.approvals = [pair for pair in throttle.approvals if pair[0] != flow_id]

    def _revalue(self, holding: Holding, mark: float) -> None:
        before = holding.value
        holding.mark, holding.value = mark, holding.quantity * mark
        self.value += holding.value - before
        if not holding.quantity and not any(item.quantity for item in self.holdings.values()):
            self.value = 0.0  # flat: drop what rounding left
        self.peak = max(self.peak, self.equity)

    def dump(self) -> dict[str, Any]:
        """Return the content as plain values; exact."""
        return {
            "cash": self.cash,
            "realised": self.realised,
            "peak": self.peak,
            "value": self.value,
            "holdings": [(name, _fields(item)) for name, item in self.holdings.items()],
            "reservations": [(name, _fields(item)) for name, item in self.reservations.items()],
            "throttles": [(name, _fields(item)) for name, item in self.throttles.items()],
        }

    @classmethod
    def load(cls, content: dict[str, Any]) -> "Account":
        """Return the account that `content` is the dump of."""
        account = cls(content["cash"])
        account.realised = content["realised"]
        account.peak = content["peak"]
        account.value = content["value"]
        account.holdings = {name: Holding(**item) for name, item in content["holdings"]}
        account.reservations = {name: Reservation(**item) for name, item in content["reservations"]}
        account.throttles = {name: _throttle(item) for name, item in content["throttles"]}
        return account


def _average(holding: Holding, trade: Trade, position: float) -> float:
    held = abs(holding.quantity)
    if position == 0.0:
        return 0.0
    if trade.direction * holding.quantity >= 0.0:  # opens or adds
        spent = held * holding.average_price + trade.units * trade.price
        return spent / (held + trade.units) if trade.units else holding.average_price
    return trade.price if trade.direction * position > 0.0 else holding.average_price


def _fields(item: Reservation | Holding | Throttle) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__slots__}


def _throttle(item: dict[str, Any]) -> Throttle:
    approvals = [(flow_id, time_us) for flow_id, time_us in item["approvals"]]
    return Throttle(**{**item, "approvals": approvals})
