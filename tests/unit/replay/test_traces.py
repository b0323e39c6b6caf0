"""A flow as a trace, and its replay as one that links to it."""

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipeline.errors import ConfigurationError
from pipeline.packets.codec import encode
from pipeline.packets.models import ExecutionPlan, SandboxRecord
from pipeline.replay.flow import Flow
from pipeline.replay.traces import export, replay_trace, trace_of
from tests.otlp import collector
from tests.unit.gateway.factories import ACCEPTED_AT, FLOW
from tests.unit.replay.flows import traded_flow


@pytest.fixture
def flow() -> Flow:
    """A flow from its plan to the fill."""
    return traded_flow()


def sandboxed(flow: Flow, flow_id: str = FLOW) -> SandboxRecord:
    """Return what a replay made of the flow's plan."""
    (plan,) = (each.record for each in flow.steps if isinstance(each.record, ExecutionPlan))
    value = encode(plan)
    return SandboxRecord("r1", "cascade.execution", 0, 3, flow_id, "identical", 1, value)


def test_a_flow_is_one_trace_with_a_span_for_each_hop(flow: Flow) -> None:
    """Times are the packets' own; stages and orders are children of the flow."""
    root, *hops = trace_of(flow)

    assert {root.trace_id} == {each.trace_id for each in hops}
    assert {root.span_id} == {each.parent_id for each in hops}
    assert ["process risk", "process execution", "order"] == [each.name for each in hops]
    risk, execution, order = hops
    assert (ACCEPTED_AT + 1000, ACCEPTED_AT + 3000) == (risk.start_us, risk.end_us)
    assert 300 == execution.attributes["cascade.queued_us"]
    assert 3 == execution.attributes["messaging.kafka.offset"]
    assert order.start_us < order.end_us == root.end_us
    assert (ACCEPTED_AT, FLOW) == (root.start_us, root.attributes["cascade.flow_id"])
    assert len({each.span_id for each in (root, *hops)}) == 4


def test_the_same_flow_is_the_same_trace_again(flow: Flow) -> None:
    """Exported twice it does not count twice; another flow is another trace."""
    other = replace_flow(flow, "another")

    assert trace_of(flow) == trace_of(traded_flow())
    assert trace_of(flow)[0].trace_id != trace_of(other)[0].trace_id


def replace_flow(flow: Flow, flow_id: str) -> Flow:
    """Return the flow under another id."""
    return Flow(flow_id, flow.steps)


def test_a_flow_of_which_no_packet_is_left_has_no_trace(flow: Flow) -> None:
    """Nothing is made up."""
    assert [] == trace_of(Flow(FLOW, flow.steps[1:]))


def test_a_replay_is_a_trace_of_its_own_that_links_to_the_flow(flow: Flow) -> None:
    """Records of other flows in the sandbox are none of it."""
    original = trace_of(flow)[0]
    root, span = replay_trace(flow, "r1", [sandboxed(flow), sandboxed(flow, "another")])

    assert root.trace_id != original.trace_id
    assert ((original.trace_id, original.span_id),) == root.links
    assert ("process execution", root.span_id) == (span.name, span.parent_id)
    assert "identical" == span.attributes["cascade.replay.agreement"]
    assert [] == replay_trace(flow, "r1", [sandboxed(flow, "another")])


def test_opentelemetry_gets_ids_parents_links_and_times(flow: Flow) -> None:
    """As its library has them."""
    exporter = InMemorySpanExporter()
    drafts = [*trace_of(flow), *replay_trace(flow, "r1", [sandboxed(flow)])]
    kept = exporter.get_finished_spans

    assert len(drafts) == export(drafts, exporter)
    spans = {each.name: each for each in kept()}
    root, replayed = spans["flow"], spans["replay"]
    assert int(drafts[0].trace_id, 16) == root.context.trace_id
    assert root.parent is None
    parent = spans["order"].parent
    assert parent is not None
    assert root.context.span_id == parent.span_id
    assert ACCEPTED_AT * 1000 == root.start_time
    (link,) = replayed.links
    assert root.context.trace_id == link.context.trace_id


def test_a_collector_gets_the_trace_over_otlp(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the endpoint that OpenTelemetry's own variable names."""
    with collector() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        export(trace_of(flow))

    names = [each.name for each in received.spans()]
    assert ["flow", "process risk", "process execution", "order"] == names


def test_a_collector_that_refuses_is_an_error(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody believes that what was refused has arrived."""
    with collector(400) as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        with pytest.raises(ConfigurationError, match="Expected the collector"):
            export(trace_of(flow))
