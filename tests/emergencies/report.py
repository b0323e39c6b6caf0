"""Runs the emergency suite and reports: `scripts/test emergencies [--only NAME] [--json]`.

Exit code 0 where each emergency was detected, contained, and recovered in time or handed over to
people where only they can help; else pytest's own.
"""

import argparse
import os
import sys
from pathlib import Path

import msgspec
import pytest

from tests.emergencies.verdict import EmergencyReport
from tests.suites import add_only, last_words, run_suite

__all__ = ["Results", "main"]

_FOLDER = Path(__file__).parent


class Results:
    """A plugin that gathers the reports of the tests."""

    def __init__(self) -> None:
        self.reports: dict[str, EmergencyReport] = {}
        self.failures: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's report, or why it has none."""
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").upper()
        if report.failed:
            self.failures.setdefault(name, last_words(report))
        for key, each in report.user_properties:
            if key == "emergency" and isinstance(each, EmergencyReport):
                self.reports[each.emergency] = each

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a line for each emergency."""
        terminalreporter.section("emergencies")
        terminalreporter.write_line(
            f"{os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f} over five minutes;"
            " seconds since the fault"
        )
        terminalreporter.write_line(
            f"{'emergency':25}{'verdict':9}{'detected':>9}{'contained':>10}{'end':>8}  end, fault"
        )
        for each in self.reports.values():
            contained = "-" if each.contained_s is None else f"{each.contained_s:.1f}"
            terminalreporter.write_line(
                f"{each.emergency:25}{self.verdict(each.emergency):9}{each.detected_s:>9.1f}"
                f"{contained:>10}{each.ended_s:>8.1f}  {each.end}, {each.fault}"
            )
        for name in self.failures.keys() - self.reports.keys():
            terminalreporter.write_line(f"{name:25}{'fail':9}  {self.failures[name]}")

    def verdict(self, name: str) -> str:
        """Return `pass` or `fail`."""
        known = self.reports.get(name)
        return "pass" if known and known.passed and name not in self.failures else "fail"

    def as_json(self) -> str:
        """Return all reports and verdicts."""
        names = [*self.reports, *(self.failures.keys() - self.reports.keys())]
        verdicts = {name: self.verdict(name) for name in names}
        recovered = [each for each in self.reports.values() if each.end == "RECOVERED"]
        content = {
            "verdict": "pass" if verdicts and set(verdicts.values()) == {"pass"} else "fail",
            "slowest_recovery_s": max((each.ended_s for each in recovered), default=None),
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[1], 1),
            "emergencies": [
                {**msgspec.structs.asdict(each), "verdict": verdicts[each.emergency]}
                for each in self.reports.values()
            ],
            "failures": self.failures,
        }
        return msgspec.json.format(msgspec.json.encode(content)).decode()


def main(arguments: list[str]) -> int:
    """Run the suite; return the exit code.

    Args:
        arguments: `--only NAME` (part of an emergency's type, may be repeated), `--json`, and
            options of pytest.
    """
    parser = argparse.ArgumentParser(prog="scripts/test emergencies")
    add_only(parser, "types")
    parser.add_argument("--json", action="store_true", help="figures alone on standard output")
    chosen, rest = parser.parse_known_args(arguments)
    return run_suite(
        _FOLDER, rest, Results(), as_json=chosen.json, only=[each.lower() for each in chosen.only]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
