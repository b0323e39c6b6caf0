"""Auditors on a real Kafka: one chain, whoever races or is killed; what people did stands in it."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from pipeline.audit.auditor import Auditor
from pipeline.audit.content import Place, start_record
from pipeline.audit.reading import newest_progress, read_audit_log
from pipeline.audit.verifying import Verdict, verify
from pipeline.audit.writing import TOPIC, ChainLost, ChainWriter
from pipeline.cli import main
from pipeline.clock import WallClock
from pipeline.control.security_log import publish_security_event
from pipeline.events import EventBus
from pipeline.packets.codec import encode
from pipeline.packets.events import SecurityEventKind
from pipeline.settings import Settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.kafka_workers import LIMIT_S, StartWorker, market_data, send, wait_until

_WORKER = "pipeline.watch.audit"
_MARKET = "cascade.market"


@pytest.fixture
def settings(run_settings: Settings) -> Settings:
    """Settings under which holes are judged soon."""
    return run_settings.model_copy(update={"audit_patience_s": 1.0, "audit_window_s": 0.2})


def _publish(settings: Settings, first: int, count: int) -> None:
    values = [encode(market_data("AAPL", n, settings)) for n in range(first, first + count)]
    send(settings, _MARKET, [(b"AAPL", value) for value in values])


def _audited(settings: Settings) -> Verdict:
    return verify(read_audit_log(settings))


def _counted(verdict: Verdict, topic: str = _MARKET) -> int:
    return sum(each.count for _, each in verdict.ranges if each.topic == topic)


def _wait_audited(settings: Settings, count: int) -> Verdict:
    wait_until(lambda: _counted(_audited(settings)) >= count, f"{count} audited records", every_s=1)
    return _audited(settings)


def test_of_two_writers_the_slower_one_has_to_start_over(settings: Settings) -> None:
    """Both have read the same end: what the second adds does not count, and it is told so."""
    first, second = ChainWriter(settings), ChainWriter(settings)
    records = [start_record("a", {(_MARKET, 0): Place(0)}, 1, "test")]
    first.recover()
    second.recover()
    first.append(records)

    with pytest.raises(ChainLost):
        second.append(records)
    assert 0 == second.recover().head.sequence
    second.append(records)

    verdict = _audited(settings)
    assert ([], 2, 1) == (verdict.faults, verdict.records, verdict.lost_races)
    first.close()
    second.close()


@contextmanager
def _in_office(settings: Settings, count: int) -> Iterator[list[Auditor]]:
    """Run auditors that all hold themselves to be in office."""
    stopping, auditors, threads = threading.Event(), [], []
    with EventBus(settings=settings) as bus:
        for number in range(count):
            one = Auditor(
                f"auditor-{number}", bus.connect, lambda: 1, bus.publish_soon, WallClock()
            )
            threads.append(threading.Thread(target=one.run, args=(stopping,)))
            auditors.append(one)
        for each in threads:
            each.start()
        try:
            yield auditors
        finally:
            stopping.set()
            for each in threads:
                each.join()


def test_racing_auditors_write_one_chain_that_skips_and_repeats_nothing(settings: Settings) -> None:
    """Each window counts once, although both audit everything."""
    with _in_office(settings, 2):
        for burst in range(12):
            _publish(settings, burst * 20, 20)
            time.sleep(0.2)
        verdict = _wait_audited(settings, 240)

    assert ([], 240) == (verdict.faults, _counted(verdict))
    assert verdict.lost_races > 0
    assert 240 == verdict.packets_in


@pytest.mark.timeout(600)
def test_a_killed_auditor_is_taken_over_without_a_gap(
    settings: Settings, start_worker: StartWorker
) -> None:
    """Kill -9 of the one in office: the other goes on where its last window ended."""
    workers = [start_worker(_WORKER, settings) for _ in range(2)]
    active: list[int] = []

    def somebody_audits() -> bool:
        active[:] = [n for n, each in enumerate(workers) if "audits_from" in each.log]
        return bool(active)

    wait_until(somebody_audits, "an auditor in office", 2 * LIMIT_S)
    _publish(settings, 0, 150)
    _wait_audited(settings, 1)
    workers[active[0]].kill()
    _publish(settings, 150, 150)
    workers[1 - active[0]].wait_for("audits_from", limit_s=2 * LIMIT_S)
    verdict = _wait_audited(settings, 300)

    assert ([], 300, 300) == (verdict.faults, _counted(verdict), verdict.packets_in)


def _tampered(settings: Settings, spoil: Callable[[list[bytes | None]], object]) -> Settings:
    """Return settings of a namespace whose audit log is a spoilt copy."""
    values = [value for _, value in read_audit_log(settings)]
    spoil(values)
    other = settings.model_copy(
        update={"namespace": f"{settings.namespace}-{secrets.token_hex(4)}"}
    )

    apply_topics(other, TopicFile.load())
    send(other, TOPIC, [(None, value) for value in values])
    return other


def _verify(settings: Settings, *arguments: str) -> tuple[int, str]:
    environment = {
        "CASCADE_BROKER": settings.broker or "",
        "CASCADE_NAMESPACE": settings.namespace,
        "CASCADE_HOME": str(settings.home),
    }
    result = CliRunner().invoke(main, ["audit", *arguments], env=environment)
    return result.exit_code, result.output


def test_the_commands_tell_an_intact_log_from_a_spoilt_one(
    settings: Settings, tmp_path: Path
) -> None:
    """Exit codes 0, 1 and 2; what was changed, missing or swapped is named with its sequence."""
    event = publish_security_event(
        settings, SecurityEventKind.LOGIN, author="ann", subject="dashboard"
    )
    with _in_office(settings, 1):
        for burst in range(4):
            _publish(settings, burst * 20, 20)
            _wait_audited(settings, burst * 20 + 20)
        wait_until(lambda: newest_progress(settings), "a word of the auditor")
    file = tmp_path / "audit.jsonl"
    exported = _verify(settings, "export", str(file))
    length = len(list(read_audit_log(settings)))
    assert length > 4

    def swap(values: list[bytes | None]) -> None:
        values[2], values[3] = values[3], values[2]

    def change(values: list[bytes | None]) -> None:
        values[2] = (values[2] or b"")[:-1] + b"x"

    spoilt = [
        _verify(_tampered(settings, spoil), "verify")
        for spoil in (change, lambda values: values.pop(2), swap)
    ]

    assert 0 == exported[0]
    assert 0 == _verify(settings, "verify", "--against-topics")[0]
    assert 0 == _verify(settings, "verify", "--file", str(file))[0]
    assert 2 == _verify(settings, "verify", "--file", str(tmp_path / "none"))[0]
    assert [1, 1, 1] == [code for code, _ in spoilt]
    assert "CHANGED at sequence 2" in spoilt[0][1]
    assert "MISSING at sequence 2" in spoilt[1][1]
    assert "REORDERED at sequence 2" in spoilt[2][1]
    assert f"LOGIN by ann: {event.subject}" in _verify(settings, "list")[1]


def test_a_record_changed_after_it_was_audited_is_found_in_its_topic(settings: Settings) -> None:
    """The digests of another namespace's windows do not fit what stands here."""
    with _in_office(settings, 1):
        _publish(settings, 0, 20)
        _wait_audited(settings, 20)
    other = _tampered(settings, lambda _: None)
    _publish(other, 100, 20)

    code, said = _verify(other, "verify", "--against-topics")

    assert 1 == code
    assert "cascade.market" in said


def test_a_log_that_was_cut_at_its_end_is_found_by_the_auditor_s_last_word(
    settings: Settings,
) -> None:
    """A chain cannot tell its own end; the progress of the auditor can."""
    with _in_office(settings, 1):
        _publish(settings, 0, 20)
        _wait_audited(settings, 20)
        wait_until(lambda: newest_progress(settings), "a word of the auditor")
    other = _tampered(settings, lambda values: values.pop())
    progress = newest_progress(settings)
    assert progress is not None
    producer = Producer(other.client())
    producer.produce(other.topic("cascade.audit.progress"), encode(progress), b"auditor")
    assert 0 == producer.flush(30)

    code, said = _verify(other, "verify")

    assert (1, True) == (code, "MISSING" in said)
