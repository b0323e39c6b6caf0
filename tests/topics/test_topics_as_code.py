"""What `cascade topics` promises, each shown on a real broker; `scripts/test topics` reports."""

import contextlib
from collections.abc import Callable

import pytest

from tests.live_topics import config_of, set_config
from tests.topics.conftest import Namespace
from tests.topics.verdict import Witness

_ALERTS = "cascade.alerts"
_ATTEMPTS = 3
_LIMIT_S = 120.0


@pytest.mark.integration
def test_plan_after_apply_is_empty(space: Namespace, witness: Witness) -> None:
    """After `apply`, `plan` and `diff` find nothing left; a second `apply` changes nothing."""
    every = len(space.content["topics"])
    code, made, _ = space.run("plan")
    witness.see("exit code of plan before", 1, code)
    witness.see("topics to create", every, _with(made, "create"))
    witness.see("topics before apply", 0, len(space.live()))
    code, done, _ = space.run("apply")
    witness.see("exit code of apply", 0, code)
    witness.see("topics created", every, sum(topic["done"] for topic in done["topics"]))
    as_printed = made["topics"] == _undone(done["topics"])
    witness.see("plan executed is plan printed", True, as_printed)
    code, made, _ = space.run("plan")
    witness.see("exit code of plan after", 0, code)
    witness.see("topics left to change", 0, every - _with(made, "none"))
    code, found, _ = space.run("diff")
    witness.see("exit code of diff after", 0, code)
    witness.see("differences", 0, len(found["differences"]))
    code, done, _ = space.run("apply")
    witness.see("exit code of a second apply", 0, code)
    witness.see("changes of a second apply", 0, sum(topic["done"] for topic in done["topics"]))
    witness.give()


@pytest.mark.integration
def test_partition_change(space: Namespace, witness: Witness) -> None:
    """A keyed topic with another count is refused; it grows only by name, and never shrinks."""
    space.run("apply")
    space.write(cascade_alerts={"partitions": 3})
    code, made, _ = space.run("plan")
    witness.see("exit code of plan", 1, code)
    witness.see("refused by plan", [_ALERTS], _names(made, "conflict"))
    witness.see("exit code of apply", 1, space.run("apply")[0])
    witness.see("partitions after it", 1, space.partitions(_ALERTS))
    code, _, _ = space.run("apply", "--allow-repartition", _ALERTS)
    witness.see("exit code of apply with leave", 0, code)
    witness.see("partitions after that", 3, space.partitions(_ALERTS))
    space.write(cascade_alerts={"partitions": 2})
    code, _, _ = space.run("apply", "--allow-repartition", _ALERTS)
    witness.see("exit code of apply with fewer", 1, code)
    witness.see("partitions after fewer", 3, space.partitions(_ALERTS))
    witness.give()


@pytest.mark.integration
def test_config_drift(space: Namespace, witness: Witness) -> None:
    """A setting changed by hand is reported and set back; one that the file has not is left."""
    space.run("apply")
    real = space.settings.topic(_ALERTS)
    before = config_of(space.settings, real)
    set_config(space.settings, real, {"retention.ms": "1000", "segment.ms": "123456"})
    code, made, _ = space.run("plan")
    witness.see("exit code of plan", 1, code)
    witness.see("drifted", [_ALERTS], _names(made, "drift"))
    planned = next(topic for topic in made["topics"] if topic["topic"] == _ALERTS)
    witness.see("to be set", {"retention.ms": before["retention.ms"]}, planned["settings"])
    witness.see("exit code of apply", 0, space.run("apply")[0])
    after = config_of(space.settings, real)
    changed = {key: after[key] for key in after if after[key] != before.get(key)}
    witness.see("differs from before", {"segment.ms": "123456"}, changed)
    witness.see("exit code of plan after", 0, space.run("plan")[0])
    witness.see("exit code of diff after", 1, space.run("diff")[0])
    witness.give()


@pytest.mark.integration
def test_unknown_key(space: Namespace, witness: Witness) -> None:
    """A key that nobody knows stops every verb with exit code 2, its line and name; no change."""
    space.write(cascade_alerts={"retentoin": 5})
    for verb in ("validate", "plan", "apply", "diff", "export"):
        code, _, said = space.run(verb)
        witness.see(f"exit code of {verb}", 2, code)
        named = "line " in said and "cascade.alerts.retentoin" in said
        witness.see(f"{verb} names line and key", True, named)
    witness.see("topics on the broker", 0, len(space.live()))
    witness.give()


@pytest.mark.integration
def test_interrupted_apply(spaces: Callable[[], Namespace], witness: Witness) -> None:
    """Killed half-way (kill -9) and given again, `apply` ends as one that was not disturbed."""
    whole = spaces()
    witness.see("exit code undisturbed", 0, whole.run("apply")[0])
    every = len(whole.content["topics"])
    for _ in range(_ATTEMPTS):  # on a busy machine the kill may come too late
        space = spaces()
        _kill_after_the_first(space)
        left = len(space.live())
        if left < every:
            break
    witness.see("left half-way", True, 0 < left < every)
    witness.seen["topics when killed"] = f"{left} of {every}"
    witness.see("exit code of plan then", 1, space.run("plan")[0])
    witness.see("exit code given again", 0, space.run("apply")[0])
    witness.see("exit code of plan after", 0, space.run("plan")[0])
    same = space.live() == whole.live()
    witness.see("topics, partitions and settings as undisturbed", True, same)
    witness.give()


def _kill_after_the_first(space: Namespace) -> None:
    process = space.start_apply()
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "created" in first, f"Expected a topic to be created, was {first!r}"
        process.kill()
    assert process.wait(_LIMIT_S) == -9


def _names(made: dict[str, list[dict[str, object]]], action: str) -> list[object]:
    return [topic["topic"] for topic in made["topics"] if topic["action"] == action]


def _with(made: dict[str, list[dict[str, object]]], action: str) -> int:
    return len(_names(made, action))


def _undone(topics: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**topic, "done": False} for topic in topics]
