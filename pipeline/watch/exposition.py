"""The monitor's metrics as prometheus-client takes them."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric

from pipeline.metrics.families import counter, gauge
from pipeline.watch.catalogue import CATALOGUE
from pipeline.watch.flows import END_TO_END
from pipeline.watch.latency import BOUNDS_S, Buckets
from pipeline.watch.view import MonitorView

__all__ = ["families"]


def families(view: MonitorView | None) -> Iterator[Metric]:
    """Return what the monitor knows as metric families.

    Args:
        view: What it knows; None while it stands by for another monitor.
    """
    yield gauge(
        "cascade_monitor_active",
        "Whether this monitor speaks; others of the namespace stand by.",
        (),
        [((), float(view is not None))],
    )
    if view is None:
        return
    for metric in CATALOGUE:
        family = counter if metric.counter else gauge
        yield family(metric.name, metric.help, metric.labels, metric.read(view))
    yield _end_to_end(view)
    yield _by_stage(view)


def _end_to_end(view: MonitorView) -> Metric:
    family = HistogramMetricFamily(
        "cascade_end_to_end_latency_seconds", "From acceptance to the last decision, of any packet."
    )
    _add(family, [], view.buckets[END_TO_END])
    return family


def _by_stage(view: MonitorView) -> Metric:
    family = HistogramMetricFamily(
        "cascade_stage_duration_seconds", "Waiting and deciding, by stage.", labels=["stage"]
    )
    for stage, buckets in view.buckets.items():
        if stage != END_TO_END:
            _add(family, [stage], buckets)
    return family


def _add(family: HistogramMetricFamily, labels: list[str], buckets: Buckets) -> None:
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    counts = accumulate(list(buckets.counts))
    family.add_metric(labels, list(zip(bounds, counts, strict=True)), buckets.total_us / 1e6)
