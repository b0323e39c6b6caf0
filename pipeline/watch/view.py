"""Everything that the monitor knows at one moment, for its metrics."""

from dataclasses import dataclass

from pipeline.control.state import ControlView
from pipeline.watch.metrics import RealTimeMetrics

__all__ = ["MonitorView"]


@dataclass(frozen=True, slots=True)
class MonitorView:
    """What the monitor knows at one moment.

    Attributes:
        metrics: Figures of the window that ends now.
        control: What the control log says; None while it cannot be read.
    """

    metrics: RealTimeMetrics
    control: ControlView | None
