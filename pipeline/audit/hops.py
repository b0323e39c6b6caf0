"""From log to log: each record has one made of it, made from what counts, and the two agree.

A stage's record carries what it was made from: the bar, the envelope, the earlier decisions. So
each part of a flow stands in several logs, and a copy that was changed on the way stands alone:
where a record disagrees with both of its neighbours, it is the one; where only two disagree, the
one that no third copy bears out.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple

from pipeline.audit.findings import Finding, FindingKind
from pipeline.audit.ordering import Counted, Lost
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.packets.models import OrderEvent, PortfolioUpdate
from pipeline.packets.runs import run_of
from pipeline.packets.vocabulary import OrderEventKind

__all__ = ["HOPS", "Agreement", "Disagreement", "Hop", "HopAudit", "differences", "expects_answer"]

_REMEMBERED: Final = 20_000
_PARTS = ("bar", "strategic", "tactical", "risk")
_SAME = (
    "flow_id", "symbol", "account", "sequence", "priority", "event_time", "accepted_at", "deadline",
    "max_retries",
)  # fmt: skip
_same = attrgetter(*_SAME)  # all at once: nearly always there is nothing to name
_MOST_TRACE: Final = 15

Key = tuple[int, int, int]


class Hop(NamedTuple):
    """From the topic that is read to the log that is written."""

    above: str
    below: str


HOPS: Final = (
    *(Hop(topic, "cascade.strategic") for topic in INGEST_TOPICS),
    Hop("cascade.strategic", "cascade.tactical"),
    Hop("cascade.tactical", "cascade.risk"),
    Hop("cascade.fills", "cascade.risk"),
    Hop("cascade.risk", "cascade.execution"),
)
"""Where each record that counts has exactly one made of it."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two records, one made from the other, that do not agree.

    Attributes:
        above: What the other was made from.
        below: The other.
        own: Whether it is about what the first of them added to the flow.
        text: In what.
    """

    above: Counted
    below: Counted
    own: bool
    text: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two records, one made from the other, that agree in what both carry."""

    above: Counted
    below: Counted


@dataclass(slots=True)
class _Progress:
    """How far a log has come with one partition that it reads, as of when."""

    steps: deque[tuple[int, int]] = field(default_factory=deque)
    passed: int = -1

    def note(self, timestamp_ms: int, resume: int) -> None:
        if not self.steps or resume > self.steps[-1][1]:
            self.steps.append((timestamp_ms, resume))

    def as_of(self, timestamp_ms: int) -> int:
        while self.steps and self.steps[0][0] < timestamp_ms:
            self.passed = self.steps.popleft()[1]
        return self.passed


class HopAudit:
    """Follows one hop.

    Args:
        hop: From where to where.
        patience_s: How long the record on the other side may take to be read.
    """

    def __init__(self, hop: Hop, patience_s: float) -> None:
        self.hop = hop
        self._plain = hop.above in INGEST_TOPICS
        self._patience_ms = int(patience_s * 2000)
        self._above: dict[Key, Counted] = {}
        self._below: dict[Key, Counted] = {}
        self._answered: OrderedDict[Key, None] = OrderedDict()
        self._lost_above: OrderedDict[Key, None] = OrderedDict()
        self._lost_below = 0
        self._progress: dict[int, _Progress] = {}
        self._floors: dict[int, int] = {}

    def begin(self, partition: int, floor: int) -> None:
        """Say that of a partition read from, all up to `floor` was judged before."""
        self._floors[partition] = floor

    @property
    def waiting_since_ms(self) -> int | None:
        """When the oldest record was appended that lacks its other side."""
        waiting = [
            next(iter(each.values())).entry.timestamp_ms
            for each in (self._above, self._below)
            if each
        ]
        return min(waiting, default=None)

    @property
    def open(self) -> int:
        """Records without an answer so far."""
        return len(self._above)

    # -- what comes ------------------------------------------------------------------------------

    def read(self, one: Counted) -> Iterator[Agreement | Disagreement]:
        """Take a record of the topic that is read."""
        key = self._name(one)
        if key[2] <= self._floors.get(key[0], -1) or key in self._answered:
            if (below := self._below.pop(key, None)) is not None:
                yield from _compared(one, below)
            return
        self._above[key] = one

    def written(self, one: Counted) -> Iterator[Agreement | Disagreement | Finding]:
        """Take a record of the log that is written."""
        journal = one.journal
        if journal.input_topic != self.hop.above:
            return
        partition = journal.input_partition
        resume = journal.resume_offset - 1 if self._plain else journal.resume_sequence
        self._progress.setdefault(partition, _Progress()).note(one.entry.timestamp_ms, resume)
        for key in self._inputs(one):
            if key in self._answered:
                yield one.finding(FindingKind.DUPLICATED, "expected one record of its input")
                continue
            self._answered[key] = None
            if len(self._answered) > _REMEMBERED:
                self._answered.popitem(last=False)
            if (above := self._above.pop(key, None)) is not None:
                yield from _compared(above, one)
            elif key not in self._lost_above and key[2] > self._floors.get(partition, -1):
                self._below[key] = one

    def lost(self, lost: Lost) -> None:
        """Note a record of either side that nobody can read."""
        if lost.topic == self.hop.below:
            self._lost_below += 1
            return
        key = (lost.partition, lost.epoch, lost.sequence)
        self._lost_above[key] = None
        self._below.pop(key, None)
        if len(self._lost_above) > _REMEMBERED:
            self._lost_above.popitem(last=False)

    def advance(self, read_until_ms: int) -> Iterator[Finding]:
        """Say that all appended before was taken; yield what lacks its other side for too long."""
        due_ms = read_until_ms - self._patience_ms
        passed = {number: each.as_of(due_ms) for number, each in self._progress.items()}
        for key, one in list(self._above.items()):
            if one.entry.timestamp_ms >= due_ms:
                break
            if key[2] > passed.get(key[0], -1):
                continue
            del self._above[key]
            if self._lost_below > 0:  # that is where its record was
                self._lost_below -= 1
            else:
                text = f"expected a record of it in {self.hop.below}, was none"
                yield one.finding(FindingKind.UNANSWERED, text)
        for key, one in list(self._below.items()):
            if one.entry.timestamp_ms >= due_ms:
                break
            del self._below[key]
            text = f"expected its input {self.hop.above} {key} to count, was none"
            yield one.finding(FindingKind.UNSOURCED, text)

    def _name(self, one: Counted) -> Key:
        if self._plain:
            return one.entry.partition, 0, one.entry.offset
        journal = one.journal
        return one.entry.partition, journal.epoch, journal.log_sequence

    def _inputs(self, one: Counted) -> Iterator[Key]:
        journal = one.journal
        partition = journal.input_partition
        if not self._plain:
            yield partition, journal.input_epoch, journal.input_sequence
            return
        yield partition, 0, journal.input_offset
        run = run_of(one.record)
        for packet in () if run is None else run.packets:
            if packet.offset != journal.input_offset:
                yield partition, 0, packet.offset


def expects_answer(hop: Hop, one: Counted) -> bool:
    """Say whether a record has one made of it at this hop."""
    if isinstance(one.record, PortfolioUpdate):
        return False
    announces = isinstance(one.record, OrderEvent) and one.record.kind is OrderEventKind.SUBMITTING
    return not (announces and hop.above == "cascade.fills")


def _compared(above: Counted, below: Counted) -> Iterator[Agreement | Disagreement]:
    if not (above.sound and below.sound):
        return
    stage = above.entry.topic.removeprefix("cascade.")
    for part, text in differences(above.record, below.record):
        own = part == stage or above.entry.topic in (*INGEST_TOPICS, "cascade.fills")
        yield Disagreement(above, below, own, text)
        return
    yield Agreement(above, below)


def differences(above: Any, below: Any) -> Iterable[tuple[str, str]]:
    """Yield (part, what differs) of a record and the one made from it.

    Args:
        above: A packet, or a fill.
        below: The next stage's record of it.
    """
    if isinstance(below, PortfolioUpdate):
        yield from _of_fill(above, below)
        return
    upper, lower = above.envelope, below.envelope
    if run_of(below) is None or run_of(above) is not None:
        if (told := _same(upper)) != (repeated := _same(lower)):
            yield "envelope", _named(told, repeated)
        if lower.parent_id != upper.packet_id:
            yield "envelope", f"parent: {upper.packet_id}, {lower.parent_id}"
        if lower.trace[:-1] != upper.trace[-_MOST_TRACE:]:
            yield "envelope", "trace"
    else:
        return
    for part in _PARTS:
        carried = getattr(below, part, None)
        if carried is None or not hasattr(above, part):
            continue  # dropped where a fate was sealed
        if carried != getattr(above, part):
            yield part, part


def _named(told: tuple[Any, ...], repeated: tuple[Any, ...]) -> str:
    """Return the first field of an envelope that differs."""
    pairs = zip(_SAME, told, repeated, strict=True)
    return next(f"{name}: {was}, {now}" for name, was, now in pairs if was != now)


def _of_fill(event: OrderEvent, update: PortfolioUpdate) -> Iterable[tuple[str, str]]:
    pairs = (
        ("flow_id", event.flow_id, update.flow_id),
        ("account", event.account, update.account),
        ("symbol", event.symbol, update.symbol),
        ("client_order_id", event.client_order_id, update.client_order_id),
        ("kind", event.kind, update.kind),
        ("flow_state", event.flow_state, update.flow_state),
        ("side", event.side, update.side),
        ("quantity", event.filled, update.quantity),
        ("price", event.price, update.price),
        ("fee", event.fee, update.fee),
    )
    for name, told, booked in pairs:
        if told != booked:
            yield "fill", f"{name}: {told}, {booked}"
