"""Kills a stage and says how soon people are told: `scripts/test alerts [--json]`.

Exit code 0 where each alert was delivered within 5 s of its threshold and resolved within 5 s of
the restarted stage's first heartbeat, while another channel was out of reach; else pytest's own.
"""

import argparse
import os
import sys
from pathlib import Path

import msgspec
import pytest

from tests.alerts.verdict import LIMIT_S, DeliveryReport
from tests.suites import last_words, run_suite

__all__ = ["Results", "main"]

_FOLDER = Path(__file__).parent


class Results:
    """A plugin that gathers the reports of the tests."""

    def __init__(self) -> None:
        self.reports: list[DeliveryReport] = []
        self.failures: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's report, or why it has none."""
        if report.failed:
            self.failures.setdefault(report.nodeid, last_words(report))
        if report.when == "call":
            self.reports += [
                each for _, each in report.user_properties if isinstance(each, DeliveryReport)
            ]

    @property
    def verdict(self) -> str:
        """`pass` or `fail`."""
        passed = self.reports and not self.failures and all(each.passed for each in self.reports)
        return "pass" if passed else "fail"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a line for each kill, and the verdict."""
        write = terminalreporter.write_line
        terminalreporter.section("alerts")
        write(f"{os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f} over five minutes")
        write(f"{'killed':16}{'level':10}{'threshold to delivery':>22}{'restart to end':>16}")
        for each in self.reports:
            times = f"{each.delivered_s:>20.2f} s{each.resolved_s:>14.2f} s"
            write(f"{each.killed:16}{each.level:10}{times}")
        for name, why in self.failures.items():
            write(f"{name}: {why}")
        write(f"{self.verdict}: at most {LIMIT_S:g} s each")

    def as_json(self) -> str:
        """Return all reports and the verdict."""
        content = {
            "verdict": self.verdict,
            "limit_s": LIMIT_S,
            "slowest_delivery_s": max((each.delivered_s for each in self.reports), default=None),
            "slowest_end_s": max((each.resolved_s for each in self.reports), default=None),
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[1], 1),
            "kills": [msgspec.structs.asdict(each) for each in self.reports],
            "failures": self.failures,
        }
        return msgspec.json.format(msgspec.json.encode(content)).decode()


def main(arguments: list[str]) -> int:
    """Run the suite; return the exit code.

    Args:
        arguments: `--json`, and options of pytest.
    """
    parser = argparse.ArgumentParser(prog="scripts/test alerts")
    parser.add_argument("--json", action="store_true", help="figures alone on standard output")
    chosen, rest = parser.parse_known_args(arguments)
    results = Results()
    code = run_suite(_FOLDER, rest, results, as_json=chosen.json)
    return code or int(results.verdict != "pass")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
