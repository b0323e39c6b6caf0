"""From an observation to the signs of emergencies that are in it; pure functions.

| type | its sign | said to have another cause, and so no sign of this, where |
|---|---|---|
| SYSTEM_FAILURE | a system falls silent, a group is empty, a worker ends, a policy fails | several fall silent at once |
| CASCADE_BREAKDOWN | packets enter and none leaves | the cascade was disturbed of late |
| PERFORMANCE_DEGRADATION | p95 of the latency above its target | as there, or records queue |
| SECURITY_BREACH | records of unknown writers, sandbox plans, commands without the right | - |
| DATA_CORRUPTION | records that are no packets | - |
| NETWORK_PARTITION | the broker is silent; several systems fall silent at once though their processes run | - |
| RESOURCE_EXHAUSTION | memory, disk or queues fill | for queues: as there |
| COORDINATION_FAILURE | requests are not answered in full | a system is gone |
| VALIDATION_FAILURE | packets break rules | - |

A sign says nothing of how long it lasts: `pipeline.emergency.vigil` decides on that.
"""  # noqa: E501  # a table

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.emergency.observation import Lost, Observation
from pipeline.packets.events import EmergencyLevel, EmergencyType
from pipeline.settings import DetectionSettings

__all__ = ["Sign", "detect"]

_TOGETHER_S = 3.0
_FEWEST_TOGETHER = 2
_ANSWERS_S = 2.0
_HALF_AGAIN = 1.5
_MOST_SYMBOLS = 3
_MOSTLY = 0.8
_MARKET = "source:market"

_CAUTION, _WARNING = EmergencyLevel.CAUTION, EmergencyLevel.WARNING
_CRITICAL = EmergencyLevel.CRITICAL


@dataclass(frozen=True, slots=True)
class Sign:
    """What looks like an emergency.

    Attributes:
        emergency_type: Of what type.
        level: How bad it is.
        systems: Which systems are affected; see `pipeline.emergency.table`.
        description: What was seen, for people.
        figures: The same in figures.
        subject: What it is about: of one type and subject there is one emergency at a time.
        at_once: Whether it counts however short it is.
    """

    emergency_type: EmergencyType
    level: EmergencyLevel
    systems: tuple[str, ...]
    description: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    subject: str = "cascade"
    at_once: bool = False


Detector = Callable[[Observation, DetectionSettings, float], Iterator[Sign]]


def detect(seen: Observation, limits: DetectionSettings, target_ms: float) -> list[Sign]:
    """Return the signs in an observation.

    Args:
        seen: The observation.
        limits: From when on something is a sign.
        target_ms: Target of the end-to-end latency, milliseconds.
    """
    return [sign for each in _DETECTORS for sign in each(seen, limits, target_ms)]


def _system_failure(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    del target_ms
    kind = EmergencyType.SYSTEM_FAILURE
    if seen.broker_silent_s > _ANSWERS_S:  # nobody is heard of, whoever lives
        return
    elsewhere = {each.system for each in _partitioned(seen)}
    for each in seen.lost:
        if each.system not in elsewhere:
            said = f"nothing was heard of {each.system} for {each.silent_s:.1f} s"
            figures = {"silent_s": round(each.silent_s, 1), "instance": each.instance}
            yield Sign(kind, _CRITICAL, (each.system,), said, figures, each.system)
    silent = {each.system for each in seen.lost}
    for system in seen.gone:
        if system not in silent:
            said = f"the group of {system} has no member any more"
            yield Sign(kind, _CRITICAL, (system,), said, subject=system)
    yield from _exits(seen, limits)
    for stage, count in seen.packets.failed.items():
        share = _share(count, seen, limits)
        if share is not None and share >= limits.failure_critical:
            said = f"the policy of {stage} fails on {share:.1%} of its packets"
            figures = {"share": round(share, 4), "policy": stage}
            yield Sign(kind, _WARNING, (stage,), said, figures, f"policy:{stage}")


def _exits(seen: Observation, limits: DetectionSettings) -> Iterator[Sign]:
    for worker, (count, stages) in seen.exits.items():
        loops = count >= limits.crash_loop
        said = f"worker {worker} ended unasked {count} times within a minute"
        yield Sign(
            EmergencyType.SYSTEM_FAILURE, _CRITICAL if loops else _CAUTION, stages, said,
            {"exits": count}, f"worker:{worker}", at_once=True,
        )  # fmt: skip


def _cascade_breakdown(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    del target_ms
    if seen.standstill_s < limits.standstill or seen.broker_silent_s > _ANSWERS_S:
        return
    if not _settled(seen, limits):  # whoever takes over takes that long
        return
    where = f", {seen.stuck} works nothing off" if seen.stuck else ""
    said = f"packets enter and none has left for {seen.standstill_s:.1f} s{where}"
    systems = (seen.stuck,) if seen.stuck else ()
    figures = {"standstill_s": round(seen.standstill_s, 1)}
    yield Sign(EmergencyType.CASCADE_BREAKDOWN, _CRITICAL, systems, said, figures)


def _performance_degradation(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    packets = seen.packets
    if packets.p95_ms is None or packets.ended < limits.least_packets:
        return
    queues = max(seen.waiting.values(), default=0) >= limits.queue_warning
    ratio = packets.p95_ms / target_ms
    level = _level(ratio, limits.latency_warning, limits.latency_critical)
    if level is None or queues or not _settled(seen, limits):
        return
    said = f"p95 of the latency is {packets.p95_ms:.0f} ms, target {target_ms:g}"
    systems = (packets.slowest,) if packets.slowest else ()
    if systems:
        said += f"; the most time goes by in {packets.slowest}"
    figures = {"p95_ms": round(packets.p95_ms, 1), "target_ms": target_ms}
    yield Sign(EmergencyType.PERFORMANCE_DEGRADATION, level, systems, said, figures)


def _security_breach(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    del limits, target_ms
    kind = EmergencyType.SECURITY_BREACH
    for system, what in seen.breaches.items():
        yield Sign(kind, _CRITICAL, (system,), what, subject=system, at_once=True)
    if seen.refused:
        said = f"{seen.refused} commands came from somebody who may not give them"
        figures = {"refused": seen.refused}
        yield Sign(kind, _WARNING, (), said, figures, "commands", at_once=True)


def _data_corruption(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    del target_ms
    for writer, count in seen.packets.malformed.items():
        share = _share(count, seen, limits)
        level = share and _level(share, limits.malformed_warning, limits.malformed_critical)
        if level:
            said = f"{share:.1%} of the records of {writer} are no packets"
            figures = {"share": round(share or 0.0, 4)}
            yield Sign(EmergencyType.DATA_CORRUPTION, level, (writer,), said, figures, writer)


def _network_partition(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    del target_ms
    kind = EmergencyType.NETWORK_PARTITION
    if seen.broker_silent_s >= limits.broker_silence:
        said = f"the broker has not answered for {seen.broker_silent_s:.0f} s"
        yield Sign(kind, _CRITICAL, (), said, subject="broker")
    lost = _partitioned(seen)
    if lost:
        systems = tuple(dict.fromkeys(each.system for each in lost))
        said = f"{', '.join(systems)} fell silent together, while the broker answers"
        figures = {"silent_s": round(max(each.silent_s for each in lost), 1)}
        yield Sign(kind, _WARNING if seen.live else _CRITICAL, systems, said, figures)


def _resource_exhaustion(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    del target_ms
    kind = EmergencyType.RESOURCE_EXHAUSTION
    for name, used in (("memory", seen.memory), ("disk", seen.disk)):
        level = used and _level(used, limits.usage_warning, limits.usage_critical)
        if level:
            said = f"{used:.0%} of this machine's {name} is in use"
            yield Sign(kind, level, (), said, {name: round(used or 0.0, 3)}, name)
    for worker, (held_mb, stages) in seen.workers_mb.items():
        most_mb = limits.worker_memory_mb
        level = _level(held_mb, most_mb, most_mb * _HALF_AGAIN)
        if level:
            said = f"worker {worker} holds {held_mb:.0f} MiB of memory"
            yield Sign(kind, level, stages, said, {"mb": held_mb}, f"worker:{worker}")
    if seen.waiting and _settled(seen, limits):
        system = max(seen.waiting, key=lambda name: seen.waiting[name])
        count = seen.waiting[system]
        level = _level(count, limits.queue_warning, limits.queue_critical)
        if level:
            said = f"{count} records wait for {system}"
            yield Sign(kind, level, (system,), said, {"records": count}, "queue")


def _coordination_failure(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    del target_ms
    if seen.answered is None or seen.requests < limits.least_requests or seen.lost or seen.gone:
        return
    failing = 1.0 - seen.answered
    level = _level(failing, limits.coordination_warning, limits.coordination_critical)
    if level is None:
        return
    systems = tuple(sorted(seen.unanswered, key=lambda name: -seen.unanswered[name]))
    said = f"{failing:.0%} of {seen.requests} coordination requests were not answered in full"
    if systems:
        said += f", most by {systems[0]}"
    figures = {"failing": round(failing, 3), "requests": seen.requests}
    yield Sign(EmergencyType.COORDINATION_FAILURE, level, systems[:1], said, figures)


def _validation_failure(
    seen: Observation, limits: DetectionSettings, target_ms: float
) -> Iterator[Sign]:
    del target_ms
    for writer, count in seen.packets.invalid.items():
        share = _share(count, seen, limits)
        level = share and _level(share, limits.failure_warning, limits.failure_critical)
        if level:
            systems = _culprits(writer, count, seen)
            said = f"{share:.1%} of the packets of {', '.join(systems)} break rules"
            figures = {"share": round(share or 0.0, 4)}
            yield Sign(EmergencyType.VALIDATION_FAILURE, level, systems, said, figures, writer)


_DETECTORS: tuple[Detector, ...] = (
    _system_failure,
    _cascade_breakdown,
    _performance_degradation,
    _security_breach,
    _data_corruption,
    _network_partition,
    _resource_exhaustion,
    _coordination_failure,
    _validation_failure,
)


def _partitioned(seen: Observation) -> tuple[Lost, ...]:
    """Return the instances that fell silent together though their processes run."""
    if seen.broker_silent_s > _ANSWERS_S:
        return ()
    running = sorted(
        (each for each in seen.lost if each.process is not False), key=lambda each: each.silent_s
    )
    for each in running:
        together = [
            other for other in running if 0.0 <= other.silent_s - each.silent_s <= _TOGETHER_S
        ]
        if len({other.instance for other in together}) >= _FEWEST_TOGETHER:
            return tuple(together)
    return ()


def _culprits(writer: str, count: int, seen: Observation) -> tuple[str, ...]:
    """Return the symbols that a market's invalid packets are of, if they are few; else who wrote.

    Fencing off a symbol leaves the others trading.
    """
    if writer != _MARKET:
        return (writer,)
    symbols = seen.packets.invalid_symbols
    few = sorted(symbols, key=lambda name: -symbols[name])[:_MOST_SYMBOLS]
    if sum(symbols[name] for name in few) >= _MOSTLY * count:
        return tuple(f"symbol:{name}" for name in few)
    return (writer,)


def _settled(seen: Observation, limits: DetectionSettings) -> bool:
    """Say whether nothing has disturbed the cascade of late that would explain delays."""
    calm = not (seen.lost or seen.gone or seen.fenced)
    return calm and seen.undisturbed_s >= limits.settle


def _share(count: int, seen: Observation, limits: DetectionSettings) -> float | None:
    ended = seen.packets.ended
    return count / ended if ended >= limits.least_packets else None


def _level(value: float, warning: float, critical: float) -> EmergencyLevel | None:
    if value >= critical:
        return _CRITICAL
    return _WARNING if value >= warning else None
