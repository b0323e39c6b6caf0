"""The risk stage: tactical signals and fills to assessments and portfolio updates.

One sequencer per account group: inputs are decided one after the other, each under the
reservations of those before it, so limits are exact. What depends on the signal alone is worked
out for the whole round at once.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from msgspec import Struct, structs

from pipeline.control.state import TradingState
from pipeline.errors import ForeignRecord, InvalidPacket, RoutingError
from pipeline.packets.models import (
    OrderEvent,
    PolicyStamp,
    PortfolioUpdate,
    Risk,
    RiskAssessment,
    RiskEnvelope,
    TacticalSignal,
)
from pipeline.packets.superposition import superpose
from pipeline.packets.vocabulary import (
    Action,
    FlowState,
    OrderEventKind,
    OutcomeKind,
    Regime,
    Side,
    Verdict,
)
from pipeline.policies.risk.book import Account, Exposure, Reservation, money
from pipeline.policies.risk.decision import Assessment, Signal, assess
from pipeline.policies.risk.market import Market
from pipeline.policies.risk.monitor import Moments, moments, value_at_risk
from pipeline.policies.risk.settings import RiskSettings
from pipeline.policies.risk.sizing import SizingBatch, size
from pipeline.policies.risk.state import RiskState
from pipeline.stages.contract import Context, Draft, Input, Note, seal
from pipeline.stages.reasons import RiskReason
from pipeline.policies.risk.reasons import recommend

__all__ = ["RiskLogic"]

_STAGE = "risk"
_VERSION = "1"
_DIRECTION = {Action.BUY: 1, Action.SELL: -1}
_SIDE = {1: Side.BUY, -1: Side.SELL}
_SIGN = {Side.BUY: 1, Side.SELL: -1, Side.NONE: 0}
_PASSING = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
_NO_ENVELOPE = RiskEnvelope(Side.NONE, 0.0, 0.0, 0.0, 0.0)
_NO_RISK = Moments(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Intent:
    """What a signal asks for, read from its packet alone."""

    item: Input
    packet: TacticalSignal
    direction: int
    price: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """The account as a decision saw it."""

    exposure: Exposure
    risk: Moments


class RiskLogic:
    """Decides whether an order may go, and within which envelope; see `StageLogic`.

    Args:
        settings: The limits.
    """

    def __init__(self, settings: RiskSettings | None = None) -> None:
        self._settings = settings or RiskSettings()
        self._sha256 = self._settings.sha256

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return _STAGE

    def initial(self) -> RiskState:
        """Return the state before the first record: the accounts with their first cash."""
        return RiskState.initial(self._settings)

    def decide(
        self, state: RiskState, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft | Note | None]:
        """Yield one item per input, in order; see `StageLogic.decide`.

        Each decision sees the records before it, so `apply` must run between two items.

        Raises:
            RoutingError: A packet that does not belong here.
            InvalidPacket: A fill without a side.
        """
        intents, sizes = self._prepare(inputs)
        sequence = context.state_sequence
        for index, item in enumerate(inputs):
            output = self._decide(state, item, intents.get(index), sizes, context, sequence)
            if output is not None:
                sequence += 1
            yield output

    def apply(self, state: RiskState, record: Struct) -> None:
        """Fold a record of the risk log into `state`.

        Raises:
            ForeignRecord: If it is none.
        """
        if isinstance(record, RiskAssessment):
            self._apply_assessment(state, record)
        elif isinstance(record, PortfolioUpdate):
            _apply_update(state, record)
        else:
            raise ForeignRecord(
                f"Expected a RiskAssessment or a PortfolioUpdate, was a {type(record).__name__}"
            )

    def dump(self, state: RiskState) -> bytes:
        """Return `state` as bytes, for a snapshot."""
        return state.dump()

    def load(self, data: bytes) -> RiskState:
        """Return the state that `data` is the dump of.

        Raises:
            PositionLost: If it was written by another version, or under another history length.
        """
        return RiskState.load(data, self._settings)

    def _prepare(self, inputs: Sequence[Input]) -> tuple[Mapping[int, tuple[int, _Intent]], SizingBatch]:
        """Return, by input index, (row, intent) of each readable intent, and the rows' sizes."""
        found: dict[int, tuple[int, _Intent]] = {}
        for index, item in enumerate(inputs):
            if item.fate is None and isinstance(item.packet, TacticalSignal):
                direction, price = _direction(item.packet), _reference_price(item.packet)
                if direction and price > 0.0 and _is_finite(item.packet):
                    found[index] = (len(found), _Intent(item, item.packet, direction, price))
        return found, self._sizes([intent for _, intent in found.values()])

    def _sizes(self, intents: Sequence[_Intent]) -> SizingBatch:
        rows = [_row(intent) for intent in intents]
        columns = np.array(rows, dtype=np.float64).reshape(len(rows), 6)
        times = np.array([i.packet.envelope.event_time for i in intents], dtype=np.int64)
        return size(
            price=columns[:, 0],
            atr=columns[:, 1],
            probability=columns[:, 2],
            volatility=columns[:, 3],
            direction=columns[:, 4].astype(np.int64),
            high_volatility=columns[:, 5] > 0.0,
            event_time_us=times,
            settings=self._settings,
        )

    def _decide(
        self,
        state: RiskState,
        item: Input,
        prepared: tuple[int, _Intent] | None,
        sizes: SizingBatch,
        context: Context,
        sequence: int,
    ) -> Draft | Note | None:
        if item.fate is not None:
            return Draft(outcome=item.fate)
        if isinstance(item.packet, OrderEvent):
            return _update(state, item.packet)
        if not isinstance(item.packet, TacticalSignal):
            raise RoutingError(
                f"Expected a TacticalSignal or an OrderEvent, was a {type(item.packet).__name__}",
                topic=item.topic,
                partition=item.partition,
                offset=item.offset,
            )
        stamp = PolicyStamp(_STAGE, _VERSION, self._sha256, sequence)
        return self._judge(state, item, item.packet, prepared, sizes, context, stamp)

    def _judge(
        self,
        state: RiskState,
        item: Input,
        packet: TacticalSignal,
        prepared: tuple[int, _Intent] | None,
        sizes: SizingBatch,
        context: Context,
        stamp: PolicyStamp,
    ) -> Draft:
        account = state.accounts.get(packet.envelope.account)
        seen = _look(state.market, account, packet, prepared)
        refusals = self._refusals(state, item, packet, context)
        if refusals or prepared is None or account is None or seen is None:
            return _refuse(seen, tuple(refusals), stamp)
        if seen.exposure.equity <= 0.0:
            return _refuse(seen, (RiskReason.EQUITY_EXHAUSTED,), stamp, Verdict.EMERGENCY_STOP)
        row, intent = prepared
        signal = _signal(state.market, intent, sizes, row)
        assessment = assess(signal, seen.exposure, seen.risk, self._settings)
        if assessment.quantity > 0.0 and self._repeats(account, intent):
            return _refuse(seen, (RiskReason.REPEATED_ORDERS,), stamp)
        return _draft(intent, seen, assessment, sizes, row, stamp)

    def _refusals(
        self, state: RiskState, item: Input, packet: TacticalSignal, context: Context
    ) -> list[RiskReason]:
        """Return why an intent is not even looked at; every doubt is a no."""
        reasons = _malformed(packet, self._settings)
        if context.control.trading_state is not TradingState.ACTIVE:
            reasons.append(RiskReason.TRADING_HALTED)
        reasons += self._untimely(item, packet)
        reasons += self._unknown(state, packet)
        return reasons

    def _untimely(self, item: Input, packet: TacticalSignal) -> list[RiskReason]:
        envelope, limits = packet.envelope, self._settings
        newest = max(envelope.event_time, envelope.accepted_at)
        checks = (
            (RiskReason.DEADLINE_PASSED, item.now > envelope.deadline),
            (RiskReason.STALE_EVENT, item.now - envelope.event_time > limits.maximum_event_age_us),
            (
                RiskReason.STALE_ACCEPTANCE,
                item.now - envelope.accepted_at > limits.maximum_acceptance_age_us,
            ),
            (RiskReason.FUTURE_EVENT, newest - item.now > limits.maximum_clock_lead_us),
        )
        return [reason for reason, failed in checks if failed]

    def _unknown(self, state: RiskState, packet: TacticalSignal) -> list[RiskReason]:
        envelope, limits = packet.envelope, self._settings
        symbol = envelope.symbol
        barred = limits.symbols is not None and symbol not in limits.symbols
        account = state.accounts.get(envelope.account)
        reasons = []
        if barred or state.market.bars(symbol) < limits.minimum_bars:
            reasons.append(RiskReason.UNKNOWN_INSTRUMENT)
        if envelope.event_time < state.market.time_us(symbol):
            reasons.append(RiskReason.SUPERSEDED)
        if account is None:
            return [*reasons, RiskReason.UNKNOWN_ACCOUNT]
        throttle = account.throttle(symbol)
        if envelope.flow_id in account.reservations or envelope.flow_id == throttle.last_flow:
            reasons.append(RiskReason.DUPLICATE_FLOW)
        if throttle.tripped:
            reasons.append(RiskReason.THROTTLE_TRIPPED)
        return reasons

    def _repeats(self, account: Account, intent: _Intent) -> bool:
        envelope = intent.packet.envelope
        since = envelope.event_time - self._settings.throttle_window_us
        count = account.throttle(envelope.symbol).count(intent.direction, since)
        return count >= self._settings.throttle_orders

    def _apply_assessment(self, state: RiskState, record: RiskAssessment) -> None:
        envelope, bar, risk = record.envelope, record.bar, record.risk
        if bar is not None:
            symbol = envelope.symbol
            before, mark = state.market.update(symbol, envelope.event_time, bar.close, bar.volume)
            if mark != before:
                for account in state.accounts.values():
                    account.move(symbol, mark)
        if risk is None:
            return
        account = state.account(envelope.account)
        if RiskReason.REPEATED_ORDERS in risk.reasons:
            account.trip(envelope.symbol)
        if risk.reserved > 0.0:
            self._reserve(account, record, risk)

    def _reserve(self, account: Account, record: RiskAssessment, risk: Risk) -> None:
        envelope, bounds = record.envelope, risk.envelope
        direction = _SIGN[bounds.side]
        reservation = Reservation(
            symbol=envelope.symbol,
            direction=direction,
            quantity=bounds.max_quantity,
            price=bounds.reference_price,
            reserved=risk.reserved,
            event_time_us=envelope.event_time,
        )
        account.reserve(envelope.flow_id, reservation)
        account.remember_approval(
            envelope.symbol,
            direction,
            envelope.flow_id,
            envelope.event_time,
            self._settings.throttle_window_us,
        )


def _direction(packet: TacticalSignal) -> int:
    return 0 if packet.tactical is None else _DIRECTION.get(packet.tactical.action, 0)


def _reference_price(packet: TacticalSignal) -> float:
    """Return the bar's close, the last price known; 0 where it or the entry is missing."""
    if packet.bar is None or packet.tactical is None or not packet.tactical.entry > 0.0:
        return 0.0
    return packet.bar.close


def _is_finite(packet: TacticalSignal) -> bool:
    tactical, bar = packet.tactical, packet.bar
    volatility = packet.strategic.volatility if packet.strategic else 0.0
    values = [volatility]
    if tactical is not None:
        values += [tactical.entry, tactical.atr, tactical.probability]
    if bar is not None:
        values += [bar.close, bar.volume]
    return all(map(math.isfinite, values))


def _malformed(packet: TacticalSignal, settings: RiskSettings) -> list[RiskReason]:
    if not _is_finite(packet):
        return [RiskReason.NOT_FINITE]
    reasons = []
    if not _direction(packet):
        reasons.append(RiskReason.NO_DIRECTION)
    price = _reference_price(packet)
    if not price > 0.0:
        reasons.append(RiskReason.MISSING_REFERENCE_PRICE)
    elif packet.tactical and abs(packet.tactical.entry - price) > settings.price_band * price:
        reasons.append(RiskReason.PRICE_OUT_OF_BAND)
    return reasons


def _row(intent: _Intent) -> tuple[float, float, float, float, float, float]:
    tactical, strategic = intent.packet.tactical, intent.packet.strategic
    return (
        intent.price,
        tactical.atr if tactical else 0.0,
        tactical.probability if tactical else 0.0,
        strategic.volatility if strategic else 0.0,
        intent.direction,
        strategic is not None and strategic.regime is Regime.HIGH_VOLATILITY,
    )


def _signal(market: Market, intent: _Intent, sizes: SizingBatch, row: int) -> Signal:
    symbol = intent.packet.envelope.symbol
    return Signal(
        direction=intent.direction,
        price=intent.price,
        share=float(sizes.share[row]),
        edge=float(sizes.kelly_share[row]) > 0.0,
        volatile=float(sizes.volatility_share[row]) > 0.0,
        stop_distance=float(sizes.stop_distance[row]),
        average_volume=market.average_volume(symbol),
        stress=market.stress(symbol),
    )


def _look(
    market: Market,
    account: Account | None,
    packet: TacticalSignal,
    prepared: tuple[int, _Intent] | None,
) -> _Seen | None:
    """Return the account as the intent finds it; None where there is no such account."""
    if account is None:
        return None
    symbol = packet.envelope.symbol
    mark = market.mark(symbol)
    direction, price = (prepared[1].direction, prepared[1].price) if prepared else (1, mark)
    exposure = account.exposure(symbol, direction, price)
    if not market.bars(symbol):
        return _Seen(exposure, _NO_RISK)
    weights = {name: held.weight(held.mark) for name, held in account.holdings.items()}
    weights[symbol] = exposure.weight
    known = [name for name in weights if market.bars(name)]
    scaled, volatility = market.history(known)
    values = np.array([weights[name] for name in known])
    return _Seen(exposure, moments(scaled, volatility, values, known.index(symbol)))


def _refuse(
    seen: _Seen | None,
    reasons: tuple[RiskReason, ...],
    stamp: PolicyStamp,
    verdict: Verdict = Verdict.REJECT,
) -> Draft:
    """Return a refusal without any agent's view; what cannot be judged counts as worst."""
    risk = _risk(seen, verdict, 1.0, reasons)
    return Draft({"risk": risk}, seal(OutcomeKind.REJECTED, _STAGE, *reasons), stamp)


def _draft(
    intent: _Intent,
    seen: _Seen,
    assessment: Assessment,
    sizes: SizingBatch,
    row: int,
    stamp: PolicyStamp,
) -> Draft:
    verdict = Verdict(assessment.verdict)
    plain = _risk(seen, verdict, assessment.score, assessment.reasons)
    agents = tuple(superpose(view.agent, view.distribution()) for view in assessment.views)
    risk = structs.replace(plain, agents=agents)
    if verdict not in _PASSING:
        return Draft({"risk": risk}, seal(OutcomeKind.REJECTED, _STAGE, *assessment.reasons), stamp)
    envelope = RiskEnvelope(
        side=_SIDE[intent.direction],
        max_quantity=assessment.quantity,
        reference_price=intent.price,
        stop=float(sizes.stop[row]),
        target=float(sizes.target[row]),
    )
    reserved = money(assessment.quantity * intent.price, up=True)
    return Draft({"risk": structs.replace(risk, envelope=envelope, reserved=reserved)}, None, stamp)


def _risk(
    seen: _Seen | None, verdict: Verdict, score: float, reasons: tuple[RiskReason, ...]
) -> Risk:
    exposure = seen.exposure if seen else None
    return Risk(
        verdict=verdict,
        risk_score=score,
        reasons=reasons,
        envelope=_NO_ENVELOPE,
        recommendations=recommend(reasons),
        equity=exposure.equity if exposure else 0.0,
        exposure=exposure.total if exposure else 0.0,
        drawdown=exposure.drawdown if exposure else 0.0,
        value_at_risk=value_at_risk(seen.risk.book) if seen else 0.0,
        reserved=0.0,
    )


def _update(state: RiskState, event: OrderEvent) -> Note | None:
    """Return what an event of the gateway changes in its account."""
    if event.kind is OrderEventKind.SUBMITTING:
        return None
    direction = _SIGN[event.side]
    if event.filled > 0.0 and not direction:
        raise InvalidPacket(
            f"Expected a side for {event.filled} units filled, was none, in flow {event.flow_id}"
        )
    account = state.accounts.get(event.account) or Account(0.0)
    fill = account.fill(
        event.flow_id,
        event.symbol,
        direction,
        event.filled,
        event.price,
        event.fee,
        final=event.flow_state is not FlowState.OPEN,
    )
    fields = {
        "flow_id": event.flow_id,
        "account": event.account,
        "symbol": event.symbol,
        "client_order_id": event.client_order_id,
        "kind": event.kind,
        "flow_state": event.flow_state,
        "side": event.side,
        "quantity": event.filled,
        "price": event.price,
        "fee": event.fee,
        "released": fill.released,
        "position": fill.position,
        "cash": fill.cash,
        "realised": fill.realised,
    }
    return Note(PortfolioUpdate, fields)


def _apply_update(state: RiskState, record: PortfolioUpdate) -> None:
    account = state.account(record.account)
    final = record.flow_state is not FlowState.OPEN
    direction = _SIGN[record.side]
    fill = account.fill(
        record.flow_id,
        record.symbol,
        direction,
        record.quantity,
        record.price,
        record.fee,
        final=final,
    )
    # The record is what counts; only the average price, which it does not hold, is worked out.
    recorded = replace(
        fill,
        position=record.position,
        cash=record.cash,
        realised=record.realised,
        released=record.released,
    )
    mark = state.market.mark(record.symbol) or record.price
    account.settle(record.flow_id, record.symbol, record.quantity, recorded, mark, final=final)
