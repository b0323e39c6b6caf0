"""Traces are put together from two logs as flows end."""

from collections.abc import Sequence

import pytest

from pipeline.packets.models import ExecutionPlan, OrderEvent
from pipeline.packets.vocabulary import OrderEventKind, OutcomeKind
from pipeline.replay.traces import trace_of
from pipeline.watch.observations import FillSeen, FlowEnd
from pipeline.watch.tracing.assembly import PATIENCE_S, TraceAssembly, spans_of
from pipeline.watch.tracing.otel import sampler
from pipeline.watch.tracing.spans import SpanDraft, trace_id_of
from tests.unit.replay.flows import traded_flow
from tests.unit.watch.factories import flow, flow_end

STAGE_SPANS = [f"process {stage}" for stage in ("strategic", "tactical", "risk", "execution")]


class _Rig:
    """An assembly whose time tests choose, and what it exports."""

    def __init__(self, ratio: float = 1.0, most: int = 1000) -> None:
        self.now_us = 1_700_000_000_000_000
        self.traces: list[list[SpanDraft]] = []
        self.assembly = TraceAssembly(sampler(ratio), self._take, lambda: self.now_us, most)

    def _take(self, spans: Sequence[SpanDraft]) -> None:
        self.traces.append(list(spans))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_us += int(seconds * 1e6)
        self.assembly.sweep()


def _traded(number: int = 0) -> tuple[FlowEnd, list[FillSeen]]:
    """Return a flow with an order, and the order's events."""
    end = flow_end(number, 1.0, kind=OutcomeKind.EXECUTED)._replace(to_gateway=True)
    kinds = (OrderEventKind.SUBMITTING, OrderEventKind.FILLED)
    events = [
        FillSeen(
            end.flow_id, f"{end.flow_id}-001", "AAPL", kind, kind is OrderEventKind.FILLED,
            "BUY", 1.0, 1.0, 100.0, end.appended_ms + place,
        )
        for place, kind in enumerate(kinds, 1)
    ]  # fmt: skip
    return end, events


def test_live_and_by_command_a_flow_is_the_same_trace() -> None:
    """Ids, parents, times and outcome are those that `cascade trace` finds in the topics."""
    found = traded_flow()
    (plan,) = (each.record for each in found.steps if isinstance(each.record, ExecutionPlan))
    events = [
        FillSeen.of(each.record, each.entry.timestamp_ms)
        for each in found.steps
        if isinstance(each.record, OrderEvent)
    ]

    def essence(spans: Sequence[SpanDraft]) -> list[tuple[object, ...]]:
        return [
            (each.name, each.trace_id, each.span_id, each.parent_id, each.start_us, each.end_us,
             each.failed)
            for each in spans
        ]  # fmt: skip

    live = spans_of(FlowEnd.of(plan, 0), events)
    assert essence(trace_of(found)) == essence(live)
    assert trace_id_of(found.flow_id) == live[0].trace_id


def test_a_flow_without_orders_is_exported_as_it_ends() -> None:
    """With one span for each stage below its root."""
    rig = _Rig()
    rig.assembly.take_ends([flow_end(0, 1.0)])

    ((root, *stages),) = rig.traces
    assert STAGE_SPANS == [each.name for each in stages]
    assert ("flow", OutcomeKind.HELD) == (root.name, root.attributes["cascade.outcome"])
    assert root.end_us == stages[-1].end_us


def test_where_a_flow_failed_is_seen() -> None:
    """The stage that sealed its fate and the flow are errors, the others are not."""
    rig = _Rig()
    rig.assembly.take_ends([flow_end(0, 1.0, kind=OutcomeKind.EXPIRED, sealed_by="risk")])

    (spans,) = rig.traces
    assert ["flow", "process risk"] == [each.name for each in spans if each.failed]


@pytest.mark.parametrize("order", ["end first", "events first", "end between"])
def test_a_flow_with_orders_is_exported_when_they_have_ended(order: str) -> None:
    """Whichever log is read first."""
    rig = _Rig()
    end, (submitting, filled) = _traded()
    steps = {"end first": "esf", "events first": "sfe", "end between": "sef"}[order]
    for number, step in enumerate(steps):
        assert number < 3
        assert [] == rig.traces
        if step == "e":
            rig.assembly.take_ends([end])
        else:
            rig.assembly.take_events([submitting if step == "s" else filled])

    ((root, *spans),) = rig.traces
    assert [*STAGE_SPANS, "order"] == [each.name for each in spans]
    assert "FILLED" == spans[-1].attributes["cascade.order.kind"]
    assert filled.appended_ms * 1000 == root.end_us
    rig.wait(2 * PATIENCE_S)
    assert 1 == len(rig.traces)


def test_an_order_that_does_not_end_is_not_waited_for_for_ever() -> None:
    """The trace is exported as it stands; events of a flow that never came make none."""
    rig = _Rig()
    end, (submitting, _) = _traded()
    rig.assembly.take_ends([end])
    rig.assembly.take_events([submitting, submitting._replace(flow_id=flow(7))])
    rig.wait(PATIENCE_S - 1.0)
    assert [] == rig.traces
    rig.wait(2.0)

    ((_, *spans),) = rig.traces
    assert [*STAGE_SPANS, "order"] == [each.name for each in spans]


def test_no_more_flows_are_waited_for_than_there_is_room_for() -> None:
    """The oldest goes first, early."""
    rig = _Rig(most=3)
    rig.assembly.take_ends([_traded(number)[0] for number in range(5)])

    assert [flow(0), flow(1)] == [each[0].attributes["cascade.flow_id"] for each in rig.traces]


def test_a_share_of_the_flows_is_exported_whole() -> None:
    """By the trace's id alone, so that every monitor chooses the same, and both logs agree."""
    rig, again = _Rig(0.25), _Rig(0.25)
    ends = [flow_end(number, 1.0) for number in range(2000)]
    for each in (rig, again):
        each.assembly.take_ends(ends)
    assert 0.2 < len(rig.traces) / len(ends) < 0.3
    assert rig.traces == again.traces

    chosen = {each[0].attributes["cascade.flow_id"] for each in rig.traces}
    traded = _Rig(0.25)
    for number in range(50):
        end, events = _traded(number)
        traded.assembly.take_events(events)
        traded.assembly.take_ends([end])
    names = {each[0].attributes["cascade.flow_id"] for each in traded.traces}
    assert {flow(number) for number in range(50)} & chosen == names
