"""What is compared, and what must come of it: one function a question."""

from collections.abc import Mapping, Sequence

from pipeline.bench.lab import Check, Lab, at_least, at_most, interleaved, middle
from pipeline.bench.measurement import Measurement

__all__ = ["QUICK_RATES", "everyone", "forward", "latency", "price", "quick", "sustained"]

FASTER_THAN_FAUST = 6.0
FASTER_THAN_QUIX = 1.8
MOST_CPU_OF_LOOP = 1.3
LEAST_SUSTAINED = 1500.0
MOST_P99_MS = 100.0
MOST_P50_OF_LOOP = 3.0
MOST_PRICE = 1.15

QUICK_RATES: Mapping[str, Sequence[float]] = {
    "loop": (1000.0, 3000.0),
    "forward": (1000.0, 3000.0),
    "single": (200.0, 1000.0),
    "paired": (200.0, 1000.0),
    "processes": (200.0, 1000.0),
    "streams": (1000.0, 3000.0),
    "quix": (500.0, 1500.0),
    "faust": (200.0, 500.0),
}
_CURVE = (100.0, 200.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0, 4000.0)


def forward(lab: Lab, extra: Sequence[str] = ()) -> list[Check]:
    """Compare forwarding stages with other ways: highest sustained rate, CPU at the same load.

    Args:
        lab: The bench.
        extra: More contenders to search.
    """
    names = ("loop", "forward", "quix", "faust", *extra)
    for name in interleaved(names, lab.pace.repeats):
        lab.search(name)
    return [*_ratios(lab), _cpu_check(lab)]


def _best(lab: Lab, name: str) -> float | None:
    return middle(lab.sustained.get(name, []))


def _ratios(lab: Lab) -> list[Check]:
    ours = _best(lab, "forward")
    return [
        at_least(
            f"forwarding stages, sustained rate over {title}", _over(ours, _best(lab, name)), limit
        )
        for name, title, limit in (
            ("faust", "stock Faust's", FASTER_THAN_FAUST),
            ("quix", "Quix Streams'", FASTER_THAN_QUIX),
        )
    ]


def _cpu_check(lab: Lab) -> Check:
    """Offer both the highest rate that both sustain, in turns."""
    title = "forwarding stages, worker CPU a packet over the plain loop's at the same load"
    rates = [_best(lab, name) for name in ("forward", "loop")]
    if None in rates:
        return at_most(title, None, MOST_CPU_OF_LOOP)
    rate = min(rate for rate in rates if rate is not None)
    found: dict[str, list[float | None]] = {"loop": [], "forward": []}
    for name in interleaved(tuple(found), lab.pace.repeats):
        found[name].append(lab.point(name, rate, {"same_load": True}).cpu_us["worker"])
    return at_most(title, _over(middle(found["forward"]), middle(found["loop"])), MOST_CPU_OF_LOOP)


def sustained(lab: Lab, mode: str) -> list[Check]:
    """Search for the rate that the real pipeline sustains.

    Args:
        lab: The bench.
        mode: single, paired or processes.
    """
    lab.search(mode, _CURVE)
    limit = LEAST_SUSTAINED
    return [at_least(f"the pipeline ({mode}), packets/s sustained", _best(lab, mode), limit)]


def latency(lab: Lab, mode: str, rate: float = 1000.0, low: float = 200.0) -> list[Check]:
    """Take latencies of the real pipeline: p99 at a high rate, p50 at a low one beside the loop's.

    Args:
        lab: The bench.
        mode: single, paired or processes.
        rate: The high rate.
        low: The low one.
    """
    high = [lab.point(mode, rate) for _ in range(max(3, lab.pace.repeats))]
    median_p99 = middle([_p99(each) for each in high])
    beside: dict[str, list[float | None]] = {mode: [], "loop": []}
    for name in interleaved(tuple(beside), lab.pace.repeats):
        beside[name].append(_p50(lab.point(name, low)))
    return [
        at_most(f"p99 at {rate:g}/s, ms, median of {len(high)} runs", median_p99, MOST_P99_MS),
        at_most(
            f"error rate at {rate:g}/s, median",
            middle([each.error_rate for each in high]),
            0.01,
        ),
        at_most(
            f"p50 at {low:g}/s over the plain loop's",
            _over(middle(beside[mode]), middle(beside["loop"])),
            MOST_P50_OF_LOOP,
        ),
    ]


def price(lab: Lab, rate: float, *, forwarding: bool = False) -> list[Check]:
    """Set exactly once by the logs beside at-least-once and a transaction a poll.

    Args:
        lab: The bench.
        rate: Packets a second offered to all.
        forwarding: Whether the stages only forward.
    """
    log = "forward" if forwarding else "log"
    least = "forward-at-least-once" if forwarding else "at-least-once"
    transaction = "forward-transaction" if forwarding else "transaction"
    found: dict[str, list[Measurement]] = {log: [], least: [], transaction: []}
    for name in interleaved(tuple(found), lab.pace.repeats):
        found[name].append(lab.point(name, rate))
    p99 = {name: middle([_p99(each) for each in runs]) for name, runs in found.items()}
    cpu = {name: middle([_cpu(each) for each in runs]) for name, runs in found.items()}
    return [
        at_most("exactly once over at-least-once, p99", _over(p99[log], p99[least]), MOST_PRICE),
        at_most(
            "exactly once over at-least-once, CPU of worker and broker",
            _over(cpu[log], cpu[least]),
            MOST_PRICE,
        ),
    ]


def everyone(lab: Lab, names: Sequence[str]) -> list[Check]:
    """Search each contender's highest sustained rate and measure its curve.

    Args:
        lab: The bench.
        names: The contenders.
    """
    for name in names:
        lab.search(name, _CURVE)
    checks = []
    if {"forward", "faust", "quix"} <= lab.sustained.keys():
        checks += _ratios(lab)
    if {"forward", "loop"} <= lab.sustained.keys():
        checks.append(_cpu_check(lab))
    modes = [name for name in ("single", "paired", "processes") if name in lab.sustained]
    if modes:
        best = max((_best(lab, name) or 0.0) for name in modes)
        title = f"the pipeline ({', '.join(modes)}), packets/s sustained"
        checks.append(at_least(title, best, LEAST_SUSTAINED))
    return checks


def quick(lab: Lab, names: Sequence[str]) -> list[Check]:
    """Offer each contender a few rates for a moment: a look, no verdict on what is sustained.

    Args:
        lab: The bench.
        names: The contenders.
    """
    faults = 0
    for name in names:
        with lab.turn(name) as turn:
            for rate in QUICK_RATES.get(name, (200.0,)):
                found = lab.measure(turn, rate, lab.pace.probe_s)
                faults += found.lost + found.duplicates + found.misordered
    return [at_most("packets lost, repeated or out of order", float(faults), 0.0)]


def _over(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _p99(found: Measurement) -> float | None:
    return found.latency.p99 if found.latency else None


def _p50(found: Measurement) -> float | None:
    return found.latency.p50 if found.latency else None


def _cpu(found: Measurement) -> float:
    return found.cpu_us["worker"] + found.cpu_us["broker"]
