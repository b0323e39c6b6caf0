"""What a metric is, and short ways to read one; pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.watch.latency import LatencyFigures
from pipeline.watch.metrics import RealTimeMetrics
from pipeline.watch.view import MonitorView

__all__ = ["Labels", "Metric", "Read", "Sample", "by", "latency", "one", "quantiles", "spelled"]

Labels = tuple[str, ...]
Sample = tuple[Labels, float | None]
Read = Callable[[MonitorView], Iterable[Sample]]

_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: Its name, as Prometheus has it.
        help: What it says.
        read: Returns its samples, (values of the labels, number or None where not measured).
        labels: Names of its labels, in alphabetical order.
        counter: Whether it only grows, until the monitor begins anew.
        kept: Whether snapshots have it.
    """

    name: str
    help: str
    read: Read
    labels: Labels = ()
    counter: bool = False
    kept: bool = True


def spelled(name: str, labels: Mapping[str, str]) -> str:
    """Return a series as Prometheus spells it, labels in alphabetical order."""
    if not labels:
        return name
    return f"{name}{{{','.join(f'{key}={_quoted(labels[key])}' for key in sorted(labels))}}}"


def one(read: Callable[[RealTimeMetrics], float | None]) -> Read:
    """Return how a metric without labels is read."""
    return lambda view: [((), read(view.metrics))]


def quantiles(figures: LatencyFigures | None, *labels: str) -> Iterator[Sample]:
    """Yield a latency's percentiles, seconds; the quantile is the last label."""
    if figures is None:
        return
    for quantile, number_ms in (
        ("0.5", figures.p50),
        ("0.95", figures.p95),
        ("0.99", figures.p99),
        ("0.999", figures.p999),
    ):
        yield (*labels, quantile), number_ms / _MS


def latency(read: Callable[[RealTimeMetrics], LatencyFigures | None]) -> Read:
    """Return how the percentiles of a latency are read."""
    return lambda view: quantiles(read(view.metrics))


def by(read: Callable[[RealTimeMetrics], Mapping[str, float | int | None]]) -> Read:
    """Return how a metric with one label is read."""
    return lambda view: [((name,), number) for name, number in read(view.metrics).items()]


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
