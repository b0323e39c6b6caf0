"""Hand-written stand-ins for what surrounds the engine: messages, a host, a stage's decisions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import Message

from pipeline.control.state import ControlView, TradingState
from pipeline.errors import OwnershipLost
from pipeline.packets.codec import decode, encode
from pipeline.packets.identity import flow_id, packet_id
from pipeline.packets.models import Bar, Envelope, Marker, MarketData, Strategic
from pipeline.packets.vocabulary import Action, Regime, SuperpositionType
from pipeline.settings import Settings, load_settings
from pipeline.stages.contract import Context, Draft, Input
from pipeline.stages.engine import StageEngine
from pipeline.stages.overload import Throughput
from pipeline.stages.routes import ROUTES
from pipeline.testing import ManualClock
from pipeline.transport.credit import Credit
from pipeline.transport.journal import Ownership, input_readers
from pipeline.transport.log import InputPosition, Position
from pipeline.transport.rounds import Round

NOW = ManualClock().now_us()
MARKET = "cascade.market"
DECISION = Strategic(0.5, 0.6, 0.3, Action.BUY, {"BUY": 0.6, "HOLD": 0.4}, Regime.RANGE, 0.01)


@dataclass
class FakeMessage:
    """A record as a consumer returns it."""

    value_: bytes | None
    offset_: int
    topic_: str = MARKET
    partition_: int = 0
    key_: bytes | None = b"key"
    headers_: Any = None

    def value(self) -> bytes | None:
        return self.value_

    def offset(self) -> int:
        return self.offset_

    def topic(self) -> str:
        return self.topic_

    def partition(self) -> int:
        return self.partition_

    def key(self) -> bytes | None:
        return self.key_

    def headers(self) -> Any:
        return self.headers_

    def timestamp(self) -> tuple[int, int]:
        return 1, NOW // 1000


def market_data(symbol: str = "AAPL", sequence: int = 0, **changes: Any) -> MarketData:
    """Return a packet of market data accepted just now."""
    flow = flow_id("market", symbol, sequence)
    fields: dict[str, Any] = {
        "flow_id": flow,
        "packet_id": packet_id(flow, "market"),
        "parent_id": "",
        "packet_type": SuperpositionType.CONTEXT_UPDATE,
        "source_system": "market",
        "target_system": "strategic",
        "symbol": symbol,
        "account": "main",
        "sequence": sequence,
        "priority": 1,
        "event_time": NOW,
        "accepted_at": NOW,
        "deadline": NOW + 100_000,
        "retry_count": 0,
        "max_retries": 2,
        "trace": (),
    }
    return MarketData(Envelope(**{**fields, **changes}), Bar(10.0, 11.0, 9.0, 10.5, 100.0, 60))


def messages(*values: bytes | MarketData | None, start: int = 0, **where: Any) -> list[FakeMessage]:
    """Return values as records in a row."""
    return [
        FakeMessage(encode(v) if isinstance(v, MarketData) else v, start + n, **where)
        for n, v in enumerate(values)
    ]


def marker(name: str = "a") -> bytes:
    """Return a marker as it stands in a log."""
    return encode(Marker(name, "strategic", 0, "owner", "build", NOW))


def taken(found: Sequence[FakeMessage], generation: int = 1) -> Round:
    """Return a round of records."""
    records: dict[tuple[str, int], list[Message]] = {}
    for each in found:
        where = (each.topic(), each.partition())
        records.setdefault(where, []).append(cast(Message, each))
    return Round(records, NOW, generation)


class FakeLogic:
    """Decides the same on each packet, or raises where it is told to.

    Args:
        fails: Says whether the policy fails on an input.
        draft: What it decides; of the decision alone where None.
    """

    stage = "strategic"

    def __init__(
        self,
        fails: Callable[[Input], bool] = lambda _: False,
        draft: Callable[[Input], Draft | None] | None = None,
    ) -> None:
        self.fails = fails
        self.draft = draft or (lambda _: Draft({"strategic": DECISION}))
        self.asked: list[list[int]] = []

    def initial(self) -> list[Any]:
        return []

    def decide(
        self, state: list[Any], inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft | None]:
        self.asked.append([each.offset for each in inputs])
        for each in inputs:
            if each.fate is not None:
                yield Draft(outcome=each.fate)
                continue
            if self.fails(each):
                raise ArithmeticError(f"no decision at {each.offset}")
            yield self.draft(each)

    def apply(self, state: list[Any], record: Any) -> None:
        state.append(record)

    def dump(self, state: list[Any]) -> bytes:
        return b""

    def load(self, data: bytes) -> list[Any]:
        return []


class FakeHost:
    """Owns partitions in memory and notes what is written, and in which order."""

    def __init__(self, ownership: Ownership) -> None:
        self.owned = {ownership.partition: ownership}
        self.generation = 1
        self.clock = ManualClock()
        self.owner = "owner"
        self.build = "build"
        self.steps: list[str] = []
        self.log: list[tuple[bytes | None, bytes]] = []
        self.headers: dict[int, Any] = {}
        self.dead: list[tuple[str, bytes | None, bytes | None, dict[str, bytes]]] = []
        self.losses: list[str] = []
        self.takes_dead_letters = True

    def write(
        self,
        ownership: Ownership,
        records: Sequence[tuple[bytes | None, bytes]],
        headers: Mapping[int, Any],
    ) -> None:
        self.steps.append("records")
        self.headers.update({len(self.log) + index: each for index, each in headers.items()})
        self.log.extend(records)

    async def produce_confirmed(self, topic: str, records: Sequence[Any]) -> None:
        if not self.takes_dead_letters:
            raise OwnershipLost("Expected dead letters to be taken, was not")
        self.steps.append("dead letters")
        self.dead.extend((topic, key, value, dict(headers)) for key, value, headers in records)

    def lose(self, why: str) -> None:
        self.losses.append(why)


class FakeControl:
    """Says what is in force."""

    def view(self) -> ControlView:
        return ControlView(TradingState.ACTIVE, 5, current=True)


def ownership_of(
    stage: str = "strategic", *where: tuple[str, int], position: Position | None = None
) -> Ownership:
    """Return an ownership of partition 0 that was just taken over, at marker 7."""
    at = position or Position(0, -1, -1)
    positions = {each: InputPosition(at, set()) for each in where or ((MARKET, 0),)}
    readers = input_readers(ROUTES[stage].spec, positions)
    return Ownership(0, 7, -1, [], positions, readers, (-1, 7))


@dataclass
class Bench:
    """An engine with all around it."""

    logic: Any = field(default_factory=FakeLogic)
    settings: Settings = field(default_factory=lambda: load_settings(broker=None))
    stage: str = "strategic"
    ownership: Ownership = field(default_factory=ownership_of)
    throughput: Throughput | None = None
    credit: Credit | None = None

    def __post_init__(self) -> None:
        self.host = FakeHost(self.ownership)
        self.engine = StageEngine(
            ROUTES[self.stage], self.logic, cast(Any, self.host), FakeControl(), self.settings,
            throughput=self.throughput, credit=self.credit,
        )  # fmt: skip

    async def work_off(self, *values: bytes | MarketData | None, start: int = 0) -> list[Any]:
        """Work one round off; return the records that it wrote."""
        before = len(self.host.log)
        await self.engine.work_off(taken(messages(*values, start=start)))
        return [decode(value) for _, value in self.host.log[before:]]

    async def work_off_log(self, log: str, *values: bytes, start: int = 0) -> list[Any]:
        """Work one round of a log off; return the records that it wrote."""
        before = len(self.host.log)
        await self.engine.work_off(taken(messages(*values, start=start, topic_=log)))
        return [decode(value) for _, value in self.host.log[before:]]

    @property
    def position(self) -> InputPosition:
        """How far the input is worked off."""
        return self.ownership.positions[MARKET, 0]
