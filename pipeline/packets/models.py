"""What flows: the packets and log records, field for field as in `schemas/`.

Packets are frozen: a stage derives a new one with `msgspec.structs.replace`. Times are integers,
microseconds since the Unix epoch, UTC. Numbers are finite; the constraints below refuse NaN and
infinities both when a packet is written and when it is read. Packets hold no cycles, so Python's
cycle collector need not look at them.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from pipeline.packets.vocabulary import (
    Action,
    FlowState,
    OrderEventKind,
    OrderType,
    OutcomeKind,
    Regime,
    Side,
    SuperpositionType,
    Verdict,
)

__all__ = [
    "Bar",
    "ChildOrder",
    "Cursor",
    "DeadLetter",
    "Envelope",
    "Execution",
    "ExecutionPlan",
    "Journal",
    "Marker",
    "MarketData",
    "OrderEvent",
    "Outcome",
    "PacketRun",
    "PolicyStamp",
    "PortfolioUpdate",
    "Risk",
    "RiskAssessment",
    "RiskEnvelope",
    "RunPacket",
    "SandboxRecord",
    "Snapshot",
    "Strategic",
    "StrategicSignal",
    "Superposition",
    "Tactical",
    "TacticalSignal",
    "Trace",
]

_LARGEST = 1e300
Finite = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
NonNegative = Annotated[float, Meta(ge=0.0, le=_LARGEST)]
Positive = Annotated[float, Meta(gt=0.0, le=_LARGEST)]
Ratio = Annotated[float, Meta(ge=-1e-9, le=1.0 + 1e-9)]
Signed = Annotated[float, Meta(ge=-1.0 - 1e-9, le=1.0 + 1e-9)]
Long = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Int = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=4096)]
Reasons = Annotated[tuple[Name, ...], Meta(max_length=64)]
Distribution = Mapping[str, Ratio]


class Trace(Struct, frozen=True, gc=False):
    """Times of one stage's work on a packet."""

    stage: Name
    received: Count
    started: Count
    finished: Count


class PolicyStamp(Struct, frozen=True, gc=False):
    """Which policy decided, and the log sequence of the last record in the state it saw."""

    name: Name
    version: Name
    sha256: Text
    state_sequence: Long


class Bar(Struct, frozen=True, gc=False):
    """One bar of market data; prices positive, volume in units."""

    open: Positive
    high: Positive
    low: Positive
    close: Positive
    volume: NonNegative
    interval_s: Annotated[int, Meta(ge=1, le=2**31 - 1)]


class RunPacket(Struct, frozen=True, gc=False):
    """One packet of a run: who it is, and its bar, so that windows have no gap."""

    offset: Long
    flow_id: Name
    symbol: Name
    sequence: Count
    event_time: Count
    accepted_at: Count
    deadline: Count
    bar: Bar


class PacketRun(Struct, frozen=True, gc=False):
    """Packets of one input partition that ended alike and share one record, in order of offset.

    Offsets between the first and the last that none of them has belong to other records.
    """

    first_offset: Long
    last_offset: Long
    packets: Annotated[tuple[RunPacket, ...], Meta(max_length=10_000)]


class Outcome(Struct, frozen=True, gc=False):
    """The sealed fate of a flow; of several, where there is a `run`, whose last is the envelope's.

    See `pipeline.packets.runs`.
    """

    kind: OutcomeKind
    stage: Name
    reasons: Reasons
    detail: Text = ""
    run: PacketRun | None = None


class Envelope(Struct, frozen=True, gc=False):
    """What every packet carries, whatever its stage."""

    flow_id: Name
    packet_id: Name
    parent_id: Text
    packet_type: SuperpositionType
    source_system: Name
    target_system: Name
    symbol: Name
    account: Name
    sequence: Count
    priority: Annotated[int, Meta(ge=1, le=3)]
    event_time: Count
    accepted_at: Count
    deadline: Count
    retry_count: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    max_retries: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    trace: Annotated[tuple[Trace, ...], Meta(max_length=16)]
    policy: PolicyStamp | None = None
    outcome: Outcome | None = None


class Journal(Struct, frozen=True, gc=False):
    """Where a log record stands and what it was made from.

    `halted` says whether trading was HALTED for its worker: by the control log as of
    `control_epoch`, or by the worker itself, which the log cannot tell.
    """

    log_sequence: Long
    epoch: Long
    input_topic: Name
    input_partition: Int
    input_offset: Long
    input_epoch: Long
    input_sequence: Long
    resume_offset: Long
    resume_epoch: Long
    resume_sequence: Long
    now: Long
    control_epoch: Long
    owner: Text
    build: Text
    halted: bool = False


class Superposition(Struct, frozen=True, gc=False):
    """A categorical distribution over named actions; see `pipeline.packets.superposition`."""

    source: Name
    distribution: Distribution
    confidence: Ratio
    coherence: Ratio


class Strategic(Struct, frozen=True, gc=False):
    """Decision of the strategic stage."""

    signal_strength: Signed
    confidence: Ratio
    coherence: Ratio
    action: Action
    distribution: Distribution
    regime: Regime
    volatility: NonNegative


class Tactical(Struct, frozen=True, gc=False):
    """Decision of the tactical stage."""

    action: Action
    probability: Ratio
    confidence: Ratio
    coherence: Ratio
    distribution: Distribution
    entry: NonNegative
    momentum: Finite
    volume_ratio: NonNegative
    atr: NonNegative
    reasons: Reasons


class RiskEnvelope(Struct, frozen=True, gc=False):
    """Bounds within which execution may act."""

    side: Side
    max_quantity: NonNegative
    reference_price: NonNegative
    stop: NonNegative
    target: NonNegative


class Risk(Struct, frozen=True, gc=False):
    """Decision of the risk stage, with the account as it saw it."""

    verdict: Verdict
    risk_score: Ratio
    reasons: Reasons
    envelope: RiskEnvelope
    recommendations: Reasons
    equity: Finite
    exposure: NonNegative
    drawdown: NonNegative
    value_at_risk: NonNegative
    reserved: NonNegative
    reducing: bool = False


class ChildOrder(Struct, frozen=True, gc=False):
    """One order to the venue."""

    client_order_id: Name
    side: Side
    quantity: Positive
    order_type: OrderType
    limit_price: Positive
    delay_ms: Count


class Execution(Struct, frozen=True, gc=False):
    """Decision of the execution stage."""

    orders: Annotated[tuple[ChildOrder, ...], Meta(max_length=256)]
    urgency: Ratio
    participation: NonNegative
    expected_slippage: NonNegative
    reasons: Reasons


class MarketData(Struct, frozen=True, gc=False):
    """Ingest packet: one bar of one symbol."""

    envelope: Envelope
    bar: Bar


class StrategicSignal(Struct, frozen=True, gc=False):
    """Record of the strategic log."""

    journal: Journal
    envelope: Envelope
    bar: Bar | None = None
    strategic: Strategic | None = None
    views: tuple[Superposition, ...] = ()


class TacticalSignal(Struct, frozen=True, gc=False):
    """Record of the tactical log."""

    journal: Journal
    envelope: Envelope
    bar: Bar | None = None
    strategic: Strategic | None = None
    tactical: Tactical | None = None
    views: tuple[Superposition, ...] = ()


class RiskAssessment(Struct, frozen=True, gc=False):
    """Record of the risk log for a packet."""

    journal: Journal
    envelope: Envelope
    bar: Bar | None = None
    strategic: Strategic | None = None
    tactical: Tactical | None = None
    risk: Risk | None = None
    views: tuple[Superposition, ...] = ()


class ExecutionPlan(Struct, frozen=True, gc=False):
    """Record of the execution log; ends the flow."""

    journal: Journal
    envelope: Envelope
    bar: Bar | None = None
    strategic: Strategic | None = None
    tactical: Tactical | None = None
    risk: Risk | None = None
    execution: Execution | None = None
    views: tuple[Superposition, ...] = ()


class PortfolioUpdate(Struct, frozen=True, gc=False):
    """Record of the risk log for a fill: what it changed in the account."""

    journal: Journal
    flow_id: Name
    account: Name
    symbol: Name
    client_order_id: Text
    kind: OrderEventKind
    flow_state: FlowState
    side: Side
    quantity: NonNegative
    price: NonNegative
    fee: NonNegative
    released: NonNegative
    position: Finite
    cash: Finite
    realised: Finite


class OrderEvent(Struct, frozen=True, gc=False):
    """Record of the fills log: what happened to a child order or to a whole flow."""

    journal: Journal
    flow_id: Name
    plan_id: Name
    account: Name
    symbol: Name
    client_order_id: Text
    kind: OrderEventKind
    flow_state: FlowState
    side: Side
    quantity: NonNegative
    filled: NonNegative
    price: NonNegative
    fee: NonNegative
    venue_order_id: Text
    event_time: Count
    accepted_at: Count
    deadline: Count
    reasons: Reasons


class Marker(Struct, frozen=True, gc=False):
    """Opens an epoch of a log; its offset is the epoch."""

    token: Name
    stage: Name
    partition: Int
    owner: Name
    build: Text
    time: Count


class Cursor(Struct, frozen=True, gc=False):
    """Where an input partition is resumed, with the reading rule's position there."""

    topic: Name
    partition: Int
    offset: Long
    epoch: Long
    sequence: Long
    done: tuple[Long, ...] = ()


class Snapshot(Struct, frozen=True, gc=False):
    """One chunk of a stage's state as of a position of its log; valid with its last chunk."""

    snapshot_id: Name
    stage: Name
    partition: Int
    chunk: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    chunks: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    log_offset: Long
    log_epoch: Long
    log_sequence: Long
    cursors: tuple[Cursor, ...]
    created_at: Count
    sha256: Name
    data: bytes


class SandboxRecord(Struct, frozen=True, gc=False):
    """What a replay made of a record: a type of its own, so that nobody takes it for one of a log.

    `value` is the record that came out, as its stage would have written it; empty where none did.
    """

    replay_id: Name
    topic: Name
    partition: Int
    offset: Long
    flow_id: Text
    agreement: Name
    made_at: Count
    value: bytes


class DeadLetter(Struct, frozen=True, gc=False, rename={"error_class": "class"}):
    """Why a record was dead-lettered; travels as headers beside the unchanged bytes."""

    topic: Name
    partition: Int
    offset: Long
    timestamp: Long
    group: Text
    stage: Name
    error_class: Name
    message: Text
    attempt: Int
    first_seen: Count
    packet_id: Text


LogRecord = (
    StrategicSignal | TacticalSignal | RiskAssessment | ExecutionPlan | PortfolioUpdate | OrderEvent
)
