"""The metrics of the monitor: name, meaning, labels, and where each comes from; pure.

One list for `/metrics`, for the snapshots on `cascade.metrics`, and so for alerts and dashboards.
Base units throughout: seconds, bytes, ratios from 0 to 1. A metric that was not measured has no
sample. Names end in what they count or in their unit.
"""

from collections.abc import Iterator
from typing import Final

from pipeline.watch.catalogue.kafka import KAFKA
from pipeline.watch.catalogue.metric import Labels, Metric, spelled
from pipeline.watch.catalogue.path import PATH
from pipeline.watch.catalogue.systems import SYSTEMS
from pipeline.watch.view import MonitorView

__all__ = ["CATALOGUE", "Metric", "figures", "samples", "spelled"]

CATALOGUE: Final = (*PATH, *SYSTEMS, *KAFKA)
"""All metrics of the monitor."""


def samples(view: MonitorView) -> Iterator[tuple[Metric, Labels, float]]:
    """Yield what was measured: metric, values of its labels, number."""
    for metric in CATALOGUE:
        for labels, number in metric.read(view):
            if number is not None:
                yield metric, labels, float(number)


def figures(view: MonitorView) -> dict[str, float]:
    """Return what was measured, by the spelling of each series."""
    return {
        spelled(metric.name, dict(zip(metric.labels, labels, strict=True))): number
        for metric, labels, number in samples(view)
        if metric.kept
    }
