"""What the checks look at, gathered from the cascade that runs within a few seconds."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.control.log import fold
from pipeline.coordination.service import CoordinationService
from pipeline.errors import BrokerUnavailable, PipelineError
from pipeline.events import EventBus
from pipeline.replay.dead_letters import dead_topics, read_dead_letters
from pipeline.run.session import log_folder
from pipeline.run.workers import log_specs
from pipeline.settings import Settings
from pipeline.topics import Action, TopicFile
from pipeline.topics import plan as plan_topics

__all__ = ["Evidence", "SystemSeen", "gather", "last_errors"]

_LOOK_BACK_S = 60.0
_GREETINGS_S = 4.0
_ASK_S = 5.0
_HOUR_MS = 3_600_000
_TAIL_BYTES = 65_536
_WORDS = (" ERROR ", "ERROR:", "[ERROR]", "CRITICAL", "Traceback (most recent call last)")


@dataclass(frozen=True, slots=True)
class SystemSeen:
    """A system as coordination knows it.

    Attributes:
        instances: Live instances.
        age_s: Seconds since it was last heard of.
        behind: Whether it has missed the newest synchronisation.
    """

    instances: int
    age_s: float
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """The last minute of a cascade; None where nobody could tell, and then `gaps` says why.

    Attributes:
        round_trip_ms: Time in which the broker answers, milliseconds.
        packets: Packets that ended.
        target_ms: Target of the latency, milliseconds.
        latency_p99_ms: 99th percentile from acceptance to the order plan.
        processing_ms: 95th percentile of the time a system takes to decide, by system.
        network_ms: 95th percentile of the time between systems.
        backlogs: Records that wait before each system.
        cpu: Share of all processors' time at work, 0 to 1.
        memory: Share of the memory in use.
        disk_free: Share of the disk under `CASCADE_HOME` that is free.
        failure_rate: Share of packets that failed.
        outcomes: How packets ended.
        lost: Records that retention took before they were read, by system.
        breakers: Systems whose breaker is open or opened lately, with how it is.
        dead_letters: Open dead letters of the last hour, by cause.
        trading: Trading state, and why it is not ACTIVE.
        systems: Systems that coordination knows; None where it could not be read.
        heartbeat_s: How often systems are to be heard of, seconds.
        requests: Coordination requests that ended.
        answered: Share of them that every system answered.
        synchronisations: Completed synchronisations a minute.
        conflict_ms: 95th percentile of the time that resolving a conflict took.
        log_errors: Newest error in each worker's log file.
        topic_faults: What differs from the topics file.
        gaps: Why something is not known, by its name.
    """

    round_trip_ms: float | None = None
    packets: int | None = None
    target_ms: float = 100.0
    latency_p99_ms: float | None = None
    processing_ms: Mapping[str, float] = field(default_factory=dict)
    network_ms: float | None = None
    backlogs: Mapping[str, int] | None = None
    cpu: float | None = None
    memory: float | None = None
    disk_free: float | None = None
    failure_rate: float | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] | None = None
    breakers: Mapping[str, str] | None = None
    dead_letters: Mapping[str, int] | None = None
    trading: tuple[str, str] | None = None
    systems: Mapping[str, SystemSeen] | None = None
    heartbeat_s: float = 1.0
    requests: int | None = None
    answered: float | None = None
    synchronisations: float | None = None
    conflict_ms: float | None = None
    log_errors: Mapping[str, str] | None = None
    topic_faults: tuple[str, ...] | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)


def gather(
    settings: Settings, *, now_ms: Callable[[], float] = lambda: time.time() * 1000
) -> Evidence:
    """Look at the cascade; what cannot be had is left out with a reason, and nothing fails.

    Args:
        settings: Settings with a broker.
        now_ms: Milliseconds since the Unix epoch.
    """
    found: dict[str, Any] = {"heartbeat_s": settings.coordination.heartbeat_interval}
    gaps: dict[str, str] = {}

    def look(name: str, ask: Callable[[], Mapping[str, Any]]) -> None:
        try:
            found.update(ask())
        except (PipelineError, KafkaException, OSError) as error:
            gaps[name] = str(error)

    look("machine", lambda: _machine(settings))
    look("logs", lambda: {"log_errors": last_errors(log_folder(settings))})
    look("broker", lambda: {"round_trip_ms": _round_trip_ms(settings)})
    if "broker" in gaps:
        return Evidence(**found, gaps=gaps)
    look("topics", lambda: {"topic_faults": _topic_faults(settings)})
    look("metrics", lambda: _metrics(settings))
    look("control", lambda: _control(settings, found.get("breakers") or {}))
    look("coordination", lambda: {"systems": _systems(settings)})
    look("lost", lambda: {"lost": _lost(settings)})
    look("dead_letters", lambda: {"dead_letters": _dead_letters(settings, now_ms())})
    return Evidence(**found, gaps=gaps)


def last_errors(folder: Path) -> dict[str, str]:
    """Return the newest line that tells of an error, of each log file that has one near its end."""
    found = {}
    for path in sorted(folder.glob("*.log")):
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        told = [line for line in lines if any(word in line for word in _WORDS)]
        if told:
            found[str(path)] = told[-1][:300]
    return found


def _machine(settings: Settings) -> dict[str, Any]:
    home = settings.home if settings.home.exists() else Path()
    return {
        "cpu": psutil.cpu_percent(interval=0.5) / 100,
        "memory": psutil.virtual_memory().percent / 100,
        "disk_free": 1.0 - psutil.disk_usage(str(home)).percent / 100,
    }


def _admin(settings: Settings) -> AdminClient:
    return AdminClient({**settings.client(client_id=settings.group("doctor")), "log_level": 0})


def _round_trip_ms(settings: Settings) -> float:
    admin = _admin(settings)
    try:
        admin.list_topics(timeout=_ASK_S)  # connects
        took = []
        for _ in range(5):
            begun_s = time.perf_counter()
            admin.list_topics(topic=settings.topic("cascade.control"), timeout=_ASK_S)
            took.append(time.perf_counter() - begun_s)
    except KafkaException as error:
        raise BrokerUnavailable(
            f"Expected an answer of the broker at {settings.broker}, was: {error.args[0].str()}"
        ) from error
    return sorted(took)[len(took) // 2] * 1000


def _topic_faults(settings: Settings) -> tuple[str, ...]:
    changes = plan_topics(settings, TopicFile.load())
    return tuple(
        f"{each.real}: {'missing' if each.action is Action.CREATE else each.detail}"
        for each in changes
        if each.action is not Action.NONE
    )


def _metrics(settings: Settings) -> dict[str, Any]:
    from pipeline.cascade.performance import attached

    with EventBus(settings=settings) as bus, attached(bus, _LOOK_BACK_S) as monitor:
        metrics = monitor.get_real_time_metrics(_LOOK_BACK_S)
    latency, errors = metrics.latency, metrics.errors
    conflicts = metrics.coordination.conflict_resolution_ms
    return {
        "packets": metrics.packets,
        "target_ms": metrics.latency_target_ms,
        "latency_p99_ms": latency.end_to_end_ms.p99 if latency.end_to_end_ms else None,
        "processing_ms": {
            name: each.processing_ms.p95
            for name, each in latency.systems.items()
            if each.processing_ms is not None
        },
        "network_ms": latency.network_ms.p95 if latency.network_ms else None,
        "backlogs": {name: each.records for name, each in metrics.throughput.backlogs.items()},
        "failure_rate": errors.failure_rate,
        "outcomes": dict(errors.outcomes),
        "breakers": {
            name: f"opened {count} times within a minute"
            for name, count in errors.breaker_trips.items()
            if count
        },
        "requests": metrics.coordination.requests,
        "answered": metrics.coordination.success_rate,
        "synchronisations": metrics.coordination.synchronisations_per_minute,
        "conflict_ms": conflicts.p95 if conflicts else None,
    }


def _control(settings: Settings, breakers: Mapping[str, str]) -> dict[str, Any]:
    control = fold(settings).view(current=True)
    forced = dict.fromkeys(sorted(control.fences.breakers), "forced open by control")
    return {
        "trading": (control.trading_state.value, control.reason),
        "breakers": {**breakers, **forced},
    }


def _systems(settings: Settings) -> dict[str, SystemSeen]:
    interval_s = settings.coordination.heartbeat_interval
    with EventBus(settings=settings) as bus:
        service = CoordinationService(bus, heartbeat_interval_s=interval_s)
        service.start()
        try:
            time.sleep(max(_GREETINGS_S, 3 * interval_s))
            states = service.systems()
        finally:
            service.close()
    newest = max((each.epoch for each in states.values()), default=-1)
    return {
        name: SystemSeen(len(each.instances), each.age_s, each.epoch < newest)
        for name, each in states.items()
    }


def _lost(settings: Settings) -> dict[str, int]:
    """Return how many records retention took before the group of a system had read them."""
    admin = _admin(settings)
    found: Counter[str] = Counter()
    earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library forgot its types
    for name, spec in log_specs().items():
        asked = [ConsumerGroupTopicPartitions(settings.group(spec.group))]
        (future,) = admin.list_consumer_group_offsets(asked, request_timeout=_ASK_S).values()
        try:
            places = future.result(_ASK_S + 1.0).topic_partitions or []
        except KafkaException as error:
            if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                continue
            raise
        at = {(each.topic, each.partition): each.offset for each in places if each.offset >= 0}
        wanted = {TopicPartition(*place): earliest for place in at}
        starts = admin.list_offsets(wanted, request_timeout=_ASK_S) if wanted else {}
        for where, start in starts.items():
            first = int(start.result(_ASK_S + 1.0).offset)
            found[name] += max(0, first - at[where.topic, where.partition])
    return {name: count for name, count in found.items() if count}


def _dead_letters(settings: Settings, now_ms: float) -> dict[str, int]:
    letters = read_dead_letters(settings, dead_topics())
    return dict(
        Counter(
            each.letter.error_class
            for each in letters.records
            if each.open and each.letter.timestamp >= now_ms - _HOUR_MS
        ).most_common()
    )
