"""The built-in rules: real packets and a healthy broker pass, one mutation each is found."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace as replaced
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.packets.codec import encode
from pipeline.packets.events import ControlKind, TradingState, ValidationLevel, ValidationType
from pipeline.packets.lanes import INGEST_TOPIC
from pipeline.packets.models import Marker, OrderEvent, Trace
from pipeline.packets.vocabulary import Action, OutcomeKind, Side, SuperpositionType
from pipeline.rules.builtin import BUILT_IN
from pipeline.rules.context import (
    BrokerState,
    CommandSeen,
    GroupState,
    TopicState,
    ValidationContext,
)
from pipeline.rules.model import Need, ValidationRule
from pipeline.rules.running import RuleOutcome, Status, ask, ask_about
from pipeline.rules.windows import STAGE_LOGS, Logs
from tests.unit.rules.real_packets import (
    entries_of_run,
    first,
    logs_of,
    real_logs,
    run,
    run_settings,
)

NOW_US = 2_000_000_000_000_000
RULES = {each.rule_id: each for each in BUILT_IN}
HEALTHY = BrokerState(
    topics={"cascade.market": TopicState(partitions=4), "cascade.risk": TopicState()},
    groups={"strategic": GroupState(1, 0), "risk": GroupState(2, 17)},
    commands=(CommandSeen(0, ControlKind.BOOTSTRAP, "operator", NOW_US),),
    trading_state=TradingState.ACTIVE,
    packets_in=1000,
    packets_in_before=900,
    packets_out=950,
)


def _context(**what: Any) -> ValidationContext:
    return ValidationContext(settings=run_settings(), now_us=NOW_US, **what)


def _of(need: Need) -> Sequence[str]:
    return [name for name, each in RULES.items() if each.needs is need]


def test_there_are_three_of_each_type_and_more() -> None:
    """Each validation type has three rules at least, with ids of their own and something to do."""
    counts = Counter(each.validation_type for each in BUILT_IN)
    assert set(ValidationType) == counts.keys()
    assert 3 <= min(counts.values())
    assert len(BUILT_IN) == len(RULES)
    assert all(each.remediation and each.rule_name != each.rule_id for each in BUILT_IN)


@pytest.mark.parametrize("rule_id", _of(Need.PACKET))
def test_real_packets_pass(rule_id: str) -> None:
    """Each rule about packets looks at some of a real run, and finds nothing."""
    packets = [packet for log in run().values() for packet in log]
    outcome = ask_about(RULES[rule_id], packets, _context())
    assert (Status.PASSED, []) == (outcome.status, list(outcome.findings))
    assert 20 <= outcome.looked_at


def _wall(context: ValidationContext) -> ValidationContext:
    """Return a context under the wall clock; the run's latencies are then what rules look at."""
    settings = context.settings.model_copy(update={"clock": "wall"})
    return replaced(context, settings=settings)


@pytest.mark.parametrize("newest", [None, 200, 100])
@pytest.mark.parametrize("rule_id", _of(Need.LOGS))
def test_real_logs_pass(rule_id: str, newest: int | None) -> None:
    """Each rule about logs passes on a real run, whole or its newest records alone."""
    outcome = ask(RULES[rule_id], _short_rounds(_wall(_context(logs=real_logs(newest=newest)))))
    assert [] == list(outcome.findings)
    # The newest flows are too few to say what 95 % of them are.
    too_few = rule_id == "performance.latency" and newest is not None
    assert (Status.NO_DATA if too_few else Status.PASSED) is outcome.status


def _short_rounds(context: ValidationContext) -> ValidationContext:
    """Return a context of rounds that are shorter than the windows."""
    settings = context.settings.model_copy(update={"round_max_records": 5})
    return replaced(context, settings=settings)


@pytest.mark.parametrize("rule_id", _of(Need.BROKER))
def test_a_healthy_broker_passes(rule_id: str) -> None:
    """Each rule about the broker passes where all is well."""
    outcome = ask(RULES[rule_id], _context(broker=HEALTHY, deep=True))
    assert (Status.PASSED, []) == (outcome.status, list(outcome.findings))


@pytest.mark.parametrize("rule_id", RULES)
def test_nothing_to_look_at_is_no_pass(rule_id: str) -> None:
    """Without packets, logs and broker each rule has no data."""
    assert Status.NO_DATA is ask(RULES[rule_id], _context()).status


@pytest.mark.parametrize("rule_id", [*_of(Need.LOGS), *_of(Need.BROKER)])
def test_an_empty_cluster_is_no_pass(rule_id: str) -> None:
    """On empty logs and a broker that says nothing, a rule has no data or finds that missing."""
    context = _context(logs=logs_of({}), broker=BrokerState(), deep=True)
    expected = Status.FAILED if rule_id == "configuration.trading" else Status.NO_DATA
    assert expected is ask(RULES[rule_id], context).status


# -- packets ---------------------------------------------------------------------------------------


def test_a_rule_concerns_the_types_of_the_packets_that_it_looks_at() -> None:
    """Who remembers which rules concern a type leaves none out, and asks no rule in vain."""
    packets = [packet for packets in run().values() for packet in packets]
    for rule in BUILT_IN:
        if rule.needs is Need.PACKET:
            seen = {type(packet) for packet in packets if rule.looks_at(packet)}
            assert seen
            assert seen == {kind for kind in set(map(type, packets)) if rule.concerns(kind)}


def _with(log: str, part: str, **changes: Any) -> Any:
    """Return a real packet of a log, one of its parts changed."""
    packet = first(log, part)
    return replace(packet, **{part: replace(getattr(packet, part), **changes)})


def _filled() -> OrderEvent:
    found: OrderEvent = next(each for each in run()["fills"] if each.filled > 0.0)
    return found


def _other_choice(stage: str) -> Any:
    """Return a decision for another action than the most probable."""
    action = getattr(first(stage, stage), stage).action
    return _with(stage, stage, action=Action.SELL if action is Action.BUY else Action.BUY)


def _against() -> Any:
    """Return a flow that goes on against the strategic lean."""
    packet = first("tactical", "tactical")
    strategic = replace(packet.strategic, signal_strength=-packet.strategic.signal_strength)
    return replace(packet, strategic=strategic)


def _seen(log: str, **changes: Any) -> Any:
    """Return a real packet, the first of its views changed."""
    packet = first(log, log)
    return replace(packet, views=(replace(packet.views[0], **changes), *packet.views[1:]))


def _late_trace() -> Any:
    """Return a packet that its stage finished before it began."""
    packet = first("risk", "envelope")
    newest = packet.envelope.trace[-1]
    backwards = Trace(newest.stage, newest.received, newest.started, newest.started - 1)
    return _with("risk", "envelope", trace=(*packet.envelope.trace[:-1], backwards))


def _slow() -> Any:
    """Return a packet that its stage worked on for 80 ms."""
    packet = first("risk", "envelope")
    newest = packet.envelope.trace[-1]
    slow = Trace(newest.stage, newest.received, newest.started, newest.started + 80_000)
    return _with("risk", "envelope", trace=(*packet.envelope.trace[:-1], slow))


def _order(**changes: Any) -> Any:
    """Return a plan, its first order changed."""
    orders = first("execution", "execution").execution.orders
    return _with("execution", "execution", orders=(replace(orders[0], **changes), *orders[1:]))


def _held() -> Any:
    """Return a plan with orders whose flow is said to be held."""
    outcome = replace(first("execution", "envelope").envelope.outcome, kind=OutcomeKind.HELD)
    return _with("execution", "envelope", outcome=outcome)


def _journal(log: str, now: int) -> Any:
    packet = first(log, "envelope")
    return replace(packet, journal=replace(packet.journal, now=now))


def _anonymous() -> Any:
    stamp = first("risk", "envelope").envelope.policy
    return _with("risk", "envelope", policy=replace(stamp, sha256=""))


def _skipped() -> Any:
    trace = first("risk", "envelope").envelope.trace
    return _with("risk", "envelope", trace=(trace[0], trace[2]))


def _deadline_us(log: str) -> int:
    return int(first(log, "envelope").envelope.deadline)


PACKETS: dict[str, tuple[str, Callable[[], Any]]] = {
    "bar: low above open": ("data.bar", lambda: _with("risk", "bar", low=1e9)),
    "identity: another flow": (
        "data.identity",
        lambda: _with("market", "envelope", sequence=10**6),
    ),
    "identity: another packet": (
        "data.identity",
        lambda: _with("market", "envelope", packet_id="x"),
    ),
    "identity: another parent": ("data.identity", lambda: _with("risk", "envelope", parent_id="x")),
    "identity: another stage's": (
        "data.identity",
        lambda: _with("risk", "envelope", packet_id=first("tactical", "bar").envelope.packet_id),
    ),
    "fill: no side": ("data.fill", lambda: replace(_filled(), side=Side.NONE)),
    "fill: no price": ("data.fill", lambda: replace(_filled(), price=0.0)),
    "fill: too much": ("data.fill", lambda: replace(_filled(), filled=_filled().quantity * 1.1)),
    "route: plan to the first stage": (
        "flow.route",
        lambda: _with("execution", "envelope", target_system="strategic"),
    ),
    "route: another type": (
        "flow.route",
        lambda: _with("tactical", "envelope", packet_type=SuperpositionType.CONTEXT_UPDATE),
    ),
    "trace: a stage skipped": ("flow.trace", _skipped),
    "trace: none": ("flow.trace", lambda: _with("risk", "envelope", trace=())),
    "fate: no decision": (
        "flow.fate",
        lambda: replace(first("tactical", "tactical"), tactical=None),
    ),
    "fate: HOLD goes on": ("flow.fate", lambda: _with("tactical", "tactical", action=Action.HOLD)),
    "fate: REJECT goes on": ("flow.fate", lambda: _with("risk", "risk", verdict="REJECT")),
    "fate: no end": ("flow.fate", lambda: _with("execution", "envelope", outcome=None)),
    "fate: held with orders": ("flow.fate", _held),
    "fate: executed without": (
        "flow.fate",
        lambda: _with("execution", "execution", orders=()),
    ),
    "budget: 80 ms": ("performance.budget", _slow),
    "deadline: late orders": (
        "performance.deadline",
        lambda: _journal("execution", _deadline_us("execution") + 1),
    ),
    "envelope: too much": ("security.envelope", lambda: _order(quantity=1e9)),
    "envelope: other side": (
        "security.envelope",
        lambda: _order(
            side=Side.SELL
            if first("execution", "risk").risk.envelope.side is Side.BUY
            else Side.BUY
        ),
    ),
    "envelope: foreign id": ("security.envelope", lambda: _order(client_order_id="x-000")),
    "envelope: not approved": (
        "security.envelope",
        lambda: _with("execution", "risk", verdict="REJECT"),
    ),
    "reservation: too little": (
        "security.reservation",
        lambda: _with("risk", "risk", reserved=1.0),
    ),
    "attribution: no hash": ("security.attribution", _anonymous),
    "attribution: no policy": (
        "security.attribution",
        lambda: _with("risk", "envelope", policy=None),
    ),
    "account: another": ("security.account", lambda: _with("risk", "envelope", account="theirs")),
    "deadline: another time-out": (
        "configuration.deadline",
        lambda: _with("market", "envelope", deadline=_deadline_us("market") + 1000),
    ),
    "strategic: not the mode": (
        "superposition.strategic",
        lambda: _other_choice("strategic"),
    ),
    "tactical: not the mode": (
        "superposition.tactical",
        lambda: _other_choice("tactical"),
    ),
    "coherence: of a decision": (
        "superposition.coherence",
        lambda: _with("strategic", "strategic", coherence=0.999),
    ),
    "coherence: of a view": (
        "superposition.coherence",
        lambda: _seen("risk", coherence=0.001),
    ),
    "views: sum": (
        "superposition.views",
        lambda: _seen("tactical", distribution={"BUY": 0.5, "HOLD": 0.4, "SELL": 0.2}),
    ),
    "views: confidence": ("superposition.views", lambda: _seen("tactical", confidence=0.01)),
    "views: other names": (
        "superposition.views",
        lambda: _seen("tactical", distribution={"UP": 1.0}, confidence=1.0),
    ),
    "alignment: against the lean": ("superposition.alignment", _against),
    "envelope: deadline first": (
        "temporal.envelope",
        lambda: _with("risk", "envelope", deadline=1),
    ),
    "envelope: bar of tomorrow": (
        "temporal.envelope",
        lambda: _with("market", "envelope", event_time=_deadline_us("market") + 10**11),
    ),
    "trace: finished first": ("temporal.trace", _late_trace),
    "decision: of the future": ("temporal.decision", lambda: _journal("risk", NOW_US + 10**7)),
    "decision: before the packet": ("temporal.decision", lambda: _journal("risk", 1)),
}


@pytest.mark.parametrize("name", PACKETS)
def test_one_mutated_packet_is_found(name: str) -> None:
    """A real packet, one field of it changed, fails under the rule that is about that field."""
    rule_id, mutated = PACKETS[name]
    outcome = ask_about(RULES[rule_id], [mutated()], _context())
    assert (Status.FAILED, 1) == (outcome.status, outcome.found)
    (finding,) = outcome.findings
    assert "Expected" in finding.message
    assert (rule_id, RULES[rule_id].remediation) == (finding.rule_id, finding.remediation_steps)
    assert finding.system_id
    assert ValidationLevel.INFO is not finding.level


# -- logs ------------------------------------------------------------------------------------------

Entries = dict[str, list[tuple[int, bytes | None]]]


def _number(entries: Entries, topic: str, wanted: Callable[[Any], bool]) -> int:
    """Return the place of the first record of a log, behind others, that is as wanted."""
    records = logs_of(entries).of(topic).records
    return next(each.offset for each in records if each.offset > 50 and wanted(each.record))


def _changed(topic: str, change: Callable[[Any], Any], wanted: Callable[[Any], bool]) -> Logs:
    """Return the run's logs, one record of a topic changed."""
    entries = entries_of_run()
    at = _number(entries, topic, wanted)
    (found,) = (each for each in logs_of(entries).of(topic).records if each.offset == at)
    entries[topic][at] = (at, encode(change(found.record)))
    return logs_of(entries)


def _anything(record: Any) -> bool:
    return getattr(record, "envelope", None) is not None


def _trades(record: Any) -> bool:
    return _anything(record) and bool(record.execution and record.execution.orders)


def _approves(record: Any) -> bool:
    return _anything(record) and record.risk is not None and record.risk.reserved > 0.0


def _rejected(record: Any) -> bool:
    outcome = record.envelope.outcome if _anything(record) else None
    return outcome is not None and outcome.kind is OutcomeKind.REJECTED


def _corrupt() -> Logs:
    entries = entries_of_run()
    offset, value = entries["cascade.risk"][60]
    assert value is not None
    entries["cascade.risk"][60] = (offset, value[:-3])
    return logs_of(entries)


def _foreign() -> Logs:
    entries = entries_of_run()
    entries["cascade.tactical"].append((601, b"somebody else's"))
    return logs_of(entries)


def _resequenced(topic: str, drop: int) -> Logs:
    """Return logs in which the stage of a topic never made one of its records."""
    entries = entries_of_run()
    kept = [each.record for each in logs_of(entries).of(topic).records if each.offset != drop]
    entries[topic] = [entries[topic][0]]
    for sequence, record in enumerate(kept):
        journal = replace(record.journal, log_sequence=sequence)
        entries[topic].append((sequence + 1, encode(replace(record, journal=journal))))
    return logs_of(entries)


def _twice(topic: str) -> Logs:
    """Return logs in which the stage of a topic recorded its last input twice."""
    entries = entries_of_run()
    last = logs_of(entries).of(topic).records[-1]
    journal = replace(last.journal, log_sequence=last.journal.log_sequence + 1)
    entries[topic].append((last.offset + 1, encode(replace(last.record, journal=journal))))
    return logs_of(entries)


def _mixed_fleet() -> Logs:
    """Return logs with a second partition, whose owner runs another build."""
    logs = real_logs()
    window = logs.of("cascade.strategic")
    last = window.records[-1]
    journal = replace(last.journal, build="other", epoch=0, log_sequence=0)
    marker = encode(Marker("t", "strategic", 1, last.journal.owner, "other", 0))
    other = replaced(
        window.partitions[0],
        entries=[(0, marker), (1, encode(replace(last.record, journal=journal)))],
    )
    mixed = type(window)(window.topic, {**window.partitions, 1: other})
    return Logs({**logs.topics, window.topic: mixed})


def _slower(by_ms: int) -> Logs:
    """Return logs in which every decision of execution came that much later."""
    entries = entries_of_run()
    for record in logs_of(entries).of("cascade.execution").records:
        plan = record.record
        *before, last = plan.envelope.trace
        late = Trace(last.stage, last.received, last.started, last.finished + by_ms * 1000)
        envelope = replace(plan.envelope, trace=(*before, late))
        entries["cascade.execution"][record.offset] = (
            record.offset,
            encode(replace(plan, envelope=envelope)),
        )
    return logs_of(entries)


def _dead(share: float) -> Logs:
    """Return logs in which that share of the flows was dead-lettered."""
    entries = entries_of_run()
    records = logs_of(entries).of("cascade.execution").records
    for record in records[: int(len(records) * share)]:
        plan = record.record
        outcome = replace(plan.envelope.outcome, kind=OutcomeKind.DEAD_LETTERED)
        dead = replace(plan, envelope=replace(plan.envelope, outcome=outcome))
        entries["cascade.execution"][record.offset] = (record.offset, encode(dead))
    return logs_of(entries)


def _double(order: Any) -> Any:
    return replace(order, quantity=order.quantity * 2)


LOGS: dict[str, tuple[str, Callable[[], Logs]]] = {
    "readable: a record cut short": ("data.readable", _corrupt),
    "readable: a foreign writer": ("data.readable", _foreign),
    "reservations: released twice as much": (
        "data.reservations",
        lambda: _changed(
            "cascade.risk",
            lambda r: replace(r, released=r.released * 3),
            lambda r: not _anything(r) and r.released > 0.0,
        ),
    ),
    "records: one never made": ("flow.records", partial(_resequenced, "cascade.tactical", 70)),
    "records: one of risk never made": ("flow.records", partial(_resequenced, "cascade.risk", 90)),
    "records: one made twice": ("flow.records", partial(_twice, "cascade.execution")),
    "records: made from what does not count": (
        "flow.records",
        lambda: _changed(
            "cascade.tactical",
            lambda r: replace(r, journal=replace(r.journal, input_epoch=7)),
            _anything,
        ),
    ),
    "outcomes: a flow ends twice": ("flow.outcomes", partial(_twice, "cascade.execution")),
    "outcomes: a rejection is not final": (
        "flow.outcomes",
        lambda: _changed(
            "cascade.execution",
            lambda r: replace(
                r,
                envelope=replace(
                    r.envelope, outcome=replace(r.envelope.outcome, kind=OutcomeKind.HELD)
                ),
            ),
            _rejected,
        ),
    ),
    "latency: 75 ms": ("performance.latency", partial(_slower, 75)),
    "errors: 2 %": ("performance.errors", partial(_dead, 0.02)),
    "approval: taken back": (
        "security.approval",
        lambda: _changed(
            "cascade.risk",
            lambda r: replace(r, risk=replace(r.risk, verdict="REJECT")),
            _approves,
        ),
    ),
    "approval: twice as much ordered": (
        "security.approval",
        lambda: _changed(
            "cascade.execution",
            lambda r: replace(
                r, execution=replace(r.execution, orders=tuple(map(_double, r.execution.orders)))
            ),
            _trades,
        ),
    ),
    "build: a mixed fleet": ("configuration.build", _mixed_fleet),
    "order: a bar before the last": (
        "temporal.order",
        lambda: _changed(
            "cascade.strategic",
            lambda r: replace(r, envelope=replace(r.envelope, sequence=0)),
            _anything,
        ),
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_one_mutated_log_is_found(name: str) -> None:
    """A real run with one thing wrong in one log fails under the rule that is about it."""
    rule_id, mutated = LOGS[name]
    outcome = ask(RULES[rule_id], _wall(_context(logs=mutated())))
    assert Status.FAILED is outcome.status, outcome.why
    assert all("xpected" in each.message or ": " in each.message for each in outcome.findings)


# -- broker ----------------------------------------------------------------------------------------

BROKERS: dict[str, tuple[str, dict[str, Any]]] = {
    "conservation: lost": ("flow.conservation", {"packets_out": 899}),
    "conservation: more out than in": ("flow.conservation", {"packets_out": 1001}),
    "replicas: no leader": (
        "connectivity.replicas",
        {"topics": {"cascade.risk": TopicState(leaderless=(0,))}},
    ),
    "replicas: behind": (
        "connectivity.replicas",
        {"topics": {"cascade.risk": TopicState(behind=(0,))}},
    ),
    "members: no group": ("connectivity.members", {"groups": {"risk": None}}),
    "members: nobody in it": ("connectivity.members", {"groups": {"risk": GroupState(0, 0)}}),
    "lag: 500": ("connectivity.lag", {"groups": {"risk": GroupState(1, 500)}}),
    "commands: by a stranger": (
        "security.commands",
        {"commands": (CommandSeen(1, ControlKind.RESUME, "stranger", NOW_US),)},
    ),
    "commands: unreadable": (
        "security.commands",
        {"commands": (CommandSeen(1, None, "", NOW_US),)},
    ),
    "topics: one that differs": (
        "configuration.topics",
        {"topics": {"cascade.risk": TopicState(difference="Expected 1 partition, was 3")}},
    ),
    "trading: halted": ("configuration.trading", {"trading_state": TradingState.HALTED}),
    "trading: never bootstrapped": ("configuration.trading", {"trading_state": None}),
}


@pytest.mark.parametrize("name", BROKERS)
def test_one_mutated_broker_state_is_found(name: str) -> None:
    """A healthy broker with one thing wrong fails under the rule that is about it."""
    rule_id, changes = BROKERS[name]
    context = _context(broker=replaced(HEALTHY, **changes), deep=True)
    assert Status.FAILED is ask(RULES[rule_id], context).status


def test_each_rule_is_shown_red() -> None:
    """No rule is without a mutation that it finds."""
    shown = {rule_id for table in (PACKETS, LOGS, BROKERS) for rule_id, _ in table.values()}
    assert set(RULES) == shown


@pytest.mark.parametrize(
    ("rule", "context", "level"),
    [
        ("connectivity.lag", {"groups": {"risk": GroupState(1, 799)}}, "WARNING"),
        ("connectivity.lag", {"groups": {"risk": GroupState(1, 800)}}, "ERROR"),
        ("connectivity.lag", {"groups": {"risk": GroupState(1, 1000)}}, "CRITICAL"),
    ],
)
def test_lag_is_graded(rule: str, context: dict[str, Any], level: str) -> None:
    """The more records wait, the worse."""
    outcome = ask(RULES[rule], _context(broker=replaced(HEALTHY, **context)))
    assert level == outcome.level


@pytest.mark.parametrize(("by_ms", "level"), [(70, "WARNING"), (86, "ERROR"), (100, "CRITICAL")])
def test_latency_is_graded(by_ms: int, level: str) -> None:
    """p95 from 70 %, 85 % and all of the deadline."""
    outcome: RuleOutcome = ask(RULES["performance.latency"], _wall(_context(logs=_slower(by_ms))))
    assert level == outcome.level


def test_rules_about_logs_name_each_topic_they_read() -> None:
    """The run stands in all topics that rules look at."""
    assert {INGEST_TOPIC, *STAGE_LOGS} == set(real_logs().topics)


def test_a_rule_says_what_it_is() -> None:
    """A rule shows its id."""
    rule: ValidationRule = RULES["data.bar"]
    assert "PacketRule('data.bar')" == repr(rule)
