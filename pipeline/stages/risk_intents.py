"""What a tactical signal asks of risk, and the gates it must pass before anybody looks at it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.control.scope import Scope, ScopeKind
from pipeline.control.trips import Trips
from pipeline.packets.models import TacticalSignal
from pipeline.packets.vocabulary import Action, Regime
from pipeline.policies.risk.book import Throttle
from pipeline.policies.risk.decision import Signal
from pipeline.policies.risk.market import Market
from pipeline.policies.risk.settings import RiskSettings
from pipeline.policies.risk.sizing import SizingBatch, size
from pipeline.policies.risk.state import RiskState
from pipeline.stages.contract import Input
from pipeline.stages.reasons import RiskReason

__all__ = ["Intent", "is_shut", "prepare", "refusals"]

_DIRECTION = {Action.BUY: 1, Action.SELL: -1}


@dataclass(frozen=True, slots=True)
class Intent:
    """An order that a signal asks for, from its packet alone; see `SizingBatch` for the shares.

    Attributes:
        symbol: Instrument.
        event_time_us: Of the bar, microseconds since the Unix epoch, UTC.
        direction: 1 to buy, -1 to sell.
        price: Reference price: the bar's close.
        stop: Price.
        target: Price.
        stop_distance: Share of the price.
        share: Position to open, share of equity.
        edge: Whether the Kelly stake is positive.
        volatile: Whether volatility and true range are known.
    """

    symbol: str
    event_time_us: int
    direction: int
    price: float
    stop: float
    target: float
    stop_distance: float
    share: float
    edge: bool
    volatile: bool

    def signal(self, market: Market, *, reducing: bool = False) -> Signal:
        """Return it with what the market is like now; `reducing`: it may open nothing."""
        return Signal(
            direction=self.direction,
            price=self.price,
            share=self.share,
            edge=self.edge,
            volatile=self.volatile,
            stop_distance=self.stop_distance,
            average_volume=market.average_volume(self.symbol),
            stress=market.stress(self.symbol),
            reducing=reducing,
        )


def prepare(inputs: Sequence[Input], settings: RiskSettings) -> Mapping[int, Intent]:
    """Return the intents of a round by input index, sized all at once.

    Left out are inputs with a fate, other packets, and signals that `refusals` refuses for what
    they hold.
    """
    found = [
        (index, item.packet)
        for index, item in enumerate(inputs)
        if item.fate is None
        and isinstance(item.packet, TacticalSignal)
        and not _malformed(item.packet, settings)
    ]
    if not found:
        return {}
    sizes = _sizes([packet for _, packet in found], settings)
    return {index: _intent(packet, sizes, row) for row, (index, packet) in enumerate(found)}


def refusals(
    state: RiskState,
    item: Input,
    packet: TacticalSignal,
    settings: RiskSettings,
    trips: Trips,
    *,
    halted: bool,
) -> tuple[RiskReason, ...]:
    """Return why a signal is not even looked at; every doubt is a no.

    Args:
        state: Accounts and market.
        item: The input.
        packet: Its packet.
        settings: Limits.
        trips: What has tripped, and what was reset.
        halted: Whether trading is HALTED.
    """
    return (
        *([RiskReason.TRADING_HALTED] if halted else []),
        *_malformed(packet, settings),
        *_untimely(item.now, packet, settings),
        *_unknown(state, packet, settings, trips),
    )


def _sizes(packets: Sequence[TacticalSignal], settings: RiskSettings) -> SizingBatch:
    columns = np.array([_row(packet) for packet in packets], dtype=np.float64)
    times = [packet.envelope.event_time for packet in packets]
    return size(
        price=columns[:, 0],
        atr=columns[:, 1],
        probability=columns[:, 2],
        volatility=columns[:, 3],
        direction=columns[:, 4].astype(np.int64),
        high_volatility=columns[:, 5] > 0.0,
        event_time_us=np.array(times, dtype=np.int64),
        settings=settings,
    )


def _row(packet: TacticalSignal) -> tuple[float, float, float, float, float, float]:
    tactical, strategic = packet.tactical, packet.strategic
    return (
        _reference_price(packet),
        tactical.atr if tactical else 0.0,
        tactical.probability if tactical else 0.0,
        strategic.volatility if strategic else 0.0,
        _direction(packet),
        strategic is not None and strategic.regime is Regime.HIGH_VOLATILITY,
    )


def _intent(packet: TacticalSignal, sizes: SizingBatch, row: int) -> Intent:
    return Intent(
        symbol=packet.envelope.symbol,
        event_time_us=packet.envelope.event_time,
        direction=_direction(packet),
        price=_reference_price(packet),
        stop=float(sizes.stop[row]),
        target=float(sizes.target[row]),
        stop_distance=float(sizes.stop_distance[row]),
        share=float(sizes.share[row]),
        edge=float(sizes.kelly_share[row]) > 0.0,
        volatile=float(sizes.volatility_share[row]) > 0.0,
    )


def _direction(packet: TacticalSignal) -> int:
    return 0 if packet.tactical is None else _DIRECTION.get(packet.tactical.action, 0)


def _reference_price(packet: TacticalSignal) -> float:
    """Return the bar's close, the last price known; 0 where it or the entry is missing."""
    if packet.bar is None or packet.tactical is None or not packet.tactical.entry > 0.0:
        return 0.0
    return packet.bar.close


def _is_finite(packet: TacticalSignal) -> bool:
    tactical, bar, strategic = packet.tactical, packet.bar, packet.strategic
    values = [strategic.volatility if strategic else 0.0]
    if tactical is not None:
        values += [tactical.entry, tactical.atr, tactical.probability]
    if bar is not None:
        values += [bar.close, bar.volume]
    return all(map(math.isfinite, values))


def _malformed(packet: TacticalSignal, settings: RiskSettings) -> list[RiskReason]:
    if not _is_finite(packet):
        return [RiskReason.NOT_FINITE]
    reasons = [] if _direction(packet) else [RiskReason.NO_DIRECTION]
    price = _reference_price(packet)
    if price <= 0.0:
        reasons.append(RiskReason.MISSING_REFERENCE_PRICE)
    elif packet.tactical and abs(packet.tactical.entry - price) > settings.price_band * price:
        reasons.append(RiskReason.PRICE_OUT_OF_BAND)
    return reasons


def _untimely(now_us: int, packet: TacticalSignal, settings: RiskSettings) -> list[RiskReason]:
    envelope = packet.envelope
    event_age_us = now_us - envelope.event_time
    acceptance_age_us = now_us - envelope.accepted_at
    lead_us = -min(event_age_us, acceptance_age_us)
    checks = (
        (RiskReason.DEADLINE_PASSED, now_us > envelope.deadline),
        (RiskReason.STALE_EVENT, event_age_us > settings.maximum_event_age_us),
        (RiskReason.STALE_ACCEPTANCE, acceptance_age_us > settings.maximum_acceptance_age_us),
        (RiskReason.FUTURE_EVENT, lead_us > settings.maximum_clock_lead_us),
    )
    return [reason for reason, failed in checks if failed]


def is_shut(throttle: Throttle, symbol: str, trips: Trips) -> bool:
    """Say whether a symbol's throttle has tripped and was not reset since."""
    if not throttle.tripped:
        return False
    return not trips.reset_since(str(Scope(ScopeKind.THROTTLE, symbol)), throttle.tripped_epoch)


def _unknown(
    state: RiskState, packet: TacticalSignal, settings: RiskSettings, trips: Trips
) -> list[RiskReason]:
    envelope = packet.envelope
    symbol, bars = envelope.symbol, state.market.bars(envelope.symbol)
    barred = settings.symbols is not None and symbol not in settings.symbols
    account = state.accounts.get(envelope.account)
    reasons = []
    if barred or bars < settings.minimum_bars:
        reasons.append(RiskReason.UNKNOWN_INSTRUMENT)
    if envelope.event_time < state.market.time_us(symbol):
        reasons.append(RiskReason.SUPERSEDED)
    if account is None:
        return [*reasons, RiskReason.UNKNOWN_ACCOUNT]
    throttle = account.throttle(symbol)
    if envelope.flow_id in account.reservations or envelope.flow_id == throttle.last_flow:
        reasons.append(RiskReason.DUPLICATE_FLOW)
    if is_shut(throttle, symbol, trips):
        reasons.append(RiskReason.THROTTLE_TRIPPED)
    return reasons
