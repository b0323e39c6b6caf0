"""What is known of flows: figures of now, their last two minutes, and the newest ends; pure.

It takes any number of flows a second; what it shows is of one size.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipeline.packets.models import OrderEvent
from pipeline.packets.vocabulary import FlowState, OutcomeKind
from pipeline.watch.flows import END_TO_END, Flows, part
from pipeline.watch.latency import LatencyFigures, figures_of
from pipeline.watch.observations import FlowEnd
from pipeline.watch.offsets import Backlog
from pipeline.watch.traces import FAILURES, trace_of

__all__ = ["HISTORY_S", "FlowBoard"]

HISTORY_S: Final = 120
"""How far back the charts go, seconds."""

_US: Final = 1_000_000
_WINDOW_S = 10.0
_SAMPLE_S = 2.0
_HALF_S = 0.5
_TRACES = 5000
_OPEN_ORDERS = 20_000
_NEWEST = 12
_STAGES = ("strategic", "tactical", "risk", "execution")
_GATEWAY = "gateway"


class FlowBoard:
    """Gathers ends of flows. Not thread-safe.

    Args:
        target_ms: What p99 from acceptance to the order plan is held against, milliseconds.
        now_us: Now, microseconds since the Unix epoch, UTC.
    """

    def __init__(self, target_ms: float, now_us: int) -> None:
        self._target_ms = target_ms
        self._flows = Flows(_TRACES, now_us)
        self._decided: OrderedDict[str, int] = OrderedDict()
        self._settled: deque[tuple[int, float]] = deque(maxlen=_OPEN_ORDERS)
        self._newest: dict[OutcomeKind, deque[dict[str, Any]]] = {
            kind: deque(maxlen=_NEWEST) for kind in OutcomeKind
        }
        self._offered: deque[tuple[int, int]] = deque(maxlen=HISTORY_S)
        self._outcomes: Counter[str] = Counter()
        self._history: deque[dict[str, float | None]] = deque(maxlen=HISTORY_S)
        self._before: dict[float, dict[str, float | None]] = {}

    # -- what comes in ---------------------------------------------------------------------------

    def take_ends(self, ends: Sequence[FlowEnd], now_us: int) -> None:
        """Take ends of flows, in the order of their log."""
        for end in ends:
            if not self._flows.take(trace_of(end), now_us):
                continue
            self._outcomes[end.kind.value] += 1
            self._newest[end.kind].append(_flow(end))
            if end.to_gateway:
                self._decided[end.flow_id] = end.finished
                if len(self._decided) > _OPEN_ORDERS:
                    self._decided.popitem(last=False)

    def take_order(self, event: OrderEvent) -> None:
        """Take what happened to an order."""
        if event.flow_state is FlowState.OPEN:
            return
        decided_us = self._decided.pop(event.flow_id, None)
        if decided_us is not None:
            settled_us = event.journal.now
            self._settled.append((settled_us, max(0, settled_us - decided_us) / 1000))

    def take_backlog(self, backlog: Backlog, now_us: int) -> None:
        """Take how much was offered so far."""
        self._offered.append((now_us, backlog.offered))

    def tick(self, now_us: int) -> None:
        """Note the figures of now; called about once a second."""
        whole = self._latency(END_TO_END, now_us, _SAMPLE_S)
        counts = self._flows.counts(now_us, 1.0)
        sample: dict[str, float | None] = {
            "at": now_us / _US,
            "rate": float(counts.ended),
            "failed": float(counts.failed),
            "p50": whole.p50 if whole else None,
            "p99": whole.p99 if whole else None,
        }
        for stage in _STAGES:
            found = self._latency(part(stage, "total"), now_us, _SAMPLE_S)
            sample[stage] = found.p99 if found else None
        settled = self._of_gateway(now_us, _SAMPLE_S)
        sample[_GATEWAY] = settled.p99 if settled else None
        self._history.append(sample)

    def recall(self, samples: Sequence[Mapping[str, float | None]]) -> None:
        """Put samples of before in front of those taken here; keys as in `tick`."""
        began_s = self._history[0]["at"] if self._history else None
        for each in samples:
            at_s = each.get("at")
            if at_s is not None and (began_s is None or at_s < began_s - _HALF_S):
                self._before[at_s] = dict(each)

    # -- what is shown ---------------------------------------------------------------------------

    def figures(self, now_us: int) -> dict[str, Any]:
        """Return the figures of the last ten seconds; None is what was not measured."""
        whole = self._latency(END_TO_END, now_us, _WINDOW_S)
        counts = self._flows.counts(now_us, _WINDOW_S)
        watched_s = max(1.0, min(_WINDOW_S, self._flows.span_s(now_us, _WINDOW_S)))
        ended, total = counts.ended, self._outcomes
        return {
            "window_s": _WINDOW_S,
            "target_ms": self._target_ms,
            "offered_per_s": self._offered_per_s(now_us),
            "ended_per_s": ended / watched_s,
            "ended": self._flows.ended,
            "latency_ms": _figures(whole),
            "failure_rate": counts.failed / ended if ended else None,
            "outcomes": {kind.value: counts.outcomes[kind.value] for kind in OutcomeKind},
            "outcomes_since_start": {kind.value: total[kind.value] for kind in OutcomeKind},
        }

    def stage_latency(self, stage: str, now_us: int) -> dict[str, Any] | None:
        """Return p50 and p99 of a stage, waiting and deciding, milliseconds; None without any.

        Of the gateway: from the order plan to the end of the flow's last order.
        """
        if stage == _GATEWAY:
            return _figures(self._of_gateway(now_us, _WINDOW_S))
        return _figures(self._latency(part(stage, "total"), now_us, _WINDOW_S))

    def busy(self, stage: str, now_us: int) -> float | None:
        """Return the share of the time in which a stage decided; None where nobody knows."""
        return self._flows.busy_share(stage, now_us, _WINDOW_S)

    def history(self) -> dict[str, list[float | None]]:
        """Return the samples of the last two minutes, oldest first, as a list for each figure."""
        before = [self._before[at_s] for at_s in sorted(self._before)]
        shown = [*before, *self._history][-HISTORY_S:]
        names = ("at", "rate", "failed", "p50", "p99", *_STAGES, _GATEWAY)
        return {
            name: [_rounded(each.get(name), 3 if name == "at" else 1) for each in shown]
            for name in names
        }

    def newest(self) -> list[dict[str, Any]]:
        """Return the newest ends of each outcome, newest first."""
        found = [each for flows in self._newest.values() for each in flows]
        return sorted(found, key=lambda each: float(each["ended"]), reverse=True)

    def known(self, flow_id: str) -> dict[str, Any] | None:
        """Return what the list of newest ends says of a flow; None where it is not in it."""
        return next((each for each in self.newest() if each["id"] == flow_id), None)

    def _latency(self, column: str, now_us: int, window_s: float) -> LatencyFigures | None:
        return figures_of(self._flows.values(column, now_us, window_s))

    def _of_gateway(self, now_us: int, window_s: float) -> LatencyFigures | None:
        since_us = now_us - int(window_s * _US)
        return figures_of(np.array([ms for at_us, ms in self._settled if at_us >= since_us]))

    def _offered_per_s(self, now_us: int) -> float | None:
        since_us = now_us - int(_WINDOW_S * _US)
        points = [each for each in self._offered if each[0] >= since_us]
        if len(points) < 2:  # noqa: PLR2004  # a rate takes two points
            return None
        (first_us, first), (last_us, last) = points[0], points[-1]
        return max(0.0, (last - first) * _US / max(1, last_us - first_us))


def _flow(end: FlowEnd) -> dict[str, Any]:
    finished_us = end.finished or end.appended_ms * 1000
    return {
        "id": end.flow_id,
        "symbol": end.symbol,
        "sequence": end.sequence,
        "outcome": end.kind.value,
        "failed": end.kind in FAILURES,
        "stage": end.stage,
        "reasons": list(end.reasons)[:3],
        "orders": len(end.orders),
        "ended": finished_us / _US,
        "latency_ms": round((finished_us - end.accepted_at) / 1000, 1),
    }


def _figures(found: LatencyFigures | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "count": found.count,
        "p50": round(found.p50, 2),
        "p95": round(found.p95, 2),
        "p99": round(found.p99, 2),
        "p999": round(found.p999, 2),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
