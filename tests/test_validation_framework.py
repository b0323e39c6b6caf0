"""The validation framework on a real Kafka: a healthy cascade passes, one broken is found out."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from msgspec.structs import replace

from pipeline.cascade import CascadeValidationFramework, ValidationLevel, ValidationRule
from pipeline.cascade.validation import ClusterObserver
from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.events import EventBus
from pipeline.packets.codec import decode, encode, is_marker
from pipeline.packets.events import Alert, ControlCommand, ControlKind, PerformanceAlert
from pipeline.packets.models import OrderEvent
from pipeline.rules import ValidationContext, ValidationReport, ValidationResult
from pipeline.rules.oracle import accepted_records
from pipeline.run.session import LocalRun
from pipeline.run.workers import worker_specs
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.kafka_workers import MANY_MS, market_data, read_log, send, wait_until
from tests.unit.rules.real_packets import entries_of_run
from tests.unit.rules.real_packets import run_settings as settings_of_run

SYMBOLS = ("AAPL", "IBM")
PACKETS = 70  # enough for strategic and tactical to be done warming up


@pytest.fixture(scope="module")
def cascade(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A cascade of all workers on a real Kafka that has worked off some bars of two symbols."""
    settings = load_settings(
        broker=kafka,
        namespace=f"test-{uuid.uuid4().hex[:10]}",
        home=tmp_path_factory.mktemp("validation"),
        cascade_timeout_ms=MANY_MS,
    )
    apply_topics(settings, TopicFile.load())
    ControlWriter(settings).issue(_command(ControlKind.BOOTSTRAP, "operator"))
    specs = worker_specs(single=True, log_level="INFO")
    with LocalRun(settings, specs) as workers:
        workers.wait_owned(90.0)
        for sequence in range(PACKETS):
            packets = [(each.encode(), market_data(each, sequence, settings)) for each in SYMBOLS]
            send(settings, "cascade.market", [(key, encode(each)) for key, each in packets])
        wait_until(lambda: _ended(settings) == PACKETS * len(SYMBOLS), "all flows to end")
        yield settings


def _command(kind: ControlKind, author: str) -> ControlCommand:
    return new_command(kind, author=author, reason="a test", clock=WallClock())


def _ended(settings: Settings) -> int:
    return len(accepted_records(read_log(settings, "cascade.execution")))


@pytest.fixture
def bus(cascade: Settings) -> Iterator[EventBus]:
    """A bus on the cascade's broker."""
    with EventBus(settings=cascade) as opened:
        yield opened


@pytest.fixture
def framework(bus: EventBus) -> Iterator[CascadeValidationFramework]:
    """A framework that validates when asked."""
    with CascadeValidationFramework(bus, continuous=False) as made:
        yield made


def _failed(report: ValidationReport) -> dict[str, str]:
    return {each.rule_id: each.message for each in report.validation_results if not each.passed}


def test_a_healthy_cascade_passes(framework: CascadeValidationFramework) -> None:
    """All 37 rules but those without data pass on a cascade that works; the score is 1."""
    report = framework.run_comprehensive_validation()
    assert {} == _failed(report)
    assert 1.0 == report.cascade_integrity_score
    assert report.summary["rules_run"] + report.summary["no_data"] == len(framework.rules)
    assert 30 <= report.summary["passed"]
    for system in ("market", "strategic", "tactical", "risk", "execution"):
        assert "healthy" == report.system_health[system]
    assert report.summary["packets"] >= 5 * PACKETS * len(SYMBOLS)


def test_a_shallow_validation_asks_no_broker(framework: CascadeValidationFramework) -> None:
    """At the short interval the newest records are looked at, and nothing more."""
    report = framework.run_comprehensive_validation(deep=False)
    assert {} == _failed(report)
    assert {"configuration.topics", "connectivity.lag", "flow.conservation"} <= set(report.no_data)


def test_packets_of_the_cascade_are_good(
    framework: CascadeValidationFramework, cascade: Settings
) -> None:
    """Each record of each log is a packet all of whose results passed."""
    for topic in ("cascade.strategic", "cascade.tactical", "cascade.risk", "cascade.execution"):
        values = [value for entries in read_log(cascade, topic).values() for _, value in entries]
        packets = [value for value in values[5:] if value is not None]
        results = [each for value in packets[:20] for each in framework.validate_packet(value)]
        assert results
        assert [] == [each.message for each in results if not each.passed]


def test_a_command_by_a_stranger_is_an_emergency(
    framework: CascadeValidationFramework, bus: EventBus, cascade: Settings
) -> None:
    """A resume by nobody we know is a critical finding, and an alert for those who watch."""
    alerts: list[Any] = []
    bus.subscribe("cascade.alerts", lambda received: alerts.append(received.packet)).ready(10.0)
    # Past the writer, which would refuse it.
    forged = _command(ControlKind.RESUME, "stranger")
    send(cascade, "cascade.control", [(b"*", encode(forged))])
    report = framework.run_comprehensive_validation()
    assert {"security.commands"} == set(_failed(report))
    assert "stranger" in report.critical_issues[0].message
    assert report.cascade_integrity_score is not None
    assert 0.9 < report.cascade_integrity_score < 1.0
    wait_until(lambda: alerts, "an alert")
    (alert,) = alerts
    assert isinstance(alert, Alert)
    assert (PerformanceAlert.EMERGENCY, True) == (alert.level, "stranger" in alert.message)


def test_a_record_that_nobody_can_have_written_is_found(
    framework: CascadeValidationFramework, cascade: Settings
) -> None:
    """Bytes of a stranger in a log are named by their place; the stages never used them."""
    producer = Producer(cascade.client())
    producer.produce(cascade.topic("cascade.tactical"), b"somebody else's", b"x", partition=2)
    assert 0 == producer.flush(30)
    failed = _failed(framework.run_comprehensive_validation(deep=False))
    assert {"data.readable"} == set(failed)
    assert "cascade.tactical[2]@" in failed["data.readable"]


def test_an_incoherent_record_is_found(
    framework: CascadeValidationFramework, cascade: Settings
) -> None:
    """A packet of the cascade, one field of it changed, fails under that field's rule."""
    records = accepted_records(read_log(cascade, "cascade.strategic"))
    packet = next(each.record for each in records if each.record.strategic)
    wrong = replace(packet, strategic=replace(packet.strategic, coherence=0.123))
    results = framework.validate_packet(encode(wrong))
    assert ["superposition.coherence"] == [each.rule_id for each in results if not each.passed]


def test_a_topic_that_differs_is_found(
    framework: CascadeValidationFramework, cascade: Settings
) -> None:
    """A setting changed by hand is named, with both values; undone, all is well again."""

    def retain(value_ms: int) -> None:
        entry = ConfigEntry(
            "retention.ms", str(value_ms), incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource(
            ResourceType.TOPIC, cascade.topic("cascade.risk"), incremental_configs=[entry]
        )
        admin = AdminClient(cascade.client())
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(timeout=20)

    retain(1000 * 3600 * 1000)

    def differences() -> str:
        return _failed(framework.run_comprehensive_validation()).get("configuration.topics", "")

    wait_until(lambda: "retention.ms" in differences(), "the change to be found")
    retain(168 * 3600 * 1000)
    wait_until(lambda: not differences(), "the change to be undone")


def test_it_watches_by_itself(bus: EventBus) -> None:
    """Constructed with a bus it validates at its intervals, a user's rule among the others."""

    class CustomValidationRule(ValidationRule):
        level = ValidationLevel.WARNING

        def validate(self, context: ValidationContext) -> list[ValidationResult]:
            return [self.finding("Expected a custom rule to be asked, was")]

    reports: list[ValidationReport] = []
    with CascadeValidationFramework(
        event_bus=bus, validation_interval=0.3, deep_validation_interval=1.0
    ) as framework:
        framework.add_rule(CustomValidationRule)
        framework.on_report(reports.append)
        wait_until(lambda: {True, False} <= {r.summary["deep"] for r in reports}, "both kinds")
    assert all("custom_validation_rule" in _failed(each) for each in reports)


Entries = list[tuple[int, bytes | None]]


def _append(settings: Settings, topic: str, entries: Entries) -> None:
    """Append entries to one partition, where their offsets are to be those given."""
    producer = Producer(settings.client())
    for _, value in entries:
        producer.produce(settings.topic(topic), value, b"IBM", partition=0)
        producer.poll(0)
    assert 0 == producer.flush(30)


def _overfilled(value: bytes | None) -> tuple[bytes, str] | None:
    """Return a fill of twice as much as was ordered, and its flow; None where it is no fill."""
    event = decode(value)
    if not isinstance(event, OrderEvent) or event.filled <= 0.0:
        return None
    return encode(replace(event, filled=event.quantity * 2.0)), event.flow_id


def _two_broken_fills(entries: Entries) -> tuple[Entries, list[tuple[int, str]]]:
    """Return the entries of the fills log, two of them broken, and their (offset, flow)."""
    changed, broken = list(entries), []
    fills = [(offset, wrong) for offset, value in entries if (wrong := _overfilled(value))]
    for offset, (value, flow) in (fills[1], fills[-2]):
        changed[offset] = (offset, value)
        broken.append((offset, flow))
    return changed, broken


def _audited(settings: Settings, packets: int) -> CascadeValidationFramework:
    """Return a framework that has audited that many packets, and is closed."""
    with (
        EventBus(settings=settings) as bus,
        CascadeValidationFramework(bus, validation_interval=3600.0) as framework,
    ):
        wait_until(lambda: framework.audited.packets >= packets, "all packets to be audited")
    return framework


def test_every_packet_is_audited_in_a_group_of_its_own(kafka: str) -> None:
    """One fill that breaks a rule is found among all packets; the next in the group goes on."""
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    settings = settings_of_run().model_copy(update={"broker": kafka, "namespace": namespace})
    apply_topics(settings, TopicFile.load())
    entries: dict[str, Entries] = entries_of_run()
    entries["cascade.fills"], (early, late) = _two_broken_fills(entries["cascade.fills"])
    half = (early[0] + late[0]) // 2
    for found, part in ((early, slice(None, half)), (late, slice(half, None))):
        expected = {}
        for topic, all_of_it in entries.items():
            _append(settings, topic, all_of_it[part])
            count = sum(1 for _, value in all_of_it[part] if not is_marker(value))
            expected.update({topic: count} if count else {})
        framework = _audited(settings, sum(expected.values()))
        assert expected == framework.audited.topics
        (finding,) = framework.audit_findings
        assert ("data.fill", "cascade.fills", 0, *found) == (
            finding.rule_id,
            *(finding.details[name] for name in ("topic", "partition", "offset", "flow_id")),
        )


def test_no_cascade_is_said_so(kafka: str) -> None:
    """Without topics, or without a broker, it says what is missing and what to do."""
    empty = EventBus(kafka, load_settings(namespace=f"test-{uuid.uuid4().hex[:10]}"))
    with (
        empty,
        CascadeValidationFramework(empty, continuous=False) as framework,
        pytest.raises(ConfigurationError, match="cascade topics apply"),
    ):
        framework.run_comprehensive_validation()
    nobody = EventBus("127.0.0.1:1", connect_timeout_s=1.0)
    with (
        CascadeValidationFramework(nobody, continuous=False) as framework,
        pytest.raises(BrokerUnavailable),
    ):
        framework.run_comprehensive_validation()


def test_a_cascade_without_workers_is_found_out(kafka: str, tmp_path: Path) -> None:
    """Where nobody works, workers, trading and ends of flows are missed; the rest has no data."""
    settings = load_settings(
        broker=kafka, namespace=f"test-{uuid.uuid4().hex[:10]}", home=tmp_path / "home"
    )
    apply_topics(settings, TopicFile.load())
    packets = [market_data("IBM", sequence, settings) for sequence in range(3)]
    send(settings, "cascade.market", [(b"IBM", encode(each)) for each in packets])
    observer = ClusterObserver(settings, open_limit_s=0.2)
    with CascadeValidationFramework(
        EventBus(settings=settings), continuous=False, observer=observer
    ) as framework:
        wait_until(
            lambda: "flow.conservation" in _failed(framework.run_comprehensive_validation()),
            "flows to be missed",
        )
        report = framework.run_comprehensive_validation()
    expected = {"flow.conservation", "connectivity.members", "configuration.trading"}
    assert expected == set(_failed(report))
    assert "3 still open" in _failed(report)["flow.conservation"]
    assert {"strategic": "failing", "gateway": "failing", "market": "healthy"} == {
        name: report.system_health[name] for name in ("strategic", "gateway", "market")
    }
    assert "security.approval" in report.no_data
