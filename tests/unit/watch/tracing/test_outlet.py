"""What a collector does not take holds nobody up, and is counted."""

import threading
from collections.abc import Sequence
from contextlib import closing

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pipeline.watch.tracing import otel
from pipeline.watch.tracing.assembly import spans_of
from pipeline.watch.tracing.otel import SpanOutlet
from pipeline.watch.tracing.spans import trace_id_of
from tests.kafka_workers import wait_until
from tests.otlp import collector
from tests.unit.watch.factories import flow, flow_end

TRACES = [spans_of(flow_end(number, 1.0)) for number in range(6)]
SPANS = 5  # of each


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


class _Hanging(SpanExporter):
    """Hangs until it is let go."""

    def __init__(self) -> None:
        self.called, self.let_go = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.called.set()
        self.let_go.wait(60)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.let_go.set()


def test_a_collector_gets_traces_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """All spans of each, and each is counted."""
    with collector() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        with closing(SpanOutlet()) as outlet:
            for each in TRACES:
                outlet.offer(each)
            wait_until(lambda: outlet.exported == len(TRACES) * SPANS, "all to be exported")

    assert len(TRACES) * SPANS == len(received.spans())
    assert SPANS == len(received.trace(trace_id_of(flow(3))))
    assert (0, 0) == (outlet.failed, outlet.dropped)


def test_a_collector_that_hangs_costs_traces_and_no_time() -> None:
    """Four traces of five fit into a queue of 24; the others are dropped whole, and counted."""
    hanging = _Hanging()
    outlet = SpanOutlet(hanging, queue=24)
    outlet.offer(TRACES[0])
    assert hanging.called.wait(30)
    for each in TRACES[1:]:
        outlet.offer(each)  # would hang here, were it to wait
    assert (0, 2 * SPANS) == (outlet.exported, outlet.dropped)

    hanging.let_go.set()
    wait_until(lambda: outlet.exported == 4 * SPANS, "what waited to be exported")
    outlet.offer(TRACES[5])
    outlet.close()
    assert (5 * SPANS, 0, 2 * SPANS) == (outlet.exported, outlet.failed, outlet.dropped)


def test_the_end_does_not_wait_for_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is told to give up."""
    monkeypatch.setattr(otel, "_FAREWELL_S", 0.05)
    hanging = _Hanging()
    outlet = SpanOutlet(hanging)
    outlet.offer(TRACES[0])
    outlet.close()  # would last a minute
    assert hanging.let_go.is_set()


def test_a_collector_that_comes_back_is_used_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it did not take is counted as failed; a line stands in the log for each change."""
    with collector(400) as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        caplog.set_level("INFO")
        with closing(SpanOutlet()) as outlet:
            outlet.offer(TRACES[0])
            wait_until(lambda: outlet.failed == SPANS, "the first refusal")
            outlet.offer(TRACES[1])
            wait_until(lambda: outlet.failed == 2 * SPANS, "the second refusal")
            received.status = 200
            outlet.offer(TRACES[2])
            wait_until(lambda: outlet.exported == SPANS, "the spans to be taken")

    lines = [each.getMessage().split(":")[0] for each in caplog.records]
    assert ["collector does not take traces", "collector takes traces"] == lines


def test_nobody_who_listens_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is closed is the same as a collector that refuses."""
    with collector() as gone:
        pass
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with closing(SpanOutlet()) as outlet:
        outlet.offer(TRACES[0])
        wait_until(lambda: outlet.failed == SPANS, "the spans to be given up")
