"""What a record of the last log tells of how far packets have come."""

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition
from msgspec.structs import replace

from pipeline.packets.codec import encode
from pipeline.packets.models import ExecutionPlan, Journal, Outcome, Trace
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import load_settings
from pipeline.stages.contract import seal
from pipeline.stages.fates import Fate
from pipeline.stages.overload import Throughput
from pipeline.stages.progress import ProgressReader, progress_of
from tests.unit.stages.engine_factories import NOW, FakeMessage, marker, market_data

JOURNAL = Journal(0, 0, "cascade.risk", 0, 0, 0, 0, 1, 0, 0, NOW, 0, "owner", "build")
TRACE = (
    Trace("strategic", NOW, NOW + 5, NOW + 9),
    Trace("execution", NOW + 20, NOW + 30, NOW + 40),
)
HELD = seal(OutcomeKind.HELD, "strategic", "WARMUP")


def plan(outcome: Outcome = HELD, **changes: Any) -> ExecutionPlan:
    """Return a record of the last log."""
    envelope = replace(market_data().envelope, trace=TRACE, outcome=outcome, **changes)
    return ExecutionPlan(JOURNAL, envelope)


class Told(Throughput):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, int, int | None]] = []

    def came_out(self, at_us: int, out_us: int, deadline_us: int | None) -> None:
        self.heard.append((at_us, out_us, deadline_us))


def told(values: Sequence[bytes]) -> list[tuple[int, int, int | None]]:
    """Return what a fetch of these values tells."""
    throughput = Told()
    settings = load_settings(broker="127.0.0.1:1")
    reader = ProgressReader(settings, "strategic", "cascade.execution", throughput)
    reader.take([cast(Message, FakeMessage(value, n)) for n, value in enumerate(values)])
    return throughput.heard


def test_a_record_tells_when_its_round_began_and_when_it_was_done() -> None:
    """By the trace: the first stage's start, the last stage's end, and the deadline."""
    assert (NOW + 5, NOW + 40, NOW + 100_000) == progress_of(plan(), "strategic")


def test_what_was_late_at_the_first_stage_has_no_deadline_to_measure_by() -> None:
    """It comes out in its turn all the same; what a later stage found late is another matter."""
    for kind, reason in ((OutcomeKind.SHED, Fate.OVERLOAD), (OutcomeKind.EXPIRED, Fate.DEADLINE)):
        here, there = (plan(seal(kind, stage, reason)) for stage in ("strategic", "risk"))
        assert (NOW + 5, NOW + 40, None) == progress_of(here, "strategic")
        assert (NOW + 5, NOW + 40, NOW + 100_000) == progress_of(there, "strategic")


def test_urgent_packets_tell_nothing() -> None:
    """They overtake, so those accepted before them may still be under way."""
    assert progress_of(plan(priority=2), "strategic") is None


def test_the_newest_of_a_fetch_is_told() -> None:
    """Markers, noise and urgent packets behind it are passed over."""
    older, newer = plan(), plan(deadline=NOW + 7)
    values = [encode(older), encode(newer), encode(plan(priority=3)), b"noise", marker()]
    assert [(NOW + 5, NOW + 40, NOW + 7)] == told(values)
    assert [] == told([b"noise", marker()])


class _Log:
    """The last log, which ends the reader when it was polled once."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self.assigned: list[int] = []
        self.unassigned = 0

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None})})

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.assigned += [each.offset for each in partitions]

    def unassign(self) -> None:
        self.unassigned += 1

    def poll(self, timeout: float) -> None:
        self._stop()


class _NotNeeded(threading.Event):
    """Ends the reader when it has been waited for once, in vain."""

    stop: Callable[[], None]

    def wait(self, timeout: float | None = None) -> bool:
        self.stop()
        return False


def _followed(needed: threading.Event) -> _Log:
    settings = load_settings(broker="127.0.0.1:1")
    reader = ProgressReader(settings, "strategic", "cascade.execution", Told(), needed)
    log = _Log(reader.stop)
    if isinstance(needed, _NotNeeded):
        needed.stop = reader.stop
    reader._follow(cast(Consumer, log))
    return log


def test_nothing_is_read_while_nobody_needs_it() -> None:
    """So a pipeline with little to do pays nothing; when it is needed it begins at the end."""
    needed = threading.Event()
    needed.set()
    assert [] == _followed(_NotNeeded()).assigned
    log = _followed(needed)
    assert ([OFFSET_END], 1) == (log.assigned, log.unassigned)
