"""Each detector fires on its cause, and on none of its neighbours'."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.emergency.detectors import Sign, detect
from pipeline.emergency.observation import Lost, Observation, PacketFigures
from pipeline.packets.events import EmergencyLevel, EmergencyType
from pipeline.settings import DetectionSettings

TARGET_MS = 100.0
LIMITS = DetectionSettings()
FINE = PacketFigures(ended=1000, p95_ms=40.0, slowest="risk")
CALM = Observation(
    at_s=1000.0, live=4, undisturbed_s=1000.0, packets=FINE, waiting={"risk": 3},
    memory=0.5, disk=0.5, requests=20, answered=1.0,
    workers_mb={"risk": (150.0, ("risk",))},
)  # fmt: skip


def _lost(system: str, silent_s: float = 5.0, *, process: bool | None = True) -> Lost:
    return Lost(system, f"process-of-{system}", silent_s, process)


def _packets(**changes: Any) -> PacketFigures:
    return replace(FINE, **changes)


CAUSES: dict[str, tuple[Observation, EmergencyType, EmergencyLevel, tuple[str, ...]]] = {
    "a system falls silent": (
        replace(CALM, lost=(_lost("tactical"),)),
        EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CRITICAL, ("tactical",),
    ),
    "two end together": (
        replace(CALM, lost=(_lost("tactical", process=False), _lost("risk", process=False))),
        EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CRITICAL, ("tactical",),
    ),
    "two fall silent one long after the other": (
        replace(CALM, lost=(_lost("tactical", 30.0), _lost("risk", 5.0))),
        EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CRITICAL, ("tactical",),
    ),
    "a group is empty": (
        replace(CALM, gone=("gateway",)),
        EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CRITICAL, ("gateway",),
    ),
    "a worker ends": (
        replace(CALM, exits={"risk": (1, ("risk",))}),
        EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CAUTION, ("risk",),
    ),
    "a worker ends again and again": (
        replace(CALM, exits={"risk": (3, ("risk",))}),
        EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CRITICAL, ("risk",),
    ),
    "a policy fails": (
        replace(CALM, packets=_packets(failed={"tactical": 300})),
        EmergencyType.SYSTEM_FAILURE, EmergencyLevel.WARNING, ("tactical",),
    ),
    "packets enter and none leaves": (
        replace(CALM, packets=PacketFigures(), standstill_s=6.0, stuck="risk"),
        EmergencyType.CASCADE_BREAKDOWN, EmergencyLevel.CRITICAL, ("risk",),
    ),
    "packets are late": (
        replace(CALM, packets=_packets(p95_ms=130.0)),
        EmergencyType.PERFORMANCE_DEGRADATION, EmergencyLevel.WARNING, ("risk",),
    ),
    "packets are very late": (
        replace(CALM, packets=_packets(p95_ms=230.0)),
        EmergencyType.PERFORMANCE_DEGRADATION, EmergencyLevel.CRITICAL, ("risk",),
    ),
    "a stranger writes to a log": (
        replace(CALM, breaches={"tactical": "foreign"}),
        EmergencyType.SECURITY_BREACH, EmergencyLevel.CRITICAL, ("tactical",),
    ),
    "a stranger gives commands": (
        replace(CALM, refused=1),
        EmergencyType.SECURITY_BREACH, EmergencyLevel.WARNING, (),
    ),
    "some records are no packets": (
        replace(CALM, packets=_packets(malformed={"source:market": 20})),
        EmergencyType.DATA_CORRUPTION, EmergencyLevel.WARNING, ("source:market",),
    ),
    "many records are no packets": (
        replace(CALM, packets=_packets(malformed={"source:market": 300})),
        EmergencyType.DATA_CORRUPTION, EmergencyLevel.CRITICAL, ("source:market",),
    ),
    "the broker is silent": (
        replace(CALM, broker_silent_s=11.0, lost=(_lost("risk"), _lost("tactical"))),
        EmergencyType.NETWORK_PARTITION, EmergencyLevel.CRITICAL, (),
    ),
    "several fall silent at once": (
        replace(CALM, live=2, lost=(_lost("risk", 5.0), _lost("tactical", 5.8))),
        EmergencyType.NETWORK_PARTITION, EmergencyLevel.WARNING, ("risk", "tactical"),
    ),
    "all fall silent at once": (
        replace(CALM, live=0, lost=(_lost("risk", 5.0), _lost("tactical", 5.8, process=None))),
        EmergencyType.NETWORK_PARTITION, EmergencyLevel.CRITICAL, ("risk", "tactical"),
    ),
    "memory fills": (
        replace(CALM, memory=0.96),
        EmergencyType.RESOURCE_EXHAUSTION, EmergencyLevel.CRITICAL, (),
    ),
    "the disk fills": (
        replace(CALM, disk=0.91),
        EmergencyType.RESOURCE_EXHAUSTION, EmergencyLevel.WARNING, (),
    ),
    "a worker grows": (
        replace(CALM, workers_mb={"risk": (2100.0, ("risk",))}),
        EmergencyType.RESOURCE_EXHAUSTION, EmergencyLevel.WARNING, ("risk",),
    ),
    "records queue, and so are late": (
        replace(CALM, waiting={"risk": 6000}, packets=_packets(p95_ms=900.0)),
        EmergencyType.RESOURCE_EXHAUSTION, EmergencyLevel.CRITICAL, ("risk",),
    ),
    "requests are not answered": (
        replace(CALM, requests=10, answered=0.4, unanswered={"desk": 6}),
        EmergencyType.COORDINATION_FAILURE, EmergencyLevel.WARNING, ("desk",),
    ),
    "packets of a stage break rules": (
        replace(CALM, packets=_packets(invalid={"tactical": 20}, invalid_symbols={"A": 20})),
        EmergencyType.VALIDATION_FAILURE, EmergencyLevel.WARNING, ("tactical",),
    ),
    "packets of one symbol break rules": (
        replace(
            CALM,
            packets=_packets(
                invalid={"source:market": 300}, invalid_symbols={"A": 290, "B": 5, "C": 3, "D": 2}
            ),
        ),
        EmergencyType.VALIDATION_FAILURE, EmergencyLevel.CRITICAL,
        ("symbol:A", "symbol:B", "symbol:C"),
    ),
    "packets of many symbols break rules": (
        replace(
            CALM,
            packets=_packets(
                invalid={"source:market": 300}, invalid_symbols={f"S{i}": 3 for i in range(100)}
            ),
        ),
        EmergencyType.VALIDATION_FAILURE, EmergencyLevel.CRITICAL, ("source:market",),
    ),
}  # fmt: skip


def _signs(seen: Observation) -> list[Sign]:
    return detect(seen, LIMITS, TARGET_MS)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_has_its_own_sign_and_no_other(cause: str) -> None:
    """Type, level and systems are those of the cause; no other type is seen in it."""
    seen, kind, level, systems = CAUSES[cause]
    signs = _signs(seen)
    assert {kind} == {each.emergency_type for each in signs}
    assert (level, systems) == (signs[0].level, signs[0].systems)


def test_each_type_has_a_cause() -> None:
    """No type is left without a detector."""
    assert set(EmergencyType) == {kind for _, kind, _, _ in CAUSES.values()}


def test_a_calm_cascade_has_no_signs() -> None:
    """Nothing is seen where nothing is wrong, nor where nothing happens."""
    assert [] == _signs(CALM)
    assert [] == _signs(Observation())


@pytest.mark.parametrize(
    "seen",
    [
        replace(CALM, packets=_packets(ended=19, p95_ms=900.0)),
        replace(CALM, packets=_packets(ended=19, malformed={"source:market": 19})),
        replace(CALM, requests=4, answered=0.0),
    ],
    ids=["latency", "malformed", "coordination"],
)
def test_few_make_no_rate(seen: Observation) -> None:
    """A rate of a handful says nothing."""
    assert [] == _signs(seen)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (replace(CALM, packets=_packets(p95_ms=900.0)), {"undisturbed_s": 5.0}),
        (replace(CALM, packets=_packets(p95_ms=900.0)), {"fenced": True}),
        (replace(CALM, waiting={"risk": 9000}), {"undisturbed_s": 5.0}),
        (replace(CALM, standstill_s=60.0), {"undisturbed_s": 5.0}),
        (replace(CALM, standstill_s=60.0), {"fenced": True}),
    ],
)
def test_a_disturbed_cascade_may_be_slow(seen: Observation, why: dict[str, Any]) -> None:
    """After a take-over, or behind a fence, lateness and standstill have a known cause."""
    assert _signs(seen)
    assert [] == _signs(replace(seen, **why))


def test_each_lost_system_is_a_sign_of_its_own() -> None:
    """Two systems that fail are two emergencies, each with its plan."""
    lost = (_lost("tactical", process=False), _lost("risk", process=False))
    assert {"tactical", "risk"} == {each.subject for each in _signs(replace(CALM, lost=lost))}


def test_two_systems_of_one_process_are_no_partition() -> None:
    """Where stages share a process, its end silences them together."""
    lost = tuple(replace(_lost(name), instance="shared") for name in ("tactical", "risk"))
    assert {EmergencyType.SYSTEM_FAILURE} == {
        each.emergency_type for each in _signs(replace(CALM, lost=lost))
    }
