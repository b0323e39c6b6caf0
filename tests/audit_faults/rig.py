"""A running cascade, a tampering relay, and an auditor that reads what comes through it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from pipeline.audit.chain import ChainReader
from pipeline.audit.content import details_of
from pipeline.audit.reading import newest_progress, read_audit_log
from pipeline.audit.verifying import verify
from pipeline.market import Publisher, open_feed
from pipeline.run import worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics
from tests.audit_faults.relay import KINDS, Planted, TamperingRelay
from tests.cluster import prepare
from tests.kafka_workers import Worker, end_offsets, wait_until

__all__ = ["AUDITOR", "AuditFaults", "named_findings", "run_faults"]

AUDITOR = "pipeline.watch.audit"

_SHARE = 0.01
_LIMIT_S = 300.0
_SETTLE_S = 4.0
_PATIENCE_S = 6.0
_NAMES = {"missing": "dropped"}


class Named(msgspec.Struct, frozen=True):
    """A finding in the audit log."""

    kind: str
    topic: str
    partition: int
    sequence: int
    also: tuple[str, int, int] | None
    text: str

    def means(self, planted: Planted) -> bool:
        """Say whether it names a fault: the kind, and the record or the one it may be as well."""
        place = (planted.topic, planted.partition, planted.sequence)
        own = (self.topic, self.partition, self.sequence)
        return self.kind == planted.kind and place in (own, self.also)


class AuditFaults(msgspec.Struct, frozen=True):
    """What came of a run.

    Attributes:
        records: Log records that were copied.
        planted: Faults by kind.
        named: Of these, such as the auditor named, by kind.
        missed: Faults that it did not name.
        others: Findings of what was not planted.
        audit_log: What `cascade audit verify` says of the audit log.
        audited: Records that the auditor has chained.
    """

    records: int
    planted: dict[str, int]
    named: dict[str, int]
    missed: list[str]
    others: list[str]
    audit_log: str
    audited: int

    @property
    def passed(self) -> bool:
        """Whether each fault was named, and nothing else."""
        clean = not self.missed and not self.others and self.audit_log == "intact"
        return clean and sum(self.planted.values()) > 0


def named_findings(settings: Settings) -> list[Named]:
    """Return the findings in a namespace's audit log."""
    reader, found = ChainReader(), []
    for offset, value in read_audit_log(settings):
        link = reader.add(offset, value)
        details = {} if link is None else details_of(link.record)
        if link is not None and details.get("kind") == "finding":
            also = details.get("also")
            kind = str(details["finding"])
            found.append(
                Named(
                    _NAMES.get(kind, kind), details["topic"], details["partition"],
                    details["sequence"], None if also is None else (also[0], also[1], also[2]),
                    link.record.message,
                )
            )  # fmt: skip
    return found


def run_faults(settings: Settings, *, seconds: float, rate: float, seed: int = 1) -> AuditFaults:
    """Run a cascade, spoil its records on their way to an auditor, and compare.

    Args:
        settings: Broker, home and namespace; the auditor's namespace is named after it.
        seconds: For how long faults are planted.
        rate: Packets per second.
        seed: Of the faults.
    """
    audited = settings.model_copy(
        update={
            "namespace": f"{settings.namespace}-audited",
            "home": Path(settings.home) / "audited",
            "audit_patience_s": _PATIENCE_S,
        }
    )
    prepare(settings)
    apply_topics(audited, TopicFile.load())
    relay = TamperingRelay(settings, audited, _SHARE, seed)
    auditor = Worker(AUDITOR, audited, 0)
    stop = threading.Event()
    load = threading.Thread(target=_publish, args=(settings, rate, stop), daemon=True)
    try:
        with LocalRun(settings, worker_specs(paired=True)) as run:
            run.wait_owned(_LIMIT_S)
            relay.start()
            load.start()
            _wait(lambda: min(_ends(settings, "cascade.execution")) > rate, "packets to flow")
            relay.planting.set()
            time.sleep(seconds)
            relay.planting.clear()
            # What was kept back has to be overtaken by something, or it is no fault.
            time.sleep(_SETTLE_S)
            stop.set()
            load.join(60.0)
            _wait(lambda: _at_rest(settings), "the cascade to come to rest")
            _wait(lambda: _all_copied(settings, relay), "the relay to have copied everything")
        relay.stop()
        since_us = time.time_ns() // 1000
        _wait(lambda: _audited_through(audited, since_us), "the auditor to be through")
    finally:
        stop.set()
        auditor.stop()
    return _compared(audited, relay)


def _publish(settings: Settings, rate: float, stop: threading.Event) -> None:
    Publisher(settings).publish(open_feed("sample", seed=1), rate=rate, stop=stop)


def _wait(condition: Callable[[], object], what: str) -> None:
    wait_until(condition, what, _LIMIT_S, every_s=0.5)


def _ends(settings: Settings, topic: str) -> list[int]:
    return list(end_offsets(settings, topic).values())


def _at_rest(settings: Settings) -> bool:
    """Say whether all packets have come out: no log grows any more."""
    went_in = sum(_ends(settings, "cascade.market"))
    before = _ends(settings, "cascade.execution"), _ends(settings, "cascade.risk")
    time.sleep(1.0)
    after = _ends(settings, "cascade.execution"), _ends(settings, "cascade.risk")
    return before == after and sum(after[0]) > went_in


def _all_copied(settings: Settings, relay: TamperingRelay) -> bool:
    return all(
        relay.copied.get((topic, partition), 0) >= end
        for topic in relay.topics
        for partition, end in end_offsets(settings, topic).items()
    )


def _audited_through(settings: Settings, since_us: int) -> bool:
    """Say whether the auditor is through with all that was copied, and with what it waits for."""
    settled_us = int(4 * _PATIENCE_S * 1e6)
    progress = newest_progress(settings)
    return progress is not None and progress.audited_until > since_us + settled_us


def _compared(audited: Settings, relay: TamperingRelay) -> AuditFaults:
    found = named_findings(audited)
    left, missed = list(found), []
    named = dict.fromkeys(KINDS, 0)
    for planted in relay.planted:
        match = next((each for each in left if each.means(planted)), None)
        if match is None:
            missed.append(f"{planted}")
        else:
            left.remove(match)
            named[planted.kind] += 1
    verdict = verify(read_audit_log(audited))
    return AuditFaults(
        relay.records,
        {kind: sum(each.kind == kind for each in relay.planted) for kind in KINDS},
        named, missed, [f"{each.kind}: {each.text}" for each in left],
        "intact" if verdict.intact else "broken",
        sum(each.count for _, each in verdict.ranges),
    )  # fmt: skip
