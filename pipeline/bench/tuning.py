"""Gathering time and round size tuned from recorded history, and held against the fixed default.

Each trial is a turn of its own, for workers take their settings when they start. What to try is
decided by `pipeline.watch.tuning` from all that was ever measured at this rate; each run is added
to the history, so a later call goes on where this one ends. Afterwards the best setting found and
the default take turns. Packets have their own deadline, as in production.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from pipeline.bench.contenders import contender
from pipeline.bench.lab import Check, Lab, at_least, at_most, interleaved
from pipeline.bench.measurement import Measurement
from pipeline.errors import ConfigurationError
from pipeline.watch.tuning import (
    Bounds,
    Observation,
    Recommendation,
    Setting,
    bounds_of,
    default_of,
    next_setting,
    recommend,
)

__all__ = ["LEAST_GAIN", "Tuned", "TuningPlan", "append", "read_history", "tune", "tune_table"]

LEAST_GAIN = 0.05
"""By how much of the default's p99 the tuned one's must be lower, in the median of all pairs."""

HISTORY = "tuning.jsonl"

_DEFAULT = "default"
_TUNED = "tuned"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Observation).decode


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """What to measure.

    Attributes:
        mode: single, paired or processes.
        rate: Packets a second.
        trials: Settings to try.
        seconds: Length of a run.
        pairs: Runs of the default and of what was found, each.
        seed: Decides among equals.
        history: The file; None for `tuning.jsonl` under `CASCADE_HOME`.
    """

    mode: str
    rate: float
    trials: int
    seconds: float
    pairs: int
    seed: int
    history: Path | None = None


@dataclass(slots=True)
class Tuned:
    """What came of it.

    Attributes:
        plan: What was asked for.
        history: The file.
        known: Observations of the file that count for this mode, rate and deadline, at the start.
        bounds: Where settings are safe.
        default: The fixed default.
        tuned: What was held against it; None where nothing fails as seldom.
        pairs: p99 of the default and of the tuned setting, pair by pair, ms.
        recommendation: What all observations say at the end, the pairs among them; None where no
            run of the default was valid.
    """

    plan: TuningPlan
    history: Path | None = None
    known: int = 0
    bounds: Bounds | None = None
    default: Setting | None = None
    tuned: Setting | None = None
    pairs: list[tuple[float, float]] = field(default_factory=list)
    recommendation: Recommendation | None = None

    def ratios(self) -> list[float]:
        """Return p99 of the tuned setting over the default's, pair by pair."""
        return [tuned / default for default, tuned in self.pairs]

    def beats(self) -> bool:
        """Say whether the tuned p99 is lower in each pair, and by enough in the median."""
        ratios = self.ratios()
        return bool(ratios) and max(ratios) < 1.0 and median(ratios) <= 1.0 - LEAST_GAIN

    def verdict(self) -> str:
        """Return the outcome of the comparison in a sentence."""
        if self.recommendation is None:
            return "not compared: no run of the default was valid"
        if self.tuned is None:
            return "does not beat the default: no other setting fails as seldom as it"
        if not self.pairs:
            return "not compared: no pair of runs was valid"
        ratios = self.ratios()
        said = "tuned beats the default" if self.beats() else "does not beat the default"
        return (
            f"{said}: p99, tuned over default, {median(ratios):.3f}"
            f" ({min(ratios):.3f} to {max(ratios):.3f}) in {len(ratios)} pairs"
        )

    def to_use(self) -> Setting | None:
        """Return the setting to use: the tuned one only where runs and history both say so."""
        found = self.recommendation
        sure = found is not None and found.setting == self.tuned
        return self.tuned if sure and self.beats() else self.default

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it, with the verdict."""
        ratios, use = self.ratios(), self.to_use()
        content: dict[str, Any] = msgspec.to_builtins(asdict(self), enc_hook=str)
        return {
            **content,
            "ratio": {"median": median(ratios), "least": min(ratios), "most": max(ratios)}
            if ratios
            else None,
            "beats": self.beats(),
            "verdict": self.verdict(),
            "use": asdict(use) if use is not None else None,
        }


def read_history(path: Path) -> list[Observation]:
    """Return the observations in a file, none where it is not there.

    Raises:
        ConfigurationError: If it cannot be read, or a line is no observation.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Expected to read {path}, was: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(_decode(line))
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigurationError(
                f"Expected an observation as JSON in line {number} of {path}, was: {error}."
                " Mend or remove the line, or name another file by --history."
            ) from error
    return found


def append(path: Path, observation: Observation) -> None:
    """Add an observation to a file, which is made where it is missing.

    Raises:
        ConfigurationError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(_encode(observation) + b"\n")
    except OSError as error:
        raise ConfigurationError(f"Expected to write {path}, was: {error}") from error


def tune(lab: Lab, found: Tuned) -> list[Check]:
    """Try settings, then hold the best against the default.

    Args:
        lab: The bench.
        found: The plan, and where the figures go.
    """
    plan, settings = found.plan, lab.ground.settings
    found.history = plan.history or settings.home / HISTORY
    found.bounds = bounds = bounds_of(settings)
    found.default = default = default_of(bounds)
    known = [
        each for each in read_history(found.history)
        if (each.mode, each.rate, each.timeout_ms)
        == (plan.mode, plan.rate, settings.cascade_timeout_ms)
    ]  # fmt: skip
    found.known = len(known)
    for number in range(1, plan.trials + 1):
        setting = next_setting(known, bounds, default, plan.seed)
        lab.ground.say(f"tune: trial {number} of {plan.trials}: {setting}.")
        _run(lab, found, setting, f"trial {number}", known, cold=number == 1)
    if all(each.setting != default for each in known):
        return _checks(lab.measurements, found)
    found.tuned = recommend(known, bounds, default, plan.seed).challenger
    if found.tuned is not None:
        _compare(lab, found, default, found.tuned, known)
    found.recommendation = recommend(known, bounds, default, plan.seed)
    return _checks(lab.measurements, found)


def _compare(
    lab: Lab, found: Tuned, default: Setting, tuned: Setting, known: list[Observation]
) -> None:
    """Run both in turns; a pair is two runs beside each other, and either may be first."""
    rivals = {_DEFAULT: default, _TUNED: tuned}
    p99: dict[str, list[float | None]] = {_DEFAULT: [], _TUNED: []}
    for name in interleaved(tuple(rivals), found.plan.pairs):
        lab.ground.say(f"tune: comparison, {name}: {rivals[name]}.")
        p99[name].append(_run(lab, found, rivals[name], name, known))
    found.pairs = [
        (one, other)
        for one, other in zip(p99[_DEFAULT], p99[_TUNED], strict=True)
        if one is not None and other is not None
    ]


def _run(
    lab: Lab,
    found: Tuned,
    setting: Setting,
    part: str,
    known: list[Observation],
    *,
    cold: bool = False,
) -> float | None:
    """Measure a setting in a turn of its own, and remember it; return its p99, ms.

    A run that went wrong is no observation, and has no p99.

    Args:
        lab: The bench.
        found: The plan and the file.
        setting: What the workers run with.
        part: What the run is for.
        known: Observations so far; this one is added.
        cold: Whether nothing ran before: then the same load is sent once without being measured,
            or the first run, that of the default, would pay for the broker's warming up.
    """
    plan = found.plan
    who = replace(contender(plan.mode), overrides=asdict(setting))
    with lab.turn(who) as turn:
        if cold:
            turn.warm_up(max(1, round(plan.rate * plan.seconds)), plan.rate)
        seen = lab.measure(turn, plan.rate, plan.seconds, {**asdict(setting), "run": part})
    if _faults(seen) or seen.restarts or seen.latency is None:
        return None
    observation = Observation(
        time=time.time_ns() // 1000,
        mode=plan.mode,
        rate=plan.rate,
        timeout_ms=lab.ground.settings.cascade_timeout_ms,
        **asdict(setting),
        p99_ms=seen.latency.p99,
        cpu_us=seen.cpu_us["worker"],
        error_rate=seen.error_rate,
    )
    known.append(observation)
    if found.history is not None:
        append(found.history, observation)
    return seen.latency.p99


def tune_table(found: Tuned) -> str:
    """Return what came of it as text."""
    lines = []
    if found.bounds is not None:
        lines.append(
            f"bounds: gather 0 to {found.bounds.most_gather_ms} ms, rounds of"
            f" {found.bounds.least_round} to {found.bounds.most_round}"
        )
    lines.append(
        f"history: {found.history}, {found.known} observations of this mode, rate and deadline"
        " before"
    )
    for number, (default, tuned) in enumerate(found.pairs, 1):
        ratio = tuned / default
        lines.append(
            f"pair {number}: p99 {default:.1f} ms default, {tuned:.1f} ms tuned: {ratio:.3f}"
        )
    lines += [f"default: {found.default}", f"tuned: {found.tuned or 'none'}"]
    if found.recommendation is not None:
        each = found.recommendation
        lines.append(
            f"history says: {each.setting}, p99 {each.p99_ms:.1f} ms ({each.least_ms:.1f} to"
            f" {each.most_ms:.1f} with 95 %). {each.reason}"
        )
    use = found.to_use()
    if use is not None:
        said = (
            f"CASCADE_GATHER_MS={use.gather_ms} CASCADE_ROUND_MAX_RECORDS={use.round_max_records}"
        )
        lines.append(f"use: {said}{', the default' if use == found.default else ''}")
    lines.append(f"verdict: {found.verdict()}")
    return "\n".join(lines)


def _faults(seen: Measurement) -> int:
    return seen.lost + seen.duplicates + seen.misordered


def _checks(measurements: Sequence[Measurement], found: Tuned) -> list[Check]:
    """Return whether the comparison is valid; who won is no matter of a check."""
    asked = found.plan.pairs if found.tuned is not None else 0
    return [
        at_most("packets lost", sum(each.lost for each in measurements), 0),
        at_most("packets with two outcomes", sum(each.duplicates for each in measurements), 0),
        at_most("packets out of order", sum(each.misordered for each in measurements), 0),
        at_most("workers that were started again", sum(each.restarts for each in measurements), 0),
        at_least("pairs that were compared", len(found.pairs), asked),
    ]
