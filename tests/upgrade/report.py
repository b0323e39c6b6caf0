"""A rolling upgrade under load: `scripts/test upgrade [--rate N] [--count N] [--json]`.

Workers of this checkout are replaced one by one by those of a copy that has a schema field more,
while market data comes in. Exit code 0 where nothing was lost, nothing doubled, nothing else that
the oracle objects to, and both schemas stand in the logs; else 1.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from pipeline import broker
from pipeline.bench.lab import Check, at_least, at_most
from pipeline.settings import load_settings
from tests.suites import tell_checks, tell_notice
from tests.upgrade.trees import next_tree, this_tree

__all__ = ["checks", "main", "upgraded"]

RATE = 300.0
_LEAST_SHARE = 0.95
_LIMIT_S = 900.0
_STAGES = 5


def upgraded(folder: Path, address: str, rate: float, count: int) -> dict[str, Any]:
    """Run a rolling upgrade; return what came of it.

    Args:
        folder: Where the next tree and the workers' state go.
        address: The broker.
        rate: Packets a second.
        count: How many stages' workers are replaced, consumers first.

    Raises:
        AssertionError: If it did not come to its end.
    """
    tree = next_tree(folder / "next")
    command = [
        sys.executable, "-m", "tests.upgrade.rolling", "--broker", address,
        "--home", str(folder / "home"), "--old", str(this_tree()), "--rate", str(rate),
        "--count", str(count),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    assert done.returncode == 0, f"Expected the upgrade to come to its end:\n{done.stderr[-4000:]}"
    found: dict[str, Any] = msgspec.json.decode(done.stdout.splitlines()[-1])
    return found


def checks(found: dict[str, Any]) -> list[Check]:
    """Return what is asked of a rolling upgrade, and whether it was so."""
    replaced = {each["stage"] for each in found["replaced"]} - {"gateway"}
    new = [found["written"][stage]["new"] for stage in sorted(replaced)]
    old = [found["written"][stage]["old"] for stage in sorted(replaced)]
    wanted = _LEAST_SHARE * found["offered_per_s"]
    return [
        at_most("packets lost", found["lost"], 0),
        at_most("packets or orders doubled", found["doubled"], 0),
        at_most("all that the oracle objects to", len(found["violations"]), 0),
        at_least("packets a second meanwhile", found["packets_per_s"], wanted),
        at_least("records without the added field, fewest of a stage", min(old, default=None), 1),
        at_least("records with the added field, fewest of a stage", min(new, default=None), 1),
    ]


def main(arguments: list[str]) -> int:
    """Run it on a broker of its own; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/test upgrade")
    parser.add_argument("--rate", type=float, default=RATE, help="packets a second (300)")
    parser.add_argument("--count", type=int, default=_STAGES, help="stages to replace (all)")
    parser.add_argument("--json", action="store_true", help="figures alone on standard output")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cascade-upgrade-") as name:
        folder = Path(name)
        settings = load_settings(broker=None, home=folder / "broker")
        try:
            own = broker.up(settings, notice=tell_notice)
            found = upgraded(folder, own.bootstrap, chosen.rate, chosen.count)
        finally:
            broker.down(settings)
    lines = [
        f"{each['stage']:10} {each['way']:8} longest gap {each['gap_s']:.2f} s"
        for each in found["replaced"]
    ]
    lines += found["violations"]
    return tell_checks(found, checks(found), lines, as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
