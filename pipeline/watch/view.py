"""Everything that the monitor knows at one moment, for its metrics."""

from collections.abc import Mapping
from copy import copy, deepcopy
from dataclasses import dataclass

from pipeline.control.state import ControlView
from pipeline.watch.coordination import WorkersOf
from pipeline.watch.core import PerformanceCore
from pipeline.watch.flows import FlowCounts
from pipeline.watch.latency import Buckets
from pipeline.watch.metrics import RealTimeMetrics
from pipeline.watch.offsets import Backlog
from pipeline.watch.uptime import Uptime, available, carries

__all__ = ["MonitorView", "view_of"]


@dataclass(frozen=True, slots=True)
class MonitorView:
    """What the monitor knows at one moment.

    Attributes:
        metrics: Figures of the window that ends now.
        whole: Counts of all packets since it began.
        buckets: Their latencies by bucket, by stage and end to end.
        workers: Live workers of each system.
        backlog: What waits in Kafka; None where the broker did not say lately.
        uptime: For how long the path was available.
        control: What the control log says; None while it cannot be read.
    """

    metrics: RealTimeMetrics
    whole: FlowCounts
    buckets: Mapping[str, Buckets]
    workers: Mapping[str, WorkersOf]
    backlog: Backlog | None
    uptime: Uptime
    control: ControlView | None


def view_of(
    core: PerformanceCore,
    uptime: Uptime,
    control: ControlView | None,
    now_us: int,
    window_s: float,
    *,
    connected: bool,
    undecodable: int,
) -> MonitorView:
    """Return what is known now, and note for how long the path was available.

    Args:
        core: What was observed.
        uptime: Where the time since the call before is added.
        control: What the control log says.
        now_us: Now, microseconds since the Unix epoch, UTC.
        window_s: Seconds that figures are over.
        connected: Whether records of the cascade are being read.
        undecodable: Records that could not be read.
    """
    metrics = core.metrics(now_us, window_s, connected=connected, undecodable=undecodable)
    workers = core.coordination.workers(now_us)
    uptime.take(now_us, is_available=available(metrics, workers), is_carrying=carries(metrics))
    # Copies: the core goes on, and Prometheus reads on another thread.
    whole = copy(core.flows.whole)
    whole.sealed = whole.sealed.copy()
    return MonitorView(
        metrics,
        whole,
        deepcopy(core.flows.buckets),
        workers,
        core.backlog(now_us),
        deepcopy(uptime),
        control,
    )
