"""What the gateway says of itself to Prometheus."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import Metric

from pipeline.control.state import ControlView
from pipeline.gateway.worker import GATEWAY_LOG, Gateway
from pipeline.metrics.families import counter, gauge
from pipeline.packets.vocabulary import OrderEventKind
from pipeline.stages.tally import WorkerFigures

__all__ = ["GatewayFigures"]


class GatewayFigures(WorkerFigures):
    """Figures of a gateway.

    Args:
        host: Owner of the fills log.
        control: Says what is in force.
        gateway: The gateway.
    """

    def __init__(self, host: Any, control: Callable[[], ControlView], gateway: Gateway) -> None:
        super().__init__(GATEWAY_LOG.stage, host, control)
        self._gateway = gateway

    def collect(self) -> Iterator[Metric]:
        """Return the figures as they are now."""
        yield from super().collect()
        written = self._gateway.written
        yield counter(
            "cascade_gateway_events_total",
            "Records that the gateway wrote, by what happened.",
            ("kind",),
            [((each.value,), written[each]) for each in OrderEventKind],
        )
        yield gauge(
            "cascade_gateway_open_flows",
            "Flows that the gateway is working on.",
            (),
            [((), self._gateway.flows)],
        )
