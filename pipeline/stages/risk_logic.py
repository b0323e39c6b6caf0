"""The risk stage: tactical signals and fills to assessments and portfolio updates.

One sequencer per account group: inputs are decided one after the other, each under the
reservations of those before it, so limits are exact. What depends on the signals alone is worked
out for the whole round at once (`risk_intents`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from msgspec import Struct, structs

from pipeline.control.scope import Scope, ScopeKind
from pipeline.control.state import TradingState
from pipeline.control.trips import Trips
from pipeline.control.tripwire import Tripped
from pipeline.errors import ForeignRecord, InvalidPacket, RoutingError
from pipeline.packets.models import (
    OrderEvent,
    PolicyStamp,
    PortfolioUpdate,
    Risk,
    RiskAssessment,
    RiskEnvelope,
    Superposition,
    TacticalSignal,
)
from pipeline.packets.superposition import coherence
from pipeline.packets.vocabulary import (
    FlowState,
    OrderEventKind,
    OutcomeKind,
    Side,
    Verdict,
)
from pipeline.policies import risk as policy
from pipeline.policies.risk.book import Account, Exposure, Reservation, Trade, money
from pipeline.policies.risk.decision import Assessment, assess
from pipeline.policies.risk.market import Market
from pipeline.policies.risk.monitor import Moments, moments, value_at_risk
from pipeline.policies.risk.reasons import recommend
from pipeline.policies.risk.settings import RiskSettings
from pipeline.policies.risk.state import RiskState
from pipeline.policies.risk.views import View
from pipeline.settings import Settings
from pipeline.stages.contract import Context, Draft, Input, Note, seal
from pipeline.stages.reasons import RiskReason
from pipeline.stages.risk_intents import Intent, is_shut, prepare, refusals
from pipeline.stages.views import policy_hash, policy_stamp

__all__ = ["RiskLogic"]

_STAGE = "risk"
_SIDE = {1: Side.BUY, -1: Side.SELL}
_SIGN = {Side.BUY: 1, Side.SELL: -1, Side.NONE: 0}
_PASSING = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
_NO_ENVELOPE = RiskEnvelope(Side.NONE, 0.0, 0.0, 0.0, 0.0)
_NO_RISK = Moments(0.0, 0.0, 0.0)


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
        self.policy_sha256 = policy_hash(policy, self._settings)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the risk stage for the account and the equity of `settings`."""
        accounts = ((settings.account, settings.initial_equity),)
        return cls(RiskSettings(accounts=accounts))

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return _STAGE

    @property
    def settings(self) -> RiskSettings:
        """The limits."""
        return self._settings

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
        intents = prepare(inputs, self._settings)
        sequence = context.state_sequence
        for index, item in enumerate(inputs):
            output = self._decide(state, item, intents.get(index), context, sequence)
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

    def tripped(self, state: RiskState, trips: Trips) -> Iterator[Tripped]:
        """Yield the throttles that have tripped and were not reset since."""
        for account in state.accounts.values():
            for symbol, throttle in account.throttles.items():
                if is_shut(throttle, symbol, trips):
                    yield Tripped(
                        str(Scope(ScopeKind.THROTTLE, symbol)),
                        f"more than {self._settings.throttle_orders} orders in one direction within"
                        f" {self._settings.throttle_window_us / 1e6:g} s",
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

    def _decide(
        self, state: RiskState, item: Input, intent: Intent | None, context: Context, sequence: int
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
        trading = context.control.trading_state
        halted = trading is TradingState.HALTED
        trips = context.control.trips
        reasons = refusals(state, item, item.packet, self._settings, trips, halted=halted)
        stamp = policy_stamp(_STAGE, self.policy_sha256, context, sequence - context.state_sequence)
        reducing = trading is TradingState.REDUCING
        return self._judge(state, item.packet, intent, reasons, stamp, trips, reducing=reducing)

    def _judge(
        self,
        state: RiskState,
        packet: TacticalSignal,
        intent: Intent | None,
        reasons: tuple[RiskReason, ...],
        stamp: PolicyStamp,
        trips: Trips,
        *,
        reducing: bool,
    ) -> Draft:
        account = state.accounts.get(packet.envelope.account)
        seen = _look(state.market, account, packet.envelope.symbol, intent)
        if reasons or account is None or seen is None or intent is None:
            return _refuse(seen, reasons, stamp)
        if seen.exposure.equity <= 0.0:
            return _refuse(seen, (RiskReason.EQUITY_EXHAUSTED,), stamp, Verdict.EMERGENCY_STOP)
        signal = intent.signal(state.market, reducing=reducing)
        assessment = assess(signal, seen.exposure, seen.risk, self._settings)
        if assessment.quantity > 0.0 and self._repeats(account, intent, trips):
            return _refuse(seen, (RiskReason.REPEATED_ORDERS,), stamp)
        return _draft(intent, seen, assessment, stamp)

    def _repeats(self, account: Account, intent: Intent, trips: Trips) -> bool:
        throttle = account.throttle(intent.symbol)
        if throttle.tripped and not is_shut(throttle, intent.symbol, trips):
            return False  # it was reset: what came before does not count any more
        since_us = intent.event_time_us - self._settings.throttle_window_us
        count = throttle.count(intent.direction, since_us)
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
            account.trip(envelope.symbol, record.journal.control_epoch)
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


def _look(
    market: Market, account: Account | None, symbol: str, intent: Intent | None
) -> _Seen | None:
    """Return the account as the intent finds it; None where there is no such account."""
    if account is None:
        return None
    direction, price = (intent.direction, intent.price) if intent else (1, market.mark(symbol))
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
    late = RiskReason.DEADLINE_PASSED in reasons
    kind = OutcomeKind.EXPIRED if late else OutcomeKind.REJECTED
    risk = _risk(seen, verdict, 1.0, reasons)
    return Draft({"risk": risk}, seal(kind, _STAGE, *reasons), stamp)


def _draft(intent: Intent, seen: _Seen, assessment: Assessment, stamp: PolicyStamp) -> Draft:
    verdict = Verdict(assessment.verdict)
    risk = _risk(seen, verdict, assessment.score, assessment.reasons)
    views = tuple(map(_superposition, assessment.views))
    if verdict not in _PASSING:
        fate = seal(OutcomeKind.REJECTED, _STAGE, *assessment.reasons)
        return Draft({"risk": risk, "views": views}, fate, stamp)
    envelope = RiskEnvelope(
        side=_SIDE[intent.direction],
        max_quantity=assessment.quantity,
        reference_price=intent.price,
        stop=intent.stop,
        target=intent.target,
    )
    reserved = money(assessment.quantity * intent.price, up=True)
    approved = structs.replace(
        risk, envelope=envelope, reserved=reserved, reducing=assessment.reducing
    )
    return Draft({"risk": approved, "views": views}, None, stamp)


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
    fill = account.fill(_trade(event, event.filled))
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
    trade = _trade(record, record.quantity)
    # The record is what counts; only the average price, which it does not hold, is worked out.
    fill = replace(
        account.fill(trade),
        position=record.position,
        cash=record.cash,
        realised=record.realised,
        released=record.released,
    )
    account.settle(trade, fill, state.market.mark(record.symbol) or record.price)


def _trade(source: OrderEvent | PortfolioUpdate, units: float) -> Trade:
    return Trade(
        flow_id=source.flow_id,
        symbol=source.symbol,
        direction=_SIGN[source.side],
        units=units,
        price=source.price,
        fee=source.fee,
        final=source.flow_state is not FlowState.OPEN,
    )


def _superposition(view: View) -> Superposition:
    """Return a view as what it is by construction, a distribution with its step the likeliest."""
    chances = view.distribution()
    return Superposition(view.agent, chances, max(chances.values()), coherence(chances))
