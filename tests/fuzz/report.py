"""Fuzzes what comes from outside: `scripts/test fuzz [--count N] [--seed S] [--json]`.

By a seed, so that a finding can be had again. Packets and control commands get `--count` inputs
each, what is slower to try fewer. Exit code 0 where nothing crashed, hung, or was accepted that an
oracle of its own, which shares no code with the product's codecs, calls invalid.
"""

import argparse
import faulthandler
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from tests.fuzz.inputs import Inputs
from tests.fuzz.targets import TARGETS, Broken

__all__ = ["Result", "fuzz", "main"]

_COUNT = 100_000
# Processor time, since a busy machine proves nothing; what never returns ends the process.
_HANG_S = 5.0
_GONE_S = 120.0
_LISTED = 5
_CUT = 600


@dataclass(slots=True)
class Result:
    """What came of one target.

    Attributes:
        target: Its name.
        inputs: How many were tried.
        seen: How many came to which end.
        faults: How many showed a fault.
        first: What the first of them were.
        seconds: How long it took.
    """

    target: str
    inputs: int
    seen: dict[str, int] = field(default_factory=dict)
    faults: int = 0
    first: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """`pass` or `fail`; where nothing was accepted, nothing was tried either."""
        tried = self.inputs > 0 and len(self.seen) > 1
        return "pass" if tried and not self.faults else "fail"


def fuzz(name: str, count: int, seed: int) -> Result:
    """Try `count` inputs on a target.

    Args:
        name: The target.
        count: How many inputs.
        seed: Which ones.
    """
    target = TARGETS[name][0](Inputs(seed))
    result = Result(name, count)
    started_s = time.monotonic()
    for number in range(count):
        faulthandler.dump_traceback_later(_GONE_S, exit=True)
        spent_s = time.process_time()
        try:
            target.one()
        except Broken as error:
            _note(result, number, str(error))
        except Exception as error:  # noqa: BLE001  # any is a finding
            _note(result, number, f"{type(error).__name__}: {error}")
        if (spent_s := time.process_time() - spent_s) > _HANG_S:
            _note(result, number, f"took {spent_s:.1f} s of the processor")
    faulthandler.cancel_dump_traceback_later()
    target.close()
    result.seconds = round(time.monotonic() - started_s, 1)
    result.seen = dict(target.seen)
    return result


def _note(result: Result, number: int, said: str) -> None:
    result.faults += 1
    if len(result.first) < _LISTED:
        result.first.append(f"input {number}: {said[:_CUT]}")


def main(arguments: Sequence[str]) -> int:
    """Fuzz; return the exit code.

    Args:
        arguments: `--count N`, `--seed S`, `--only NAME` (may be repeated) and `--json`.
    """
    parser = argparse.ArgumentParser(prog="scripts/test fuzz")
    parser.add_argument("--count", type=int, default=_COUNT, help="packets, and commands")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], choices=list(TARGETS))
    parser.add_argument("--json", action="store_true", help="verdicts alone on standard output")
    chosen = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # what is refused is logged, one line each
    results: list[Result] = []
    for name in chosen.only or TARGETS:
        result = fuzz(name, max(1, chosen.count // TARGETS[name][1]), chosen.seed)
        results.append(result)
        ends = ", ".join(f"{count} {end}" for end, count in sorted(result.seen.items()))
        text = f"{name:12}{result.verdict:6}{result.inputs:>8} inputs{result.seconds:>8.1f} s"
        out = sys.stderr if chosen.json else sys.stdout
        out.write("\n".join([f"{text}  {result.faults} faults; {ends}", *result.first]) + "\n")
        out.flush()
    passed = all(each.verdict == "pass" for each in results)
    if chosen.json:
        content = {
            "verdict": "pass" if passed else "fail",
            "seed": chosen.seed,
            "targets": [{**asdict(each), "verdict": each.verdict} for each in results],
        }
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        sys.stdout.write("pass\n" if passed else "fail\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
