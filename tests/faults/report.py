"""Runs the fault suite and reports on each fault: `scripts/test faults [--only NAME] [--json]`.

Exit code 0 where every fault left nothing lost, nothing doubled and nothing else that the oracle
objects to, and recovery was within its limit; else pytest's own.
"""

import argparse
import os
import sys
from pathlib import Path

import msgspec
import pytest

from tests.faults.verdict import FaultReport
from tests.suites import add_only, run_suite

__all__ = ["Results", "main"]

_FOLDER = Path(__file__).parent
_FIRST_LINES = 3


class Results:
    """A plugin that gathers the reports of the tests."""

    def __init__(self) -> None:
        self.reports: list[FaultReport] = []
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's report, or why it has none."""
        if report.when != "call" and not report.failed:
            return
        given = [each for name, each in report.user_properties if name == "fault"]
        found = given[0] if given else _without(report)
        assert isinstance(found, FaultReport), "Expected the property `fault` to be a report"
        if report.failed:
            self.failed.add(found.fault)
        if found.fault not in {each.fault for each in self.reports}:
            self.reports.append(found)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a line for each fault."""
        if not self.reports:
            return
        terminalreporter.section("faults")
        # A worker that starts again among fifteen others takes its time: say so beside the times.
        terminalreporter.write_line(
            f"{os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f} over five minutes"
        )
        terminalreporter.write_line(
            f"{'fault':32} {'verdict':8}{'recovery':>10}{'limit':>8}{'lost':>6}{'doubled':>9}  note"
        )
        for each in self.reports:
            recovery = "-" if each.recovery_s is None else f"{each.recovery_s:.1f} s"
            limit = "-" if each.recovery_s is None else f"{each.limit_s:.0f} s"
            terminalreporter.write_line(
                f"{each.fault:32} {self.verdict(each):8}{recovery:>10}{limit:>8}"
                f"{each.lost:>6}{each.doubled:>9}  {each.note}"
            )

    def verdict(self, each: FaultReport) -> str:
        """Return `pass` or `fail`."""
        return "fail" if each.fault in self.failed or not each.passed else "pass"

    def as_json(self) -> str:
        """Return all reports, the verdicts and the sums."""
        times = [each.recovery_s for each in self.reports if each.recovery_s is not None]
        verdicts = [self.verdict(each) for each in self.reports]
        content = {
            "verdict": "pass" if verdicts and set(verdicts) == {"pass"} else "fail",
            "lost": sum(each.lost for each in self.reports),
            "doubled": sum(each.doubled for each in self.reports),
            "slowest_recovery_s": max(times, default=None),
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[1], 1),
            "faults": [
                {**msgspec.structs.asdict(each), "verdict": verdict}
                for each, verdict in zip(self.reports, verdicts, strict=True)
            ],
        }
        return msgspec.json.format(msgspec.json.encode(content)).decode()


def _without(report: pytest.TestReport) -> FaultReport:
    """Return the report of a test that gave none: it is no fault of its own, or it broke off."""
    name = report.nodeid.rpartition("::")[2].removeprefix("test_")
    said = report.longreprtext.strip().splitlines() if report.failed else []
    return FaultReport(name, None, 0.0, 0, 0, [line[:300] for line in said[-_FIRST_LINES:]])


def main(arguments: list[str]) -> int:
    """Run the suite; return the exit code.

    Args:
        arguments: `--only NAME` (part of a fault's name, may be repeated), `--json`, and options
            of pytest.
    """
    parser = argparse.ArgumentParser(prog="scripts/test faults")
    add_only(parser, "faults")
    parser.add_argument("--json", action="store_true", help="figures alone on standard output")
    chosen, rest = parser.parse_known_args(arguments)
    return run_suite(_FOLDER, rest, Results(), as_json=chosen.json, only=chosen.only)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
