"""Shows what security promises on a Kafka with TLS and ACLs: `scripts/test security [--json]`.

Exit code 0 where every promise was kept.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.security.attempts import Attempts, Finding
from tests.security.demo import SecuredDemo
from tests.security.ground import Ground
from tests.security.secured_broker import secured_broker

__all__ = ["main"]

_NAMESPACE = "secured"


@dataclass(frozen=True, slots=True)
class _Line:
    """One promise.

    Attributes:
        promise: What was promised.
        verdict: `pass` or `fail`.
        seen: What was seen.
        seconds: How long that took.
    """

    promise: str
    verdict: str
    seen: str
    seconds: float


def _judged(promise: str, look: Callable[[], Finding]) -> _Line:
    started_s = time.monotonic()
    try:
        kept, seen = look()
    except Exception as error:  # noqa: BLE001  # whatever broke off, the promise was not kept
        kept, seen = False, f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - started_s, 1)
    return _Line(promise, "pass" if kept else "fail", seen, seconds)


@contextmanager
def _ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="cascade-security-") as name:
        folder = Path(name)
        with secured_broker(folder / "kafka") as broker:
            yield Ground(broker, _NAMESPACE, folder / "ground")


def _lines(ground: Ground, seconds: float, rate: float) -> Iterator[_Line]:
    demo = SecuredDemo(ground, seconds, rate)
    attempts = Attempts(ground)
    yield _judged("demo on SASL_SSL with ACLs", demo.run)
    yield _judged("a forged halt during it", demo.forged_halt)
    yield _judged("secrets nowhere to be read", demo.secrets)
    yield _judged("a login for each worker", demo.logins)
    yield _judged("stolen login: execution", attempts.plans)
    yield _judged("stolen login: halt", attempts.halt)
    yield _judged("no key: halt", attempts.unsigned_halt)
    yield _judged("a worker without rights", attempts.worker)


def main(arguments: Sequence[str]) -> int:
    """Run all; return the exit code.

    Args:
        arguments: `--json`, `--seconds N` and `--rate R` of the demo.
    """
    parser = argparse.ArgumentParser(prog="scripts/test security")
    parser.add_argument("--json", action="store_true", help="verdicts alone on standard output")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the demo's counted data")
    parser.add_argument("--rate", type=float, default=100.0, help="its records a second")
    chosen = parser.parse_args(arguments)
    lines: list[_Line] = []
    with _ground() as ground:
        for line in _lines(ground, chosen.seconds, chosen.rate):
            lines.append(line)
            text = f"{line.promise:28}{line.verdict:6}{line.seconds:>7.1f} s  {line.seen}\n"
            out = sys.stderr if chosen.json else sys.stdout
            out.write(text)
            out.flush()
    passed = all(line.verdict == "pass" for line in lines)
    if chosen.json:
        content = {
            "verdict": "pass" if passed else "fail",
            "promises": [asdict(line) for line in lines],
        }
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        sys.stdout.write("pass\n" if passed else "fail\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
