"""Latencies of flows, from the moment a record was due to the moment a stage had decided."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from pipeline.packets.vocabulary import OutcomeKind
from pipeline.watch.latency import LatencyFigures, figures_of
from pipeline.watch.observations import FlowEnd

__all__ = ["Latencies", "Latency", "passed_all_stages"]


def passed_all_stages(end: FlowEnd) -> bool:
    """Say whether no stage before execution sealed the flow, so that all four decided."""
    return end.stage == "execution" and end.kind is not OutcomeKind.DEAD_LETTERED


class Latency:
    """All values of one latency: a demo has few enough to keep them and be exact."""

    def __init__(self) -> None:
        self._values_us = array("q")

    def add(self, latency_us: int) -> None:
        """Keep one; two clocks may have it below zero, which counts as a microsecond."""
        self._values_us.append(max(latency_us, 1))

    def figures(self) -> LatencyFigures | None:
        """Return the figures so far; None without any latency."""
        return figures_of(np.array(self._values_us, dtype=np.float64) / 1000)


class Latencies:
    """All latencies of a run.

    The share of a stage is from the decision of the stage before it (for the first, from the
    moment the record was due) to its own: transport included, so that the shares of a flow add up
    to its end-to-end latency.

    Attributes:
        end_to_end: Of flows that all four stages decided on.
        every_flow: Of all flows, however early their fate was sealed.
        stages: Share of each stage, over all flows.
        to_fill: From due to the gateway's last record of the flow.
    """

    def __init__(self) -> None:
        self.end_to_end = Latency()
        self.every_flow = Latency()
        self.to_fill = Latency()
        self.stages: defaultdict[str, Latency] = defaultdict(Latency)

    def add_end(self, end: FlowEnd, intended_us: int) -> None:
        """Count the end of a flow that was due at `intended_us`."""
        if not end.trace:
            return
        latency_us = end.finished - intended_us
        self.every_flow.add(latency_us)
        if passed_all_stages(end):
            self.end_to_end.add(latency_us)
        before_us = intended_us
        for hop in end.trace:
            self.stages[hop.stage].add(hop.finished - before_us)
            before_us = hop.finished

    def add_fill(self, appended_ms: int, intended_us: int) -> None:
        """Count the last record of a flow in the fills log."""
        self.to_fill.add(appended_ms * 1000 - intended_us)

    @classmethod
    def of(
        cls,
        ends: Iterable[FlowEnd],
        final_fills_ms: Mapping[str, int],
        intended_us: Callable[[str], int | None],
    ) -> "Latencies":
        """Return the latencies of finished flows.

        Args:
            ends: Their ends.
            final_fills_ms: When the fills log had the last record of a flow, milliseconds.
            intended_us: When a flow was due; None for one that does not count.
        """
        latencies = cls()
        for end in ends:
            due_us = intended_us(end.flow_id)
            if due_us is not None:
                latencies.add_end(end, due_us)
        for flow_id, appended_ms in final_fills_ms.items():
            due_us = intended_us(flow_id)
            if due_us is not None:
                latencies.add_fill(appended_ms, due_us)
        return latencies
