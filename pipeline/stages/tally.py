"""What a stage's worker says of itself to Prometheus: read from what it knows, when it is asked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.control.state import ControlView
from pipeline.metrics import process_vitals
from pipeline.metrics.families import counter, gauge, state_gauge
from pipeline.packets.events import TradingState
from pipeline.policies.breaker import Breaker, BreakerState

__all__ = ["OPEN", "RETRIES", "TRIPS", "StageFigures", "Tally", "WorkerFigures"]

RETRIES = "retries"
"""Vital: retries since the worker began."""

TRIPS = "breaker_trips"
"""Vital: times that the breaker opened since the worker began."""

OPEN = "breaker_open"
"""Vital: 1 while the breaker is not closed."""


@dataclass(slots=True)
class Tally:
    """What a stage worked off since it began; noted once a round, by the event loop alone.

    Attributes:
        rounds: Rounds with anything in them.
        records: Records that were written.
        retries: Retries of policies that failed.
        dead_letters: Records that could not be worked off.
        busy_s: Time that rounds took, seconds.
    """

    rounds: int = 0
    records: int = 0
    retries: int = 0
    dead_letters: int = 0
    busy_s: float = 0.0

    def note(self, records: int, retries: int, dead_letters: int, busy_s: float) -> None:
        """Add a round."""
        self.rounds += 1
        self.records += records
        self.retries += retries
        self.dead_letters += dead_letters
        self.busy_s += busy_s


class WorkerFigures(Collector):
    """Figures of a worker that owns a log: a stage's, or the gateway's.

    Args:
        stage: Its name.
        host: Owner of its logs.
        control: Says what is in force.
    """

    def __init__(self, stage: str, host: Any, control: Callable[[], ControlView]) -> None:
        self._stage = stage
        self._host = host
        self._control = control

    def vitals(self) -> dict[str, float]:
        """Return what heartbeats tell of the worker, beside its load."""
        return process_vitals()

    def collect(self) -> Iterator[Metric]:
        """Return the figures as they are now."""
        stage = {"stage": self._stage}
        view = self._control()
        yield InfoMetricFamily(
            "cascade_stage_build",
            "Code and settings that decisions of the worker depend on, as a hash.",
            value={**stage, "build": self._host.build},
        )
        yield gauge(
            "cascade_stage_owned_partitions",
            "Partitions of its log that the worker owns.",
            ("stage",),
            [((self._stage,), len(self._host.owned))],
        )
        yield state_gauge(
            "cascade_stage_trading_state",
            "The trading state that the worker acts on.",
            stage,
            TradingState,
            view.trading_state,
        )


class StageFigures(WorkerFigures):
    """Figures of a stage's worker.

    Args:
        stage: The stage.
        host: Owner of its logs.
        control: Says what is in force.
        tally: What it worked off.
        breaker: Of its policy.
    """

    def __init__(
        self,
        stage: str,
        host: Any,
        control: Callable[[], ControlView],
        tally: Tally,
        breaker: Breaker,
    ) -> None:
        super().__init__(stage, host, control)
        self._tally = tally
        self._breaker = breaker

    def vitals(self) -> dict[str, float]:
        """Return what heartbeats tell of the stage, beside load and success rate."""
        return {
            **super().vitals(),
            RETRIES: float(self._tally.retries),
            TRIPS: float(self._breaker.trips),
            OPEN: float(self._breaker.state is not BreakerState.CLOSED),
        }

    def collect(self) -> Iterator[Metric]:
        """Return the figures as they are now."""
        yield from super().collect()
        tally, breaker = self._tally, self._breaker
        for name, text, number in (
            ("cascade_stage_rounds_total", "Rounds that were worked off.", tally.rounds),
            ("cascade_stage_records_total", "Records that were written.", tally.records),
            ("cascade_stage_retries_total", "Retries of a policy that failed.", tally.retries),
            (
                "cascade_stage_dead_letters_total",
                "Records that could not be worked off.",
                tally.dead_letters,
            ),
            (
                "cascade_stage_busy_seconds_total",
                "Time that was spent working rounds off.",
                tally.busy_s,
            ),
            ("cascade_stage_breaker_trips_total", "Times that the breaker opened.", breaker.trips),
        ):
            yield counter(name, text, ("stage",), [((self._stage,), number)])
        yield state_gauge(
            "cascade_stage_breaker_state",
            "State of the breaker of the stage's policy.",
            {"stage": self._stage},
            BreakerState,
            breaker.state,
        )
