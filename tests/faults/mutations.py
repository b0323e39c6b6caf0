"""Takes the guards out of a copy of the package, one by one: the test that needs it must fail.

`scripts/test mutations [NAME...]`. First the same tests run on the copy as it is, and must pass.
A mutation whose text is not found any more is an error: the guard moved, and the mutation must
follow. Exit code 0 where every mutation was caught.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Edit", "Mutation", "main"]

_ROOT = Path(__file__).parents[2]
_COPIED = ("pipeline", "schemas", "docker", "tests", "topics.yaml", "pyproject.toml")
_LIMIT_S = 900


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in a file of the package.

    Attributes:
        file: The file, below the root.
        old: What stands there, exactly once.
        new: What stands there instead.
    """

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """A guard taken out.

    Attributes:
        name: Its name.
        edits: How it is taken out.
        tests: Arguments of the smallest fitting test run.
        says: What the failing test says, a regular expression: it fails for this and nothing else.
    """

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    says: str


def _fault(name: str) -> tuple[str, ...]:
    return ("-m", "tests.faults.report", "--only", name)


def _unit(path: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-q", f"tests/unit/{path}")


_TAKE_OVER = """\
        for partition, token in tokens.items():  # Step 2
            self._write_marker(partition, token, producer)
"""
_TAKE_OVER_UNMARKED = """\
        ends = {
            each: watermarks(self._consumer, self._topic, each, _BROKER_TIMEOUT_S)[1]
            for each in tokens
        }
        for partition, token in tokens.items():
            if ends[partition] == 0:
                self._write_marker(partition, token, producer)
"""
_READ_ON = """\
                self._recover(message)
        if self._partitions"""
_READ_TO_THE_END = """\
                self._recover(message)
            for each, at in found.items():
                (where,) = self._consumer.position([TopicPartition(self._topic, each)])
                if ends[each] and max(at.start, where.offset) >= ends[each]:
                    at.epoch = at.reader.epoch
        if self._partitions"""

MUTATIONS = (
    Mutation(
        "epoch-check",
        (
            Edit(
                "pipeline/transport/log.py",
                "if epoch < self.epoch or sequence != self.sequence + 1:",
                "if sequence != self.sequence + 1:",
            ),
        ),
        _fault("zombie-risk"),
        r"fencing: .* which does not count|no record",
    ),
    Mutation(
        "marker",
        (
            Edit("pipeline/transport/tail.py", _TAKE_OVER, _TAKE_OVER_UNMARKED),
            Edit("pipeline/transport/tail.py", _READ_ON, _READ_TO_THE_END),
        ),
        _fault("zombie-risk"),
        r"Expected the zombie's records within|foreign: .* who opened epoch",
    ),
    Mutation(
        "veto-risk",
        (
            Edit(
                "pipeline/stages/risk_logic.py",
                "if reasons or account is None or seen is None or intent is None:",
                "if account is None or seen is None or intent is None:",
            ),
        ),
        _unit("stages/test_risk_logic.py"),
        r"\d+ failed",
    ),
    Mutation(
        "veto-execution",
        (
            Edit(
                "pipeline/stages/execution_logic.py",
                "approved=risk is not None and risk.verdict in _PASSING,",
                "approved=True,",
            ),
            Edit(
                "pipeline/stages/execution_logic.py",
                "        and item.packet.risk.verdict in _PASSING\n",
                "",
            ),
        ),
        _unit("stages/test_execution_logic.py"),
        r"\d+ failed",
    ),
    Mutation(
        "veto-gateway",
        (
            Edit(
                "pipeline/gateway/orders.py",
                "if plan.risk is None or plan.risk.verdict not in _APPROVED:",
                "if plan.risk is None:",
            ),
        ),
        _unit("gateway/test_orders.py"),
        r"\d+ failed",
    ),
    Mutation(
        "deadline",
        (
            Edit(
                "pipeline/gateway/orders.py",
                "    if conditions.now > plan.envelope.deadline:\n",
                "    if conditions.now < 0:\n",
            ),
        ),
        _fault("late-plans-gateway"),
        r"deadline: order \S+ (announced|taken) .* after its deadline",
    ),
    Mutation(
        "reconciliation",
        (
            Edit(
                "pipeline/gateway/orders.py",
                "return None if conditions.sandbox else Reconcile(order)",
                "return Finish(order, Result(OrderEventKind.CANCELLED))",
            ),
        ),
        _fault("kill-gateway-result"),
        r"reconciled: order \S+ .* filled at the venue",
    ),
)


def main(names: Sequence[str]) -> int:
    """Run the mutations named, or all; return the exit code."""
    chosen = [each for each in MUTATIONS if each.name in names or not names]
    if unknown := set(names) - {each.name for each in MUTATIONS}:
        known = ", ".join(each.name for each in MUTATIONS)
        _say(f"Expected mutations of {known}, was {', '.join(sorted(unknown))}.")
        return 2
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        whole = _copy(Path(folder) / "whole")
        for tests in sorted({each.tests for each in chosen}):
            code, output = _run(whole, tests)
            if code != 0:
                _say(f"{' '.join(tests)}: fails without any mutation\n{output[-4000:]}")
                return 1
            _say(f"{'(none)':16} passes {' '.join(tests)}")
        return max(_try(each, Path(folder) / each.name) for each in chosen)


def _try(mutation: Mutation, folder: Path) -> int:
    """Run a mutation's test on a copy with its edits; return 0 where it was caught."""
    copy = _copy(folder)
    for edit in mutation.edits:
        file = copy / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            _say(
                f"{mutation.name:16} Expected {edit.old.strip()!r} once in {edit.file}, was"
                f" {text.count(edit.old)} times: the guard moved, let the mutation follow."
            )
            return 1
        file.write_text(text.replace(edit.old, edit.new))
    code, output = _run(copy, mutation.tests)
    said = re.search(mutation.says, output)
    if code == 0 or said is None:
        how = (
            "passes" if code == 0 else f"fails, but never says {mutation.says!r}:\n{output[-6000:]}"
        )
        _say(f"{mutation.name:16} SURVIVES: {' '.join(mutation.tests)} {how}")
        return 1
    _say(f"{mutation.name:16} caught: {said[0]}")
    shutil.rmtree(copy)
    return 0


def _copy(folder: Path) -> Path:
    folder.mkdir()
    for name in _COPIED:
        source = _ROOT / name
        if source.is_dir():
            leave = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(source, folder / name, symlinks=True, ignore=leave)
        else:
            shutil.copy2(source, folder / name)
    return folder


def _run(copy: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Run tests in a copy; return the exit code and all that was printed."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    probe = [sys.executable, "-c", "import pipeline; print(pipeline.__file__)"]
    found = subprocess.run(
        probe, cwd=copy, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    if Path(found).parents[1] != copy:
        raise RuntimeError(f"Expected the package in {copy}, was {found}")
    ran = subprocess.run(
        [sys.executable, *tests],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    return ran.returncode, ran.stdout


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
