"""Histories in memory: what a stage would have left in Kafka, and a reader of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from pipeline.control.state import ControlView, TradingState
from pipeline.errors import PositionLost
from pipeline.packets.codec import encode
from pipeline.packets.models import Bar, MarketData
from pipeline.replay.reading import Entry
from pipeline.replay.recompute import Recorded
from pipeline.settings import Settings, load_settings
from pipeline.stages.contract import Context, Draft, StageLogic
from pipeline.stages.fencing import FencedLogic
from pipeline.stages.intake import Intake
from pipeline.stages.records import RecordWriter
from pipeline.stages.routes import ROUTES
from pipeline.transport.log import Position
from tests.unit.stages.engine_factories import MARKET, NOW, market_data

ACTIVE = ControlView(TradingState.ACTIVE, 4, current=True)
SETTINGS: Settings = load_settings(broker=None)
STRATEGIC = "cascade.strategic"


class FakeReader:
    """Topics in memory, read as a `TopicReader` reads them."""

    def __init__(self, topics: Mapping[tuple[str, int], Sequence[Entry]]) -> None:
        self.topics = dict(topics)
        self.reads: list[tuple[str, int, int, int]] = []

    def partitions(self, topic: str) -> tuple[int, ...]:
        return tuple(sorted(partition for name, partition in self.topics if name == topic))

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        entries = self.topics.get((topic, partition), ())
        return (entries[0].offset, entries[-1].offset + 1) if entries else (0, 0)

    def offset_at(self, topic: str, partition: int, time_us: int) -> int:
        entries = self.topics.get((topic, partition), ())
        found = (each.offset for each in entries if each.timestamp_ms * 1000 >= time_us)
        return next(found, self.bounds(topic, partition)[1])

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Entry]:
        self.reads.append((topic, partition, start, end))
        for entry in self.topics.get((topic, partition), ()):
            if start <= entry.offset < end:
                yield entry

    def one(self, topic: str, partition: int, offset: int) -> Entry:
        for entry in self.read(topic, partition, offset, offset + 1):
            return entry
        raise PositionLost("Expected a record, was none")


def entry(topic: str, offset: int, value: bytes | None, at_ms: int = NOW // 1000) -> Entry:
    """Return a record of partition 0."""
    return Entry(topic, 0, offset, at_ms, b"key", value)


def packets(count: int, symbol: str = "AAPL") -> list[MarketData]:
    """Return market data of one symbol, in sequence; prices go up and down."""
    found = []
    for sequence in range(count):
        price = 100.0 + (sequence * 7 % 13) * 0.3 + sequence * 0.05
        bar = Bar(price, price + 0.5, price - 0.5, price + 0.2, 1000.0 + sequence, 60)
        found.append(structs.replace(market_data(symbol, sequence), bar=bar))
    return found


def history(
    logic: StageLogic[Any],
    values: Sequence[MarketData | bytes],
    settings: Settings = SETTINGS,
    *,
    view: ControlView = ACTIVE,
    build: str = "build",
    retries: int = 0,
    instead: Draft | None = None,
) -> list[Recorded]:
    """Return what a worker of the strategic stage would have recorded of its inputs.

    Args:
        logic: The stage.
        values: The inputs.
        settings: Settings.
        view: What was in force.
        build: Of the worker.
        retries: Retries of each record.
        instead: What was recorded instead of what the stage decided.
    """
    route, state = ROUTES["strategic"], logic.initial()
    intake, writer = Intake(route, settings), RecordWriter(route, "owner", build, "main")
    found = []
    for offset, value in enumerate(values):
        source = entry(MARKET, offset, value if isinstance(value, bytes) else encode(value))
        given = intake.read(
            (MARKET, 0), offset, source.timestamp_ms, source.key, source.value, -1, -1, (-1, -1),
            NOW + 100, NOW + 200,
        )  # fmt: skip
        context = Context(view, offset - 1)
        item = instead or next(iter(FencedLogic(logic).decide(state, [given], context)))
        assert item is not None
        journal = writer.journal(given, offset, 0, Position(offset + 1, -1, -1), view)
        record, data = writer.written(given, item, journal, retries, NOW + 200, NOW + 300)
        logic.apply(state, record)
        found.append(Recorded(entry(STRATEGIC, offset + 1, data), record, source, view))
    return found
