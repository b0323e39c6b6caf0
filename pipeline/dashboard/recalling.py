"""From the monitor's snapshots to the samples of the page's charts; pure."""

from collections.abc import Mapping

from pipeline.packets.events import MetricsSnapshot
from pipeline.watch.catalogue import spelled
from pipeline.watch.history import figures_of_snapshot

__all__ = ["sample_of"]

_STAGES = ("strategic", "tactical", "risk", "execution")
_US = 1_000_000


def sample_of(snapshot: MetricsSnapshot) -> dict[str, float | None]:
    """Return a snapshot as `FlowBoard.recall` takes it; None is what was not measured."""
    figures = figures_of_snapshot(snapshot)
    good = figures.get("cascade_throughput_packets_per_second")
    failing = figures.get("cascade_failure_ratio") or 0.0
    # Throughput is of packets that did not fail; where all fail, nobody knows how many.
    rate = None if good is None or failing >= 1.0 else good / (1.0 - failing)
    return {
        "at": snapshot.time / _US,
        "rate": rate,
        "failed": None if rate is None else rate * failing,
        "p50": _ms(figures, "cascade_end_to_end_latency_quantile_seconds", "0.5", path="any"),
        "p99": _ms(figures, "cascade_end_to_end_latency_quantile_seconds", "0.99", path="any"),
        **{
            stage: _ms(figures, "cascade_stage_latency_quantile_seconds", "0.99", stage=stage)
            for stage in _STAGES
        },
    }


def _ms(figures: Mapping[str, float], name: str, quantile: str, **labels: str) -> float | None:
    seconds = figures.get(spelled(name, {"quantile": quantile, **labels}))
    return None if seconds is None else seconds * 1000
