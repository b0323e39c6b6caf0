"""The validation framework without Kafka: what it asks, how often, how much, what it tells."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.cascade.validation import CascadeValidationFramework
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.packets.codec import encode
from pipeline.packets.events import (
    Alert,
    ControlKind,
    PerformanceAlert,
    TradingState,
    ValidationLevel,
    ValidationType,
)
from pipeline.rules import (
    BrokerState,
    CommandSeen,
    GroupState,
    Need,
    RuleSet,
    TopicState,
    ValidationContext,
    ValidationReport,
    ValidationResult,
    ValidationRule,
    rule,
)
from pipeline.rules.windows import Logs
from pipeline.settings import load_settings
from pipeline.watch.group import Entry, TakeEntries
from tests.unit.cascade.fake_bus import FakeBus
from tests.unit.rules.real_packets import first, real_logs, run, run_settings

NOW_US = 2_000_000_000_000_000
LIMIT_S = 30.0


def _wait_until(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


class FakeObserver:
    """A healthy cascade: the logs of a real run, a broker that is well."""

    def __init__(self) -> None:
        self.logs_asked: list[int] = []
        self.broker_asked = 0
        self.fails = False
        self.closed = False

    def logs(self, newest: int) -> Logs:
        self.logs_asked.append(newest)
        if self.fails:
            raise BrokerUnavailable("Expected a broker, was none")
        return real_logs(newest=newest)

    def broker(self, logs: Logs, now_us: int) -> BrokerState:
        self.broker_asked += 1
        return BrokerState(
            topics={"cascade.market": TopicState()},
            groups={"strategic": GroupState(1, 0)},
            commands=(CommandSeen(0, ControlKind.BOOTSTRAP, "operator", now_us),),
            trading_state=TradingState.ACTIVE,
            packets_in=600,
            packets_in_before=600,
            packets_out=600,
        )

    def close(self) -> None:
        self.closed = True


class FakeSource:
    """Hands over what a test gives it, as the reader of the logs does."""

    def __init__(self) -> None:
        self.connected = False
        self._take: TakeEntries | None = None
        self._end = 0

    def start(self, take: TakeEntries) -> None:
        self._take, self.connected = take, True

    def close(self) -> None:
        self._take, self.connected = None, False

    def give(self, topic: str, packets: Sequence[Any]) -> None:
        """Hand over packets; bytes in place of one stand for bytes that are none."""
        entries = []
        for packet in packets:
            why = "Expected a packet, was none" if isinstance(packet, bytes) else ""
            entries.append(Entry(topic, 0, self._end, 0, None if why else packet, why))
            self._end += 1
        if self._take is not None:
            self._take(entries)


Make = Callable[..., CascadeValidationFramework]


@pytest.fixture
def bus() -> FakeBus:
    """Return a bus in memory."""
    return FakeBus(settings=run_settings())


@pytest.fixture
def observer() -> FakeObserver:
    """Return a healthy cascade."""
    return FakeObserver()


@pytest.fixture
def source() -> FakeSource:
    """Return what the auditor reads."""
    return FakeSource()


@pytest.fixture
def make(bus: FakeBus, observer: FakeObserver, source: FakeSource) -> Iterator[Make]:
    """Make frameworks over a healthy cascade; they validate when asked, unless told otherwise."""
    made: list[CascadeValidationFramework] = []

    def framework(**options: Any) -> CascadeValidationFramework:
        given = {
            "observer": observer,
            "source": source,
            "continuous": False,
            "now_us": lambda: NOW_US,
            **options,
        }
        made.append(CascadeValidationFramework(bus, **given))  # type: ignore[arg-type]  # stands in
        return made[-1]

    yield framework
    for each in made:
        each.close()


def _one(rule_id: str, **options: Any) -> RuleSet:
    """Return a set of one rule, which finds something in each comprehensive validation."""

    @rule(rule_id, ValidationType.DATA_INTEGRITY, **options)
    def finds(context: ValidationContext) -> list[str]:
        return ["Expected good, was bad"]

    return RuleSet([finds])


# -- packets ---------------------------------------------------------------------------------------


def _broken() -> Any:
    packet = first("strategic", "strategic")
    return replace(packet, strategic=replace(packet.strategic, signal_strength=-1.0))


def test_a_good_packet_has_results_that_all_passed(make: Make) -> None:
    """A pass is evidence: one result per rule that looked, never an empty list."""
    results = make().validate_packet(first("risk", "risk"))
    assert 10 <= len(results)
    assert all(each.passed for each in results)
    assert {first("risk", "risk").envelope.packet_id} == {each.packet_id for each in results}
    assert len(results) == len({each.validation_id for each in results})


def test_a_broken_packet_is_named(make: Make) -> None:
    """The finding says which rule, which packet, which system, and what to do."""
    (finding,) = (each for each in make().validate_packet(_broken()) if not each.passed)
    assert (
        "superposition.strategic",
        ValidationType.SUPERPOSITION_COHERENCE,
        "strategic",
        _broken().envelope.packet_id,
        NOW_US,
    ) == (
        finding.rule_id,
        finding.validation_type,
        finding.system_id,
        finding.packet_id,
        finding.timestamp,
    )
    assert finding.remediation_steps


def test_bytes_are_decoded(make: Make) -> None:
    """The bytes of a packet are as good as the packet; what cannot be read is a finding."""
    framework = make()
    value = encode(first("risk", "risk"))
    assert all(each.passed for each in framework.validate_packet(value))
    (finding,) = framework.validate_packet(value[:-1])
    assert ("data.decodable", ValidationLevel.CRITICAL) == (finding.rule_id, finding.level)


def test_what_is_no_packet_is_refused(make: Make) -> None:
    """Anything else is the caller's error."""
    with pytest.raises(UsageError, match="Expected a packet or its bytes, was a dict"):
        make().validate_packet({})  # type: ignore[arg-type]  # on purpose


def test_a_user_s_rule_is_asked(make: Make) -> None:
    """A rule as the specification shows it takes part, and is isolated where it raises."""

    class CustomValidationRule(ValidationRule):
        def validate(self, context: ValidationContext) -> list[ValidationResult]:
            return [self.finding(f"Expected no {context.packet.envelope.symbol}")]

    class Raises(ValidationRule):
        def validate(self, context: ValidationContext) -> list[ValidationResult]:
            raise KeyError("mine")

    framework = make()
    framework.add_rule(Raises())
    framework.add_rule(CustomValidationRule)
    results = framework.validate_packet(first("risk", "risk"))
    failing = {each.rule_id for each in results if not each.passed}
    assert {"custom_validation_rule", "raises"} == failing
    framework.enable_rule("raises", enabled=False)
    framework.remove_rule("custom_validation_rule")
    assert all(each.passed for each in framework.validate_packet(first("risk", "risk")))


def test_packets_need_no_broker() -> None:
    """Without a bus and a broker packets are validated all the same, and at once."""
    with CascadeValidationFramework(settings=load_settings(broker=None)) as framework:
        assert any(not each.passed for each in framework.validate_packet(_broken()))


# -- the whole -------------------------------------------------------------------------------------


def test_a_healthy_cascade_passes(make: Make) -> None:
    """Rules of each type run, and all pass; what they ran on is counted."""
    report = make(deep_records=1000).run_comprehensive_validation()
    assert (1.0, True, ()) == (
        report.cascade_integrity_score,
        report.passed,
        report.critical_issues,
    )
    assert (0, 0, True) == (
        report.summary["failed"],
        report.summary["errors"],
        report.summary["deep"],
    )
    assert all(each["rules_run"] >= 3 for each in report.summary["by_type"].values())
    # Under the event clock there are no latencies; that is no pass.
    assert {"performance.latency"} == set(report.no_data)
    assert 3000 <= report.summary["packets"]
    assert {"healthy"} == set(report.system_health.values())


def test_a_shallow_validation_leaves_the_broker_alone(make: Make, observer: FakeObserver) -> None:
    """It reads fewer records, and the rules that need more have no data rather than a pass."""
    report = make(sample_records=70).run_comprehensive_validation(deep=False)
    assert ([70], 0) == (observer.logs_asked, observer.broker_asked)
    assert {"configuration.topics", "connectivity.lag", "flow.records"} <= set(report.no_data)
    assert not report.summary["deep"]


def test_nothing_to_look_at_has_no_score(make: Make) -> None:
    """Without any rule with data the score is none, not 1."""
    report = make(rules=RuleSet([])).run_comprehensive_validation()
    assert (None, False, 0) == (
        report.cascade_integrity_score,
        report.passed,
        report.summary["rules_run"],
    )


def test_reports_are_kept_and_told(make: Make) -> None:
    """The newest report is at hand, and callbacks get each; one that raises ends nothing."""
    framework = make(rules=_one("house.bad"))
    told: list[ValidationReport] = []

    def raises(report: object) -> None:
        raise ArithmeticError(report)

    framework.on_report(raises)
    framework.on_report(told.append)
    assert [] == list(framework.reports)
    reports = [framework.run_comprehensive_validation() for _ in range(2)]
    newest: ValidationReport | None = framework.latest_report
    assert (reports, reports, reports[-1]) == (told, list(framework.reports), newest)


# -- alerts ----------------------------------------------------------------------------------------


def _alerts(bus: FakeBus) -> list[Alert]:
    return [each for each in bus.topics.packets("cascade.alerts") if isinstance(each, Alert)]


def _levels(bus: FakeBus) -> list[PerformanceAlert]:
    return [each.level for each in _alerts(bus)]


def test_an_alert_when_it_begins_and_when_it_is_over(make: Make, bus: FakeBus) -> None:
    """One alert as a rule begins to fail, none as it goes on, one as it passes again."""
    bad = [True]

    @rule("house.flaky", ValidationType.DATA_INTEGRITY)
    def flaky(context: ValidationContext) -> list[str]:
        return ["Expected good, was bad"] if bad[0] else []

    framework = make(rules=RuleSet([flaky]))
    for _ in range(3):
        framework.run_comprehensive_validation()
    bad[0] = False
    for _ in range(2):
        framework.run_comprehensive_validation()
    framework.close()
    assert [PerformanceAlert.CRITICAL, PerformanceAlert.INFO] == _levels(bus)
    alert = _alerts(bus)[0]
    context = json.loads(alert.context)
    assert ("house.flaky: Expected good, was bad", "house.flaky", 1) == (
        alert.message,
        context["rule_id"],
        context["findings"],
    )


def test_an_alert_is_repeated_after_a_while(make: Make, bus: FakeBus) -> None:
    """A rule that goes on failing is told again after the time set, and not before."""
    now = [NOW_US]
    framework = make(rules=_one("house.bad"), alert_repeat_s=60.0, now_us=lambda: now[0])
    for later_s in (0, 59, 60, 61):
        now[0] = NOW_US + later_s * 1_000_000
        framework.run_comprehensive_validation()
    framework.close()
    assert 2 == len(_alerts(bus))


@pytest.mark.parametrize(
    ("level", "alert"),
    [
        (ValidationLevel.WARNING, PerformanceAlert.WARNING),
        (ValidationLevel.ERROR, PerformanceAlert.CRITICAL),
        (ValidationLevel.CRITICAL, PerformanceAlert.EMERGENCY),
    ],
)
def test_levels_are_mapped(
    make: Make, bus: FakeBus, level: ValidationLevel, alert: PerformanceAlert
) -> None:
    """Each level of a finding has its alert."""
    framework = make(rules=_one("house.bad", level=level))
    framework.run_comprehensive_validation()
    framework.close()
    assert [alert] == _levels(bus)


def test_the_alert_level_is_a_threshold(make: Make, bus: FakeBus) -> None:
    """Findings below it are no alert; it may be changed while it runs, and switched off."""
    framework = make(rules=_one("house.bad"), alert_level=ValidationLevel.CRITICAL)
    framework.run_comprehensive_validation()
    framework.alert_level = None
    framework.run_comprehensive_validation()
    framework.alert_level = ValidationLevel.ERROR
    framework.run_comprehensive_validation()
    framework.close()
    assert [PerformanceAlert.CRITICAL] == _levels(bus)


def test_a_packet_s_finding_is_an_alert(make: Make, bus: FakeBus) -> None:
    """Packets that break one rule in a row are one alert, which names the first."""
    framework = make()
    for _ in range(5):
        framework.validate_packet(_broken())
    framework.close()
    (alert,) = _alerts(bus)
    assert [_broken().envelope.packet_id] == json.loads(alert.context)["packet_ids"]


def test_alerts_that_cannot_be_published_end_nothing(make: Make, bus: FakeBus) -> None:
    """Without a broker alerts are logged, and validation goes on."""
    bus.lost = True
    framework = make()
    assert any(not each.passed for each in framework.validate_packet(_broken()))
    framework.close()
    bus.lost = False
    assert [] == _alerts(bus)


# -- the auditor -----------------------------------------------------------------------------------

PATIENT_S = 3600.0  # no validation at intervals while a test looks at the auditor


def _wrong_fill() -> Any:
    """Return a fill of more than was ordered; no rule in the path looks at fills."""
    event = next(each for each in run()["fills"] if each.filled > 0.0)
    return replace(event, filled=event.quantity * 2.0)


def test_every_packet_of_every_log_is_audited(make: Make, source: FakeSource) -> None:
    """Good packets are counted by topic, and pass under each rule that looks at them."""
    framework = make(continuous=True, validation_interval=PATIENT_S)
    for log, packets in run().items():
        source.give(f"cascade.{log}", packets)
    audited = framework.audited
    expected = {f"cascade.{log}": len(packets) for log, packets in run().items()}
    assert (expected, sum(expected.values()), 0) == (
        audited.topics,
        audited.packets,
        audited.failed,
    )
    assert () == framework.audit_findings
    assert audited.packets == audited.rules["data.decodable"].checked
    assert len(run()["fills"]) == audited.rules["data.fill"].checked
    assert {"superposition.strategic", "security.envelope"} < set(audited.rules)
    assert all((each.checked, 0) == (each.passed, each.failed) for each in audited.rules.values())


def test_what_no_rule_in_the_path_looks_at_is_audited(
    make: Make, source: FakeSource, bus: FakeBus
) -> None:
    """A wrong fill among good ones is found, exactly it, with its place and its flow; one alert."""
    framework = make(continuous=True, validation_interval=PATIENT_S)
    good, wrong = run()["fills"][:5], _wrong_fill()
    source.give("cascade.fills", [*good, wrong, *good, wrong])
    first_one, second = framework.audit_findings
    assert ("data.fill", ValidationLevel.CRITICAL, "gateway", NOW_US) == (
        first_one.rule_id,
        first_one.level,
        first_one.system_id,
        first_one.timestamp,
    )
    place = {"topic": "cascade.fills", "partition": 0, "flow_id": wrong.flow_id}
    assert [{**place, "offset": 5}, {**place, "offset": 11}] == [first_one.details, second.details]
    assert first_one.validation_id != second.validation_id
    fills = framework.audited.rules["data.fill"]
    assert (12, 10, 2) == (fills.checked, fills.passed, fills.failed)
    framework.close()
    (alert,) = _alerts(bus)
    assert PerformanceAlert.EMERGENCY == alert.level
    assert [wrong.flow_id] == json.loads(alert.context)["flow_ids"]


def test_a_sealed_packet_is_audited(make: Make, source: FakeSource) -> None:
    """A packet whose fate is sealed is carried past the path's rules, and audited all the same."""
    framework = make(continuous=True, validation_interval=PATIENT_S)
    packet = next(each for each in run()["tactical"] if each.envelope.outcome is not None)
    wrong = replace(packet, envelope=replace(packet.envelope, trace=packet.envelope.trace[:-1]))
    source.give("cascade.tactical", [packet, wrong])
    (finding,) = framework.audit_findings
    assert ("flow.trace", packet.envelope.packet_id, packet.envelope.flow_id, 1) == (
        finding.rule_id,
        finding.packet_id,
        finding.details["flow_id"],
        finding.details["offset"],
    )


def test_what_cannot_be_read_is_a_finding(make: Make, source: FakeSource) -> None:
    """Bytes that are no packet are counted and named by their place."""
    framework = make(continuous=True, validation_interval=PATIENT_S)
    source.give("cascade.risk", [b"x", first("risk", "risk")])
    (finding,) = framework.audit_findings
    assert ("data.decodable", "Expected a packet, was none", 0) == (
        finding.rule_id,
        finding.message,
        finding.details["offset"],
    )
    decodable = framework.audited.rules["data.decodable"]
    assert (2, 1, 1) == (decodable.checked, decodable.passed, decodable.failed)


def test_a_user_s_rule_audits_and_is_isolated(make: Make, source: FakeSource) -> None:
    """A rule that raises has failed about that packet; the others are asked, and so is the next."""

    class Raises(ValidationRule):
        needs = Need.PACKET

        def validate(self, context: ValidationContext) -> list[ValidationResult]:
            raise KeyError("mine")

    framework = make(continuous=True, validation_interval=PATIENT_S)
    framework.add_rule(Raises())
    source.give("cascade.risk", [first("risk", "risk")] * 2)
    framework.enable_rule("raises", enabled=False)
    source.give("cascade.risk", [first("risk", "risk")])
    raises, route = (framework.audited.rules[name] for name in ("raises", "flow.route"))
    assert ((2, 2), (3, 3)) == ((raises.checked, raises.failed), (route.checked, route.passed))
    assert {"raises"} == {each.rule_id for each in framework.audit_findings}


def test_findings_are_bounded_and_totals_are_not(make: Make, source: FakeSource) -> None:
    """The newest 1000 findings are kept; the totals count all."""
    framework = make(
        continuous=True, validation_interval=PATIENT_S, rules=RuleSet(), alert_level=None
    )
    source.give("cascade.fills", [_wrong_fill()] * 1010)
    offsets = [each.details["offset"] for each in framework.audit_findings]
    assert list(range(10, 1010)) == offsets
    assert 1010 == framework.audited.failed


def test_audits_stand_in_the_report(make: Make, source: FakeSource) -> None:
    """The report has the auditor's totals; None where none was started."""
    framework = make()
    assert framework.run_comprehensive_validation(deep=False).summary["audit"] is None
    framework.start()
    source.give("cascade.fills", [_wrong_fill()])
    audit = framework.run_comprehensive_validation(deep=False).summary["audit"]
    assert (1, 1, True) == (audit["packets"], audit["failed"], audit["connected"])
    assert {"checked": 1, "passed": 0, "failed": 1} == audit["rules"]["data.fill"]


def test_it_audits_while_it_is_started(make: Make, source: FakeSource) -> None:
    """Only between start and stop; started again it goes on, and its totals with it."""
    framework = make()
    assert not source.connected
    for _ in range(2):
        framework.start()
        source.give("cascade.fills", run()["fills"][:3])
        framework.stop()
        assert not source.connected
    assert 6 == framework.audited.packets


# -- settings --------------------------------------------------------------------------------------


def test_it_validates_at_intervals(
    make: Make, observer: FakeObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every interval a validation, every deep interval a deep one; `stop` ends both."""
    # A second goes by at each look at the clock, however long a validation takes here.
    clock = SimpleNamespace(monotonic=partial(next, count()), time_ns=time.time_ns)
    monkeypatch.setattr("pipeline.cascade.validation.framework.time", clock)
    framework = make(
        validation_interval=0.001,
        deep_validation_interval=4.0,
        sample_records=40,
        deep_records=50,
        continuous=True,
        rules=_one("house.bad"),
    )
    _wait_until(lambda: observer.logs_asked.count(50) >= 3)
    framework.stop()
    asked = list(observer.logs_asked)
    assert [40, 40, 40, 50] * 3 == asked[:12]
    assert asked.count(50) == observer.broker_asked
    other = FakeObserver()
    make(validation_interval=0.001, continuous=True, rules=_one("a"), observer=other)
    _wait_until(lambda: len(other.logs_asked) >= 10)
    assert asked == observer.logs_asked


def test_a_longer_interval_validates_less(make: Make, observer: FakeObserver) -> None:
    """In the time of ten short intervals a long one brings nothing."""
    slow = FakeObserver()
    make(validation_interval=60.0, continuous=True, rules=_one("a"), observer=slow)
    make(validation_interval=0.01, continuous=True, rules=_one("b"))
    _wait_until(lambda: len(observer.logs_asked) >= 10)
    assert [] == slow.logs_asked


def test_a_validation_that_fails_is_followed_by_others(make: Make, observer: FakeObserver) -> None:
    """A broker that is away for a while ends nothing."""
    observer.fails = True
    framework = make(validation_interval=0.01, continuous=True, rules=_one("house.bad"))
    _wait_until(lambda: len(observer.logs_asked) >= 3)
    assert framework.latest_report is None
    observer.fails = False
    _wait_until(lambda: framework.latest_report is not None)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_rules_run_at_once(make: Make, most: int) -> None:
    """As many rules as set run at once, no more and no fewer."""
    lock, running, peak = threading.Lock(), [0], [0]
    together = threading.Barrier(most)

    class Slow(ValidationRule):
        needs = Need.LOGS

        def validate(self, context: ValidationContext) -> list[ValidationResult]:
            with lock:
                running[0] += 1
                peak[0] = max(peak[0], running[0])
            together.wait(LIMIT_S)
            with lock:
                running[0] -= 1
            return []

    rules = RuleSet([Slow(f"slow.{number}") for number in range(6)])
    report = make(rules=rules, max_concurrent_validations=most).run_comprehensive_validation()
    assert (most, 6) == (peak[0], report.summary["passed"])


def test_arguments_come_before_settings(make: Make, bus: FakeBus) -> None:
    """Without an argument the setting counts; with one, the argument."""
    bus.settings = load_settings(
        broker=None, validation={"interval": 7.0, "deep_interval": 70.0}, clock="event"
    )
    plain = make()
    assert (7.0, 70.0) == (plain.validation_interval, plain.deep_validation_interval)
    assert 1.5 == make(validation_interval=1.5).validation_interval


@pytest.mark.parametrize(
    "wrong",
    [
        {"validation_interval": 0},
        {"deep_validation_interval": -1.0},
        {"max_concurrent_validations": 0},
        {"validation_interval": True},
    ],
)
def test_what_cannot_be_is_refused(make: Make, wrong: dict[str, Any]) -> None:
    """An interval or a number that cannot work is named."""
    with pytest.raises(UsageError, match=f"Expected {next(iter(wrong))} above 0"):
        make(**wrong)


def test_closing_lets_go(make: Make, bus: FakeBus, observer: FakeObserver) -> None:
    """Closing ends the connections of the observer, not the bus of somebody else."""
    make().close()
    assert (True, True) == (observer.closed, bus.connected)
