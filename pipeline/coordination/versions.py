"""What workers run: hashes of code, schemas, settings and policy, and where a stage's differ.

Every worker announces its `Versions` with each heartbeat. Workers of one stage may differ in code
and schemas while they are replaced one by one; that is what schemas are kept compatible for. Two
settings or two policies decide differently on the same input, so they are told at once
(`Skew`), and past an upgrade window they count as a fault.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.control.trips import Trips
from pipeline.control.tripwire import Tripped
from pipeline.coordination.membership import Member
from pipeline.coordination.vocabulary import Role
from pipeline.packets import schemas
from pipeline.settings import Settings, code_hash, settings_hash

__all__ = ["STAGE_WORKER", "Skew", "VersionWatch", "Versions", "skews", "versions_of"]

STAGE_WORKER = "cascade.stage_worker"
"""Capability of registered systems that decide a stage's packets, so that the built-in yields."""

_KEY = "versions"
_MUST_AGREE = ("settings", "policy")


class Versions(Struct, frozen=True, kw_only=True):
    """What a worker runs; hashes of 16 hexadecimal digits.

    Attributes:
        code: Of the package's sources.
        schema: Of all current schemas.
        settings: Of the settings that a stage's workers must share.
        policy: Of the stage's policy; empty where it has none.
        started_us: When the worker started, its own clock, microseconds.
    """

    code: str
    schema: str
    settings: str
    policy: str = ""
    started_us: int = 0

    def announced(self) -> dict[str, Any]:
        """Return it as part of an announcement's configuration."""
        return {_KEY: msgspec.to_builtins(self)}

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> "Versions | None":
        """Return what an announcement's configuration says; None where it says nothing usable."""
        try:
            return msgspec.convert(configuration.get(_KEY), cls)
        except msgspec.ValidationError:
            return None


def versions_of(settings: Settings, started_us: int, policy: str = "") -> Versions:
    """Return what this process runs.

    Args:
        settings: Its settings.
        started_us: When it started, microseconds.
        policy: Hash of its policy, of any length.
    """
    return Versions(
        code=code_hash(), schema=schemas.set_hash(), settings=settings_hash(settings),
        policy=policy[:16], started_us=started_us,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Skew:
    """Workers of a stage that differ where they must not.

    Attributes:
        stage: The stage.
        kind: `settings` or `policy`.
        workers: Instances by hash, each sorted.
        since_us: When the last of the versions appeared first, by its workers' clocks.
    """

    stage: str
    kind: str
    workers: tuple[tuple[str, tuple[str, ...]], ...]
    since_us: int

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """What makes it the same skew, whichever workers come and go."""
        return self.stage, self.kind, tuple(found for found, _ in self.workers)

    def __str__(self) -> str:
        versions = "; ".join(f"{name or 'none'} in {', '.join(who)}" for name, who in self.workers)
        what = "settings" if self.kind == "settings" else "policies"
        return f"workers of {self.stage} have {len(self.workers)} {what} at once: {versions}"


def skews(members: Iterable[Member]) -> list[Skew]:
    """Return where workers of one stage differ in settings or policy, by stage and kind.

    Where registered workers decide a stage, the built-in ones stand back and do not count.
    """
    stages: dict[str, list[tuple[Member, Versions]]] = {}
    for each in members:
        if (versions := Versions.of(each.said.configuration)) is not None:
            stages.setdefault(each.system_id, []).append((each, versions))
    return [
        skew
        for stage in sorted(stages)
        for kind in _MUST_AGREE
        if (skew := _skew(stage, kind, _deciding(stages[stage]))) is not None
    ]


def _deciding(found: list[tuple[Member, Versions]]) -> list[tuple[Member, Versions]]:
    registered = [(each, versions) for each, versions in found if _registered(each)]
    return registered or found


def _registered(member: Member) -> bool:
    return member.said.role is Role.REGISTERED and STAGE_WORKER in member.said.capabilities


def _skew(stage: str, kind: str, found: list[tuple[Member, Versions]]) -> Skew | None:
    workers: dict[str, list[str]] = {}
    first_us: dict[str, int] = {}
    for member, versions in found:
        value = getattr(versions, kind)
        workers.setdefault(value, []).append(member.said.instance)
        first_us[value] = min(versions.started_us, first_us.get(value, versions.started_us))
    if len(workers) < 2:  # noqa: PLR2004  # two differ
        return None
    grouped = tuple((value, tuple(sorted(workers[value]))) for value in sorted(workers))
    return Skew(stage, kind, grouped, max(first_us.values()))


@dataclass(slots=True)
class _Known:
    """A skew that lasts."""

    skew: Skew
    seen_s: float
    tripped_epoch: int | None = None


class VersionWatch:
    """Follows the skews of all stages: tells of each, and trips on those that outlast the window.

    `look` and `tripped` may be called on different threads.

    Args:
        members: Returns the live instances of all systems.
        window_s: How long a skew may last, seconds.
        epoch: Returns the epoch of the control log.
        begun: Told of a skew when it begins.
        over: Told of a skew when it is over.
        now_us: Clock, microseconds since the Unix epoch, UTC.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        members: Callable[[], Iterable[Member]],
        window_s: float,
        *,
        epoch: Callable[[], int],
        begun: Callable[[Skew], None],
        over: Callable[[Skew], None],
        now_us: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = members
        self._window_s = window_s
        self._epoch = epoch
        self._begun, self._over = begun, over
        self._now_us = now_us
        self._monotonic = monotonic
        self._known: dict[tuple[str, str, tuple[str, ...]], _Known] = {}

    def look(self) -> None:
        """Look once."""
        found = {each.key: each for each in skews(self._members())}
        known = {key: each for key, each in self._known.items() if key in found}
        gone = [each.skew for key, each in self._known.items() if key not in found]
        fresh = [each for key, each in found.items() if key not in known]
        for each in fresh:
            known[each.key] = _Known(each, self._monotonic())
        for key, skew in found.items():
            known[key].skew = skew
            if known[key].tripped_epoch is None and self._lasts_s(known[key]) > self._window_s:
                known[key].tripped_epoch = self._epoch()
        self._known = known  # at once, for `tripped` reads it meanwhile
        for each in fresh:
            self._begun(each)
        for each in gone:
            self._over(each)

    def tripped(self, trips: Trips) -> list[Tripped]:
        """Return the skews that have outlasted the window, and were not reset since.

        A reset holds as long as the versions stay the same.
        """
        return [
            Tripped(scope, f"{each.skew}, for longer than {self._window_s:g} s")
            for each in self._known.values()
            if each.tripped_epoch is not None
            and not trips.reset_since(scope := f"versions:{each.skew.stage}", each.tripped_epoch)
        ]

    def _lasts_s(self, known: _Known) -> float:
        """Return for how long a skew lasts.

        By the workers' clocks, since whoever looks may be new itself; what was seen counts where it
        is more, so that a clock that is ahead keeps nothing from tripping.
        """
        announced_s = (self._now_us() - known.skew.since_us) / 1e6
        return max(announced_s, self._monotonic() - known.seen_s)
