"""Looking back into a running cascade: a flow's life, replays, what-ifs, post-mortems."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pipeline.bench.replay import orders_of_wired_gateway, replays, submissions
from pipeline.cli import main
from pipeline.packets.codec import decode, encode
from pipeline.packets.events import EmergencyLevel, EmergencyType
from pipeline.packets.identity import flow_id
from pipeline.packets.models import OrderEvent, SandboxRecord
from pipeline.packets.vocabulary import FlowState
from pipeline.replay import run
from pipeline.replay.reading import TopicReader
from pipeline.replay.run import Replay, ReplayOptions
from pipeline.replay.sandbox import HEADER_PREFIX
from pipeline.replay.selection import STAGE_LOGS, Bounds, Selection, of_topic
from pipeline.settings import Settings
from pipeline.watch.tracing.live import SPANS
from pipeline.watch.worker import MonitorWorker
from tests.cluster import cluster, variables
from tests.kafka_workers import market_data, read_topic, send, wait_until
from tests.otlp import Collector, collector

__all__ = ["cluster"]

STAGES = ("strategic", "tactical", "risk", "execution")


@pytest.fixture(scope="module")
def running(cluster: Settings) -> Iterator[Settings]:
    """A cluster through which data has gone, some of it to the venue.

    On a busy machine all of a burst may be too old by the time that risk sees it.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, text in variables(cluster).items():
            patch.setenv(name, text)
        _publish(rate=400, seconds=4)
        wait_until(lambda: _filled_or_sent_more(cluster), "a filled flow")
        yield cluster


def _filled_or_sent_more(settings: Settings) -> bool:
    if _filled(settings):
        return True
    return _sent_more()


def _publish(rate: int, seconds: int) -> None:
    source = ["publish", "--source", "synthetic", "--symbols", "8"]
    done = CliRunner().invoke(main, [*source, "--rate", f"{rate}", "--seconds", f"{seconds}"])
    assert done.exit_code == 0, done.output


def _filled(settings: Settings) -> list[OrderEvent]:
    found = [
        record
        for messages in read_topic(settings, "cascade.fills").values()
        for message in messages
        if isinstance(record := decode(message.value()), OrderEvent)
    ]
    return [each for each in found if each.flow_state is FlowState.FILLED]


def _flow(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["flow", *arguments])


def test_a_filled_flow_is_shown_from_market_data_to_fill(running: Settings) -> None:
    """Each stage's record, the orders and what risk made of them are found by an order's id."""
    event = _filled(running)[0]
    found = json.loads(_flow(event.client_order_id, "--json").output)
    topics = [step["topic"] for step in found["steps"]]
    assert ["cascade.market", *(f"cascade.{stage}" for stage in STAGES)] == topics[:5]
    assert {"cascade.fills", "cascade.risk"} == set(topics[5:])
    assert ("FILLED", [], "executed") == (
        found["order_state"], found["unknown"], found["outcome"]["kind"],
    )  # fmt: skip
    # A worker that lost sight of the control log for a moment says so in what does not trade.
    assert ["ACTIVE", "ACTIVE"] == [
        step["control"]["trading_state"] for step in found["steps"][3:5]
    ]


def test_times_bound_the_search(running: Settings) -> None:
    """A flow that ended after the time given is not found."""
    flow = _filled(running)[0].flow_id
    shown = _flow(flow, "--until", "2020-01-01")
    assert shown.exit_code == 1
    assert f"Expected a record of flow {flow}" in shown.output


def test_a_dead_letter_of_the_flow_is_found(running: Settings) -> None:
    """What a stage gave up is shown with its letter; the bytes are named by their place."""
    spoilt = market_data("SYN00000", 1, running)
    send(running, "cascade.market", [(b"SYN00000", encode(spoilt)[:-3])])
    wait_until(lambda: "1 of cascade.market" in CliRunner().invoke(main, ["dlq", "list"]).output,
               "a dead letter")  # fmt: skip
    (packet,) = re.findall(r'"packet_id": "(\w+-[\w-]+)"', _dead_letters())
    found = _flow(packet)
    assert found.exit_code == 0, found.output
    assert "dead_lettered by strategic (MALFORMED)" in found.output
    assert "MALFORMED at strategic, attempt 1" in found.output


def _dead_letters() -> str:
    return str(CliRunner().invoke(main, ["dlq", "list", "--json"]).output)


def test_a_flow_that_never_was_is_an_error(running: Settings) -> None:
    """One sentence says what was searched, and the exit code is 1."""
    found = _flow(flow_id("market", "NONE", 1), "--symbol", "NONE")
    assert found.exit_code == 1
    assert "in the partition of NONE" in found.output


def test_the_monitor_exports_each_flow_as_a_trace_and_a_replay_links_to_it(
    running: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector sees all hops of a filled flow, as `cascade trace` tells of them."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    traced = running.model_copy(update={"trace_ratio": 1.0})
    with collector() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        with closing(MonitorWorker(traced)) as monitor:
            monitor.start()
            wait_until(lambda: monitor._source.connected, "the monitor to read along")
            wait_until(lambda: _order(received) or _sent_more(), "a filled flow's trace")
            wait_until(lambda: _fates(monitor)["exported"] >= len(received.spans()), "the count")
        assert (0.0, 0.0) == (_fates(monitor)["failed"], _fates(monitor)["dropped"])
        order = _order(received)
        assert order is not None
        live = received.trace(order.trace_id.hex())
        root = next(each for each in live if each.name == "flow")
        assert {"flow", "order", *(f"process {each}" for each in STAGES)} == {
            each.name for each in live
        }
        (flow,) = (
            each.value.string_value for each in root.attributes if each.key == "cascade.flow_id"
        )
        told = json.loads(_trace(flow, "--json").stdout)
        assert {
            (each["span_id"], each["parent_id"], each["start_us"], each["end_us"]) for each in told
        } == {
            (each.span_id.hex(), each.parent_span_id.hex(), each.start_time_unix_nano // 1000,
             each.end_time_unix_nano // 1000)
            for each in live
        }  # fmt: skip

        _trace(flow, "--replay", _replayed("--flow", flow)["replay_id"])
        (replay,) = (each for each in received.spans() if each.name == "replay")
    assert root.trace_id != replay.trace_id
    assert [(root.trace_id, root.span_id)] == [
        (each.trace_id, each.span_id) for each in replay.links
    ]


def _trace(*arguments: str) -> Result:
    done = CliRunner().invoke(main, ["trace", *arguments])
    assert done.exit_code == 0, done.output
    return done


def _order(received: Collector) -> Span | None:
    return next((each for each in received.spans() if each.name == "order"), None)


def _sent_more() -> bool:
    _publish(rate=40, seconds=2)
    return False


def _fates(monitor: MonitorWorker) -> dict[str, float]:
    return {
        sample.labels["fate"]: sample.value
        for family in monitor.collect()
        for sample in family.samples
        if sample.name == SPANS
    }


# -- replay ----------------------------------------------------------------------------------------


def _replay(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["replay", *arguments])


def _replayed(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["replay", *arguments, "--execute", "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _topics(settings: Settings) -> set[str]:
    """Return the topics of the run and of its replays; others are tested on the same broker."""
    found = AdminClient(settings.client()).list_topics(timeout=10).topics
    return {each for each in found if each.startswith(settings.namespace)}


def _selected(settings: Settings) -> Selection:
    with TopicReader(settings) as reader:
        return of_topic(reader, "cascade.market", (), Bounds())


def test_without_execute_nothing_is_replayed(running: Settings) -> None:
    """The dry run names ranges, counts and where the state comes from, and writes nothing."""
    before = _topics(running)
    shown = _replay("--topic", "cascade.risk")
    assert (0, before) == (shown.exit_code, _topics(running))
    for part in ("risk       cascade.risk[0] offsets", "state from", "nothing was replayed"):
        assert part in shown.output


def test_the_same_code_makes_history_again(running: Settings) -> None:
    """Every record of every stage comes out byte for byte, and goes into a sandbox, marked."""
    found = _replayed("--topic", "cascade.market")
    assert ("pass", 0, 0, set(STAGES)) == (
        found["verdict"], found["divergences"], found["gone"], set(found["stages"]),
    )  # fmt: skip
    assert found["compared"] == sum(each["identical"] for each in found["stages"].values())
    sandbox = running.model_copy(update={"namespace": found["sandbox"]})
    written = [
        message
        for topic in STAGE_LOGS
        for messages in read_topic(sandbox, topic).values()
        for message in messages
    ]
    assert found["compared"] == len(written)
    record = decode(written[0].value())
    assert isinstance(record, SandboxRecord)
    headers = dict(written[0].headers() or ())
    assert record.replay_id.encode() == headers[f"{HEADER_PREFIX}id"]


def test_one_changed_limit_explains_all_differences_and_no_order_is_sent(
    running: Settings,
) -> None:
    """The flows that differ are those that the recorded packets name; a live gateway sends none."""
    wait_until(lambda: not _open_orders(running), "all orders to have ended")
    before = submissions(running)
    found = replays(running, 0)
    assert found.touched
    assert (frozenset(), 0, 0) == (
        found.wrong, found.same.total.different, found.changed.total.unexplained,
    )  # fmt: skip
    assert (0, before) == (found.calls, submissions(running))
    assert 0 == orders_of_wired_gateway(found.sandbox)


def _open_orders(settings: Settings) -> bool:
    events = [
        record
        for messages in read_topic(settings, "cascade.fills").values()
        for message in messages
        if isinstance(record := decode(message.value()), OrderEvent)
    ]
    ended = {each.flow_id for each in events if each.flow_state is not FlowState.OPEN}
    return {each.flow_id for each in events} != ended


def test_another_setting_is_found_as_the_cause(running: Settings) -> None:
    """The first divergence names the policy's hash, which its limits are part of."""
    other = running.model_copy(update={"initial_equity": 2_000.0})
    options = ReplayOptions(sandbox=False)
    tally = Replay(other, partial(_selected, running), options, "other equity").run()
    first = tally.first_divergence
    assert first is not None
    assert ("risk", "policy") == (first.stage, first.cause)
    assert 0 == tally.of("strategic").different == tally.of("tactical").different


def test_an_interrupted_replay_goes_on_where_it_was(
    running: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compared twice, nothing is left out."""
    monkeypatch.setattr(run, "_SAVE_S", 0.0)
    seen: list[int] = []

    def interrupt(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == 4:
            raise KeyboardInterrupt

    select, options = partial(_selected, running), ReplayOptions(sandbox=False)
    whole = Replay(running, select, options, "whole").run()
    first = Replay(running, select, options, "resumed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = Replay(running, select, options, "resumed")
    assert second.resumed
    assert 0 < second.tally.total.compared < whole.total.compared
    assert whole.stages == second.run().stages
    assert not Replay(running, select, options, "resumed").resumed


def test_a_replay_keeps_the_tempo_that_it_is_told(running: Settings) -> None:
    """At twenty times the speed of history it is no faster than that."""
    found = _replayed("--topic", "cascade.market", "--local", "--speed", "20")
    assert found["divergences"] == 0
    assert found["times_real"] < 21


def test_an_emergency_has_a_post_mortem(running: Settings, tmp_path: Path) -> None:
    """Its page tells of the emergency, of commands, orders and packets, and of the replay."""
    runner, page = CliRunner(), tmp_path / "post-mortem.html"
    declared = runner.invoke(
        main,
        ["emergency", "declare", EmergencyType.DATA_CORRUPTION, EmergencyLevel.ADVISORY,
         "--system", "tactical", "--description", "odd prices", "--json"],
    )  # fmt: skip
    assert declared.exit_code == 0, declared.output
    emergency = json.loads(declared.stdout)["event"]["event_id"]
    halt = ["control", "halt", "--author", "operator", "--reason", "odd-prices"]
    resolve = ["emergency", "resolve", emergency]
    assert runner.invoke(main, halt).exit_code == 0
    _publish(rate=100, seconds=2)
    wait_until(lambda: _worked_off(running), "packets to have ended")
    assert runner.invoke(main, resolve).exit_code == 0

    found = _replayed("--emergency", emergency, "--local", "--report", str(page))
    assert (0, True) == (found["divergences"], found["compared"] > 0)
    text = page.read_text(encoding="utf-8")
    for part in ("odd prices", "HALT by operator", "flows ended", "History comes out again"):
        assert part in text


def _worked_off(settings: Settings) -> bool:
    """Say whether all market data has ended by now."""
    market = sum(map(len, read_topic(settings, "cascade.market").values()))
    ends = sum(map(len, read_topic(settings, "cascade.execution").values()))
    return ends > market  # the log has a marker, too
