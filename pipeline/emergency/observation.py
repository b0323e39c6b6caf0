"""What the emergency worker has seen of the cascade at one moment; all that detectors look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Lost", "Observation", "PacketFigures"]

_NONE: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Lost:
    """An instance of a system that fell silent without a farewell, and that none replaces.

    Attributes:
        system: The system.
        instance: The process.
        silent_s: For how long nothing was heard of it, seconds.
        process: Whether its supervisor says that the process runs; None where none knows.
    """

    system: str
    instance: str
    silent_s: float
    process: bool | None = None


@dataclass(frozen=True, slots=True)
class PacketFigures:
    """The packets that ended within the window.

    Attributes:
        ended: How many.
        malformed: Of these, such as were no packets, by who wrote them.
        invalid: Such as broke a rule, by who wrote them.
        invalid_symbols: The same ones by symbol.
        failed: Such as a stage's policy failed on, or was not asked for since its breaker had
            opened by itself, by stage.
        p95_ms: p95 of the time from acceptance to the end, milliseconds; None without any.
        slowest: Stage in which they spent the most time; empty without any.
    """

    ended: int = 0
    malformed: Mapping[str, int] = field(default_factory=lambda: _NONE)
    invalid: Mapping[str, int] = field(default_factory=lambda: _NONE)
    invalid_symbols: Mapping[str, int] = field(default_factory=lambda: _NONE)
    failed: Mapping[str, int] = field(default_factory=lambda: _NONE)
    p95_ms: float | None = None
    slowest: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the cascade.

    Attributes:
        at_s: When, seconds on a clock that only runs forward.
        broker_silent_s: For how long the broker has not answered, seconds.
        lost: Instances that fell silent.
        live: How many processes of stages are heard of.
        gone: Systems whose consumer group has lost its last member.
        exits: How often each worker ended unasked within the last minute, with its stages.
        undisturbed_s: Since when no worker came or went, nothing was fenced off, and the broker
            answered, seconds.
        fenced: Whether a stage is isolated.
        standstill_s: For how long packets have entered and none has left, seconds.
        stuck: The first system that works nothing off though records wait; empty where none.
        packets: The packets that ended within the window.
        breaches: What happened within the window that nobody may do, by the system concerned.
        refused: Commands within the window that only an author without the right made void.
        requests: Coordination requests that ended within the window.
        answered: Share of them that was answered in full; None without any.
        unanswered: How many each system left unanswered.
        waiting: Records that wait for each system.
        memory: Share of this machine's memory in use; None where it is not known.
        disk: Share of the disk below CASCADE_HOME in use; None where it is not known.
        workers_mb: Memory of each worker process, mebibytes, with its stages.
    """

    at_s: float = 0.0
    broker_silent_s: float = 0.0
    lost: tuple[Lost, ...] = ()
    live: int = 0
    gone: tuple[str, ...] = ()
    exits: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    undisturbed_s: float = 0.0
    fenced: bool = False
    standstill_s: float = 0.0
    stuck: str = ""
    packets: PacketFigures = PacketFigures()
    breaches: Mapping[str, str] = field(default_factory=dict)
    refused: int = 0
    requests: int = 0
    answered: float | None = None
    unanswered: Mapping[str, int] = field(default_factory=lambda: _NONE)
    waiting: Mapping[str, int] = field(default_factory=lambda: _NONE)
    memory: float | None = None
    disk: float | None = None
    workers_mb: Mapping[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
