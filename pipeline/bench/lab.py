"""The bench at work: a broker, turns on it, and all measurements so far."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from pipeline import broker
from pipeline.bench.contenders import Contender, contender
from pipeline.bench.measurement import Measurement
from pipeline.bench.plan import Pace
from pipeline.bench.search import highest_sustained
from pipeline.bench.turn import Ground, Turn
from pipeline.settings import Settings

__all__ = ["Check", "Lab", "at_least", "at_most", "interleaved", "lab", "middle"]

_WARM_RATE = 300.0
# More bars than the longest window of the policies has, so that none of them is still filling up.
_WARM_BARS = 70
_MOST_WARM_UP = 20_000
_START = {
    "faust": 300.0, "quix": 800.0, "loop": 2000.0, "streams": 1000.0,
    "forward": 1500.0, "forward-paired": 1500.0,
}  # fmt: skip
_START_OF_OTHERS = 400.0


@dataclass(frozen=True, slots=True)
class Check:
    """A requirement and how the measurements stand to it.

    Attributes:
        name: What is required.
        value: What was measured; None where nothing was.
        limit: The limit.
        at_least: Whether the value must be at least the limit; else at most.
        passed: Whether it holds.
    """

    name: str
    value: float | None
    limit: float
    at_least: bool
    passed: bool


def at_least(name: str, value: float | None, limit: float) -> Check:
    """Require a value of at least `limit`."""
    return Check(name, value, limit, at_least=True, passed=value is not None and value >= limit)


def at_most(name: str, value: float | None, limit: float) -> Check:
    """Require a value of at most `limit`."""
    return Check(name, value, limit, at_least=False, passed=value is not None and value <= limit)


def middle(values: Sequence[float | None]) -> float | None:
    """Return the median; None where any value is missing."""
    known = [value for value in values if value is not None]
    return median(known) if known and len(known) == len(values) else None


def interleaved(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Yield all names in each round, every other round backwards, so that none is always first."""
    for number in range(rounds):
        yield from names if number % 2 == 0 else reversed(names)


@dataclass(slots=True)
class Lab:
    """A bench at work.

    Attributes:
        ground: What all turns have in common.
        pace: How long and how often.
        measurements: All so far, searches included.
        sustained: Rates found by searches, by contender.
    """

    ground: Ground
    pace: Pace
    measurements: list[Measurement] = field(default_factory=list)
    sustained: dict[str, list[float | None]] = field(default_factory=dict)

    def replace_broker(self, found: broker.Broker) -> None:
        """Go on with a broker that was started again at the same address."""
        self.ground = replace(self.ground, broker=found)

    @contextmanager
    def turn(
        self, who: str | Contender, *, symbols: int | None = None, partitions: int | None = None
    ) -> Iterator[Turn]:
        """Give a contender its turn: up, warm, and gone at the end.

        Args:
            who: The contender, or its name.
            symbols: Symbols of the load, where they differ from the bench's.
            partitions: The same of partitions.
        """
        who = contender(who) if isinstance(who, str) else who
        ground = replace(
            self.ground,
            symbols=symbols or self.ground.symbols,
            partitions=partitions or self.ground.partitions,
        )
        ground.say(f"{who.name}: starting {who.title}.")
        with Turn(ground, who) as turn:
            wanted = max(_WARM_BARS * ground.symbols, round(_WARM_RATE * self.pace.warm_up_s))
            # A cold JVM compiles for long: it gets three times the packets.
            wanted *= 3 if who.name == "streams" else 1
            count = min(wanted, _MOST_WARM_UP)
            ground.say(f"{who.name}: warming up with {count} packets that do not count.")
            turn.warm_up(count, max(_WARM_RATE, count / 30.0))
            yield turn

    def measure(
        self, turn: Turn, rate: float, seconds: float, labels: Mapping[str, Any] | None = None
    ) -> Measurement:
        """Measure a phase of a turn, keep it and say how it went."""
        found = turn.measure(rate, seconds, labels)
        self.measurements.append(found)
        p50, p99 = (found.latency.p50, found.latency.p99) if found.latency else (0.0, 0.0)
        verdict = "sustained" if found.sustained else ", ".join(found.why_not)
        self.ground.say(
            f"{found.contender}: {rate:g}/s for {found.seconds:.0f} s: p50 {p50:.1f} ms,"
            f" p99 {p99:.1f} ms, {found.cpu_us['worker']:.0f} us a packet: {verdict}."
        )
        return found

    def point(
        self, who: str | Contender, rate: float, labels: Mapping[str, Any] | None = None
    ) -> Measurement:
        """Measure a rate in a turn of its own."""
        with self.turn(who) as turn:
            return self.measure(turn, rate, self.pace.hold_s, labels)

    def search(self, name: str, rates: Sequence[float] = ()) -> float | None:
        """Search for a contender's highest sustained rate, in a turn of its own.

        Args:
            name: The contender.
            rates: Measured beside, for the curve, where they are below twice that rate.
        """
        with self.turn(name) as turn:

            def probe(rate: float) -> bool:
                return self.measure(turn, rate, self.pace.probe_s, {"probe": True}).sustained

            def prove(rate: float) -> bool:
                return self.measure(turn, rate, self.pace.hold_s).sustained

            found = highest_sustained(
                probe, prove,
                start=_START.get(name, _START_OF_OTHERS), precision=self.pace.precision,
            )  # fmt: skip
            for rate in rates:
                if found is not None and rate < 2.0 * found:
                    self.measure(turn, rate, self.pace.probe_s, {"curve": True})
        self.sustained.setdefault(name, []).append(found)
        shown = "none" if found is None else f"{found:g}/s"
        self.ground.say(f"{name}: highest sustained rate {shown}.")
        return found


@contextmanager
def lab(
    settings: Settings,
    pace: Pace,
    *,
    symbols: int,
    partitions: int,
    say: Callable[[str], None],
    keep: bool = False,
) -> Iterator[Lab]:
    """Open a bench on the broker that is found or started.

    Args:
        settings: The user's settings.
        pace: How long and how often.
        symbols: How many symbols the load has.
        partitions: Partitions of what is keyed by symbol.
        say: Told in a sentence what is done.
        keep: Leave a broker that was started here running.
    """
    ours = broker.status(settings).broker is None and settings.broker is None
    try:
        found = broker.up(settings, notice=say)
        say(broker.status(settings).detail)
        mine = settings.model_copy(update={"broker": found.bootstrap})
        yield Lab(Ground(mine, found, symbols, partitions, say), pace)
    finally:
        if ours and not keep:
            say("Stopping the broker.")
            broker.down(settings)
