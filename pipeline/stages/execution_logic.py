"""The execution stage: risk assessments to order plans; ends the flow.

What needs no memory is worked out for the whole round at once; volumes and the monitor's averages
are those of the records before each input, so rounds may be cut anywhere.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from pipeline.control.state import TradingState
from pipeline.errors import ForeignRecord, RoutingError
from pipeline.packets.identity import client_order_id
from pipeline.packets.models import (
    ChildOrder,
    Execution,
    ExecutionPlan,
    Outcome,
    PolicyStamp,
    PortfolioUpdate,
    RiskAssessment,
    Superposition,
)
from pipeline.packets.superposition import coherence
from pipeline.packets.vocabulary import Action, OrderType, OutcomeKind, Side, Verdict
from pipeline.policies import execution as policy
from pipeline.policies.execution.control import Mandate
from pipeline.policies.execution.decision import Conditions, Plan, plan
from pipeline.policies.execution.monitor import ExecutionState
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.execution.timing import expected_half_spread, schedule
from pipeline.policies.execution.views import HOLD, View
from pipeline.stages.contract import Context, Draft, Input, Note, seal
from pipeline.stages.reasons import ExecutionReason
from pipeline.stages.views import policy_hash, policy_stamp

__all__ = ["ExecutionLogic"]

_STAGE = "execution"
_SIGN = {Side.BUY: 1, Side.SELL: -1, Side.NONE: 0}
_DIRECTION = {Action.BUY: 1, Action.SELL: -1}
_PASSING = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
_NO_BAR = -1.0


class ExecutionLogic:
    """Decides which orders carry out what risk let through; see `StageLogic`.

    Args:
        settings: The parameters.
    """

    def __init__(self, settings: ExecutionSettings | None = None) -> None:
        self._settings = settings or ExecutionSettings()
        self.policy_sha256 = policy_hash(policy, self._settings)

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return _STAGE

    def initial(self) -> ExecutionState:
        """Return the state before the first record: nothing known of any symbol."""
        return ExecutionState()

    def decide(
        self, state: ExecutionState, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft | Note | None]:
        """Yield one item per input, in order; see `StageLogic.decide`.

        Each decision sees the records before it, so `apply` must run between two items.

        Raises:
            RoutingError: A packet that does not belong here.
        """
        decidable = _decidable(inputs)
        conditions = _conditions([inputs[index] for index in decidable], self._settings)
        known = dict(zip(decidable, conditions, strict=True))
        sequence = context.state_sequence
        for index, item in enumerate(inputs):
            output = self._decide(state, item, known.get(index), context, sequence)
            if output is not None:
                sequence += 1
            yield output

    def apply(self, state: ExecutionState, record: Struct) -> None:
        """Fold a record of the execution log into `state`.

        Raises:
            ForeignRecord: If it is none.
        """
        if not isinstance(record, ExecutionPlan):
            raise ForeignRecord(f"Expected an ExecutionPlan, was a {type(record).__name__}")
        memory = self._settings.monitor_memory
        if record.bar is not None:
            bar, symbol = record.bar, state.open(record.envelope.symbol)
            spread = expected_half_spread(bar.high, bar.low, bar.close, self._settings)
            symbol.take_bar(bar.volume, spread, memory)
        done = record.execution
        if done is not None and done.orders:
            symbol = state.open(record.envelope.symbol)
            symbol.take_plan(done.participation, done.expected_slippage, memory)

    def dump(self, state: ExecutionState) -> bytes:
        """Return `state` as bytes, for a snapshot."""
        return state.dump()

    def load(self, data: bytes) -> ExecutionState:
        """Return the state that `data` is the dump of.

        Raises:
            PositionLost: If it was written by another version.
        """
        return ExecutionState.load(data)

    def _decide(
        self,
        state: ExecutionState,
        item: Input,
        conditions: Conditions | None,
        context: Context,
        sequence: int,
    ) -> Draft | None:
        if item.fate is not None:
            return Draft(outcome=item.fate)
        if isinstance(item.packet, PortfolioUpdate):
            return None
        if not isinstance(item.packet, RiskAssessment):
            raise RoutingError(
                "Expected a RiskAssessment or a PortfolioUpdate,"
                f" was a {type(item.packet).__name__}",
                topic=item.topic,
                partition=item.partition,
                offset=item.offset,
            )
        mandate = _mandate(item.packet, item.now, context.control.trading_state)
        symbol = state.of(item.packet.envelope.symbol)
        decided = plan(mandate, conditions or _BLIND, symbol, self._settings)
        stamp = policy_stamp(_STAGE, self.policy_sha256, context, sequence - context.state_sequence)
        return _draft(item.packet, decided, conditions or _BLIND, stamp)


_BLIND = Conditions(0.0, market=False, window_ms=0, half_spread=0.0, volatility=0.0)


def _decidable(inputs: Sequence[Input]) -> list[int]:
    """Return the indexes of the inputs that may lead to orders."""
    return [
        index
        for index, item in enumerate(inputs)
        if item.fate is None
        and isinstance(item.packet, RiskAssessment)
        and item.packet.bar is not None
        and item.packet.risk is not None
        and item.packet.risk.verdict in _PASSING
    ]


def _conditions(items: Sequence[Input], settings: ExecutionSettings) -> list[Conditions]:
    """Return the conditions of each input, worked out for all at once."""
    if not items:
        return []
    bars, signals, clock = [], [], []
    for item in items:
        packet, envelope = item.packet, item.packet.envelope
        bars.append((packet.bar.high, packet.bar.low, packet.bar.close))
        confidence = packet.tactical.confidence if packet.tactical else 0.0
        signals.append((confidence, _volatility(packet)))
        clock.append((envelope.accepted_at, envelope.deadline, item.now))
    rows = np.array(signals, dtype=np.float64)
    timing = schedule(
        bars=np.array(bars, dtype=np.float64),
        confidence=rows[:, 0],
        volatility=rows[:, 1],
        clock=np.array(clock, dtype=np.int64),
        settings=settings,
    )
    columns = zip(
        timing.urgency.tolist(),
        timing.market.tolist(),
        timing.window_ms.tolist(),
        timing.half_spread.tolist(),
        signals,
        strict=True,
    )
    return [
        Conditions(urgency, market, window_ms, half_spread, volatility)
        for urgency, market, window_ms, half_spread, (_, volatility) in columns
    ]


def _volatility(packet: RiskAssessment) -> float:
    return packet.strategic.volatility if packet.strategic else 0.0


def _mandate(packet: RiskAssessment, now_us: int, trading: TradingState) -> Mandate:
    risk, envelope = packet.risk, packet.envelope
    reduces = risk is not None and risk.reducing
    bounds = risk.envelope if risk else None
    return Mandate(
        approved=risk is not None and risk.verdict in _PASSING,
        halted=trading is TradingState.HALTED,
        barred=trading is TradingState.REDUCING and not reduces,
        direction=_SIGN[bounds.side] if bounds else 0,
        signal=_DIRECTION.get(packet.tactical.action, 0) if packet.tactical else 0,
        quantity=bounds.max_quantity if bounds else 0.0,
        price=bounds.reference_price if bounds else 0.0,
        stop=bounds.stop if bounds else 0.0,
        target=bounds.target if bounds else 0.0,
        volume=packet.bar.volume if packet.bar else _NO_BAR,
        event_time_us=envelope.event_time,
        deadline_us=envelope.deadline,
        now_us=now_us,
    )


def _draft(
    packet: RiskAssessment, decided: Plan, conditions: Conditions, stamp: PolicyStamp
) -> Draft:
    execution = Execution(
        orders=_orders(packet, decided, conditions),
        urgency=conditions.urgency,
        participation=decided.participation,
        expected_slippage=decided.slippage,
        reasons=decided.reasons,
    )
    views = tuple(map(_superposition, decided.views))
    return Draft({"execution": execution, "views": views}, _outcome(decided), stamp)


def _orders(
    packet: RiskAssessment, decided: Plan, conditions: Conditions
) -> tuple[ChildOrder, ...]:
    if packet.risk is None:
        return ()
    return tuple(
        ChildOrder(
            client_order_id=client_order_id(packet.envelope.flow_id, index),
            side=packet.risk.envelope.side,
            quantity=part.quantity,
            order_type=OrderType.MARKET if conditions.market else OrderType.LIMIT,
            limit_price=part.limit_price,
            delay_ms=part.delay_ms,
        )
        for index, part in enumerate(decided.slices)
    )


def _outcome(decided: Plan) -> Outcome:
    if decided.slices:
        return seal(OutcomeKind.EXECUTED, _STAGE)
    if ExecutionReason.DEADLINE_PASSED in decided.reasons:
        kind = OutcomeKind.EXPIRED
    else:
        kind = OutcomeKind.HELD if decided.path == HOLD else OutcomeKind.REJECTED
    return seal(kind, _STAGE, *decided.reasons)


def _superposition(view: View) -> Superposition:
    """Return a view as what it is by construction, a distribution with its step the likeliest."""
    chances = view.distribution()
    return Superposition(view.agent, chances, max(chances.values()), coherence(chances))
