"""What workers run, and when a difference is told and halts."""

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.control.trips import NO_TRIPS, Trips
from pipeline.coordination.membership import Member
from pipeline.coordination.messages import Announcement
from pipeline.coordination.versions import (
    STAGE_WORKER,
    Skew,
    Versions,
    VersionWatch,
    skews,
    versions_of,
)
from pipeline.coordination.vocabulary import Role
from pipeline.settings import load_settings

WINDOW_S = 60.0


def member(
    instance: str,
    stage: str = "tactical",
    role: Role = Role.WORKER,
    capabilities: tuple[str, ...] = (),
    **hashes: Any,
) -> Member:
    """Return a live worker that runs these versions."""
    known: dict[str, Any] = {"code": "c", "schema": "s", "settings": "t", "policy": "p", **hashes}
    said = Announcement(
        instance=instance,
        role=role,
        capabilities=capabilities,
        configuration=Versions(**known).announced(),
    )
    return Member(stage, said, 0.0)


class Bench:
    """A watch, and what it is told and tells."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.epoch = 7
        self.members: list[Member] = []
        self.begun: list[Skew] = []
        self.over: list[Skew] = []
        self.watch = VersionWatch(
            lambda: self.members,
            WINDOW_S,
            epoch=lambda: self.epoch,
            begun=self.begun.append,
            over=self.over.append,
            now_us=lambda: int(self.now_s * 1e6),
            monotonic=lambda: self.now_s,
        )

    def look(self, at_s: float) -> None:
        """Look at a time."""
        self.now_s = at_s
        self.watch.look()


def differing(**second: Any) -> list[Member]:
    """Return two workers of a stage, started at 1000 s, of which the second differs."""
    started: dict[str, Any] = {"started_us": 1_000_000_000}
    return [member("a", **started), member("b", **{**started, **second})]


@pytest.mark.parametrize("kind", ["settings", "policy"])
def test_two_settings_or_policies_of_one_stage_differ(kind: str) -> None:
    """The difference names the workers by hash."""
    (found,) = skews(differing(**{kind: "x"}))

    own = {"settings": "t", "policy": "p"}[kind]
    assert ("tactical", kind) == (found.stage, found.kind)
    assert {own: ("a",), "x": ("b",)} == dict(found.workers)
    assert "x in b" in str(found)


@pytest.mark.parametrize("kind", ["code", "schema"])
def test_code_and_schemas_may_differ(kind: str) -> None:
    """A rolling upgrade is no fault."""
    assert [] == skews(differing(**{kind: "x"}))


def test_stages_are_compared_each_for_itself() -> None:
    """Each stage has a policy of its own."""
    assert [] == skews([member("a"), member("b", stage="risk", policy="x")])


def test_built_in_workers_that_stand_back_do_not_count() -> None:
    """A registered worker decides by another policy than the built-in one that yields to it."""
    registered: dict[str, Any] = {"role": Role.REGISTERED, "capabilities": (STAGE_WORKER,)}
    one = member("mine", policy="x", **registered)

    assert [] == skews([member("a"), one])
    other = member("yours", policy="y", **registered)
    assert ["policy"] == [each.kind for each in skews([member("a"), one, other])]


@pytest.mark.parametrize("said", [{}, {"versions": 7}, {"versions": {"code": 1}}])
def test_what_says_nothing_usable_is_no_version(said: Mapping[str, Any]) -> None:
    """Anybody may write to the topic."""
    assert Versions.of(said) is None


def test_a_difference_is_told_once_and_its_end_too() -> None:
    """However often the watch looks, and whoever joins."""
    bench = Bench()
    bench.members = differing(settings="x")
    bench.look(1001.0)
    bench.members = [*bench.members, member("c", settings="x")]
    bench.look(1002.0)

    assert 1 == len(bench.begun)
    assert [] == bench.over
    bench.members = [member("b", settings="x"), member("c", settings="x")]
    bench.look(1003.0)
    assert ["settings"] == [each.kind for each in bench.over]


def test_it_trips_past_the_window_and_not_before() -> None:
    """The window begins when the second version appears."""
    bench = Bench()
    bench.members = differing(policy="x")
    bench.look(1000.0 + WINDOW_S)
    assert [] == bench.watch.tripped(NO_TRIPS)

    bench.look(1000.0 + WINDOW_S + 1.0)
    (tripped,) = bench.watch.tripped(NO_TRIPS)
    assert "versions:tactical" == tripped.scope
    assert "for longer than 60 s" in tripped.reason


def test_a_watch_that_is_new_itself_goes_by_the_workers_starts() -> None:
    """Execution is replaced in a rolling upgrade too; that must not extend the window."""
    bench = Bench()
    bench.members = differing(policy="x")
    bench.look(5000.0)

    assert 1 == len(bench.watch.tripped(NO_TRIPS))


def test_a_clock_that_is_ahead_keeps_nothing_from_tripping() -> None:
    """What was seen counts where the workers' clocks say less."""
    bench = Bench()
    bench.members = differing(policy="x", started_us=9_000_000_000)
    bench.look(1000.0)
    bench.look(1000.0 + WINDOW_S + 1.0)

    assert 1 == len(bench.watch.tripped(NO_TRIPS))


def test_a_reset_holds_while_the_versions_stay_the_same() -> None:
    """A person has said that these two may run beside each other, not others."""
    bench = Bench()
    bench.members = differing(policy="x")
    bench.look(2000.0)
    reset = Trips(resets={"versions:tactical": 8})

    assert [] == bench.watch.tripped(reset)
    bench.look(3000.0)
    assert [] == bench.watch.tripped(reset)
    bench.epoch, bench.members = 9, differing(policy="y")
    bench.look(4000.0)
    assert 1 == len(bench.watch.tripped(reset))


def test_the_end_of_a_difference_trips_nothing_more() -> None:
    """What stands in the control log stays there; here it is over."""
    bench = Bench()
    bench.members = differing(policy="x")
    bench.look(2000.0)
    bench.members = [member("b", policy="x")]
    bench.look(2001.0)

    assert [] == bench.watch.tripped(NO_TRIPS)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"account": "other"}, True),
        ({"upgrade_window_s": 5.0}, True),
        ({"control_authors": "eve"}, True),
        ({"instance": "tactical-2"}, False),
        ({"log_level": "DEBUG"}, False),
        ({"home": "/elsewhere"}, False),
        ({"broker": "other:9092"}, False),
        ({"kafka": {"sasl.password": "secret"}}, False),
    ],
)
def test_settings_count_that_a_stage_must_share(change: dict[str, Any], differs: bool) -> None:
    """Not where a worker runs, nor how it reaches Kafka."""
    before = versions_of(load_settings(broker="one:9092"), 0)
    after = versions_of(load_settings(**{"broker": "one:9092", **change}), 0)

    assert differs == (before.settings != after.settings)
    assert (before.code, before.schema) == (after.code, after.schema)
