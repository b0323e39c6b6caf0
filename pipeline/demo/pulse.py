"""What a demo looks like at one moment, for the live view."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.demo.latency import Latencies
from pipeline.demo.ledger import LedgerReader
from pipeline.packets.vocabulary import OrderEventKind, OutcomeKind
from pipeline.watch.latency import LatencyFigures
from pipeline.watch.observations import FillSeen, FlowEnd

__all__ = ["Pulse", "Seen", "Snapshot", "StageView"]

_LAST_ORDERS = 8
_RATE_WINDOW = 6
_LEDGER_DELAY_US = 1_000_000
_BEFORE = {
    "strategic": "cascade.market",
    "tactical": "cascade.strategic",
    "risk": "cascade.tactical",
}


class Seen(Protocol):
    """What has been seen of the logs; both lists only grow."""

    @property
    def ends(self) -> Sequence[FlowEnd]:
        """Ends of flows."""
        ...

    @property
    def fills(self) -> Sequence[FillSeen]:
        """Records of the fills log."""
        ...


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage at one moment.

    Attributes:
        name: The stage.
        records: Records in its log for packets, markers included.
        per_second: Records a second lately.
        lag: Input records not worked off, about: logs are read one after the other.
        latency: Its share of the latency; None before the first flow.
    """

    name: str
    records: int
    per_second: float
    lag: int
    latency: LatencyFigures | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The demo at one moment.

    Attributes:
        elapsed_s: Since the first counted record.
        sent: Counted records sent.
        ended: Flows of them that ended.
        outcomes: Those by outcome.
        sent_per_second: Lately.
        ended_per_second: Lately.
        stages: The stages, the gateway last.
        end_to_end: Latency over flows that all stages decided on.
        every_flow: Latency over all flows.
        to_fill: Latency to the gateway's last record.
        orders: Order plans.
        filled: Orders filled.
        last_orders: The last results of the gateway, newest first.
        equity: Of the account, as risk last saw it.
    """

    elapsed_s: float
    sent: int
    ended: int
    outcomes: Mapping[str, int]
    sent_per_second: float
    ended_per_second: float
    stages: tuple[StageView, ...]
    end_to_end: LatencyFigures | None
    every_flow: LatencyFigures | None
    to_fill: LatencyFigures | None
    orders: int
    filled: int
    last_orders: tuple[FillSeen, ...]
    equity: float | None


@dataclass(slots=True)
class _Rate:
    """Records a second over the last few looks."""

    seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_RATE_WINDOW))

    def update(self, now_s: float, count: int) -> float:
        self.seen.append((now_s, count))
        (first_s, first), (last_s, last) = self.seen[0], self.seen[-1]
        return max(0.0, (last - first) / (last_s - first_s)) if last_s > first_s else 0.0


class Pulse:
    """Takes snapshots of a running demo; each costs what came in since the last.

    Args:
        collector: What has been seen of the logs.
        ledger: What has been sent.
        ends: Returns the end offsets of the other topics, see `LogEnds`.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        collector: Seen,
        ledger: LedgerReader,
        ends: Callable[[], Mapping[str, int]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collector = collector
        self._ledger = ledger
        self._ends = ends
        self._monotonic = monotonic
        self._started_s = monotonic()
        # What stood in the logs before is neither lag nor throughput: markers, the warm-up.
        self._base = dict(ends())
        self._first_end = self._next_end = len(collector.ends)
        self._first_fill = self._next_fill = len(collector.fills)
        self._due_us: dict[str, int] = {}
        self._kinds: Counter[str] = Counter()
        self._orders = self._filled = self._updates = self._finals = self._owed = 0
        self._equity: float | None = None
        self._rates: dict[str, _Rate] = {}
        self._sent = 0
        self.latencies = Latencies()

    def take(self) -> Snapshot:
        """Return the demo as it is now."""
        now_s = self._monotonic()
        ends = self._ends()
        for flow in self._ledger.read():
            self._due_us.setdefault(flow.flow_id, flow.intended_us)
            self._sent += 1
        self._take_ends()
        self._take_fills()
        ended = self._next_end - self._first_end
        return Snapshot(
            elapsed_s=now_s - self._started_s,
            sent=self._sent,
            ended=ended,
            outcomes={kind.value: self._kinds[kind.value] for kind in OutcomeKind},
            sent_per_second=self._rate("sent", now_s, self._sent),
            ended_per_second=self._rate("ended", now_s, ended),
            stages=self._stages(now_s, ends, ended),
            end_to_end=self.latencies.end_to_end.figures(),
            every_flow=self.latencies.every_flow.figures(),
            to_fill=self.latencies.to_fill.figures(),
            orders=self._orders,
            filled=self._filled,
            last_orders=self._last_orders(),
            equity=self._equity,
        )

    def _take_ends(self) -> None:
        collected = self._collector.ends
        upto = len(collected)
        for index in range(self._next_end, upto):
            end = collected[index]
            due_us = self._due_us.get(end.flow_id)
            if due_us is None and _may_be_noted_yet(end.accepted_at):
                upto = index
                break
            self._kinds[end.kind.value] += 1
            self._orders += bool(end.orders)
            self._owed += end.to_gateway
            self._equity = end.equity if end.equity is not None else self._equity
            if due_us is not None:
                self.latencies.add_end(end, due_us)
        self._next_end = upto

    def _take_fills(self) -> None:
        collected = self._collector.fills
        upto = len(collected)
        for each in collected[self._next_fill : upto]:
            self._filled += each.filled > 0.0
            self._updates += each.kind is not OrderEventKind.SUBMITTING
            self._finals += each.final
            if each.final and (due_us := self._due_us.get(each.flow_id)) is not None:
                self.latencies.add_fill(each.appended_ms, due_us)
        self._next_fill = upto

    def _stages(self, now_s: float, ends: Mapping[str, int], ended: int) -> tuple[StageView, ...]:
        counts = {name: ends.get(name, 0) - self._base.get(name, 0) for name in ends}
        # Risk's log holds a record for each of the gateway's results too.
        counts["cascade.risk"] = counts.get("cascade.risk", 0) - self._updates
        views = [
            self._stage(now_s, name, counts.get(f"cascade.{name}", 0), counts.get(before, 0))
            for name, before in _BEFORE.items()
        ]
        views.append(self._stage(now_s, "execution", ended, counts["cascade.risk"]))
        views.append(self._stage(now_s, "gateway", self._finals, self._owed))
        return tuple(views)

    def _stage(self, now_s: float, name: str, records: int, given: int) -> StageView:
        recorder = self.latencies.stages.get(name)
        figures = recorder.figures() if recorder else None
        if name == "gateway":
            figures = self.latencies.to_fill.figures()
        rate = self._rate(name, now_s, records)
        return StageView(name, max(0, records), rate, max(0, given - records), figures)

    def _rate(self, name: str, now_s: float, count: int) -> float:
        return self._rates.setdefault(name, _Rate()).update(now_s, count)

    def _last_orders(self) -> tuple[FillSeen, ...]:
        found: list[FillSeen] = []
        fills = self._collector.fills
        for index in range(self._next_fill - 1, self._first_fill - 1, -1):
            each = fills[index]
            if each.client_order_id and each.kind is not OrderEventKind.SUBMITTING:
                found.append(each)
            if len(found) == _LAST_ORDERS:
                break
        return tuple(found)


def _may_be_noted_yet(accepted_at: int) -> bool:
    """Say whether the ledger, which is written in batches, may still tell of a flow."""
    return time.time_ns() // 1000 - accepted_at < _LEDGER_DELAY_US
