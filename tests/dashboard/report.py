"""Tries the dashboard in a browser: `scripts/test dashboard [--only NAME] [--json]`.

Exit code 0 where every check passed; else pytest's own. With `--screenshots` it makes the pictures
of the README instead, from the same cascade.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import pytest

from tests.dashboard.chromium import find_chromium
from tests.suites import add_only, last_words, run_suite

__all__ = ["Results", "main"]

_FOLDER = Path(__file__).parent


class Results:
    """A plugin that gathers what became of each check."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how long a check took, or why it failed."""
        name = report.nodeid.rpartition("::")[2].removeprefix("test_")
        if report.when == "call":
            self.seconds[name] = round(report.duration, 1)
        if report.failed:
            self.failed.setdefault(name, last_words(report))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a line for each check."""
        terminalreporter.section("dashboard")
        terminalreporter.write_line(
            f"{os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f} over five minutes;"
            " seconds in the browser"
        )
        for name in self.names:
            took = f"{self.seconds[name]:>7.1f}" if name in self.seconds else f"{'-':>7}"
            why = self.failed.get(name, "")
            terminalreporter.write_line(f"{name:34}{self.verdict(name):6}{took}  {why}")

    @property
    def names(self) -> list[str]:
        """All checks, in the order in which they ran."""
        return list(dict.fromkeys([*self.seconds, *self.failed]))

    def verdict(self, name: str) -> str:
        """Return `pass` or `fail`."""
        return "fail" if name in self.failed else "pass"

    def as_json(self) -> str:
        """Return all checks and the verdict."""
        content = {
            "verdict": "pass" if self.seconds and not self.failed else "fail",
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[1], 1),
            "checks": [
                {"check": name, "verdict": self.verdict(name), "seconds": self.seconds.get(name)}
                for name in self.names
            ],
            "failures": self.failed,
        }
        return json.dumps(content, indent=2)


def main(arguments: list[str]) -> int:
    """Run the checks; return the exit code.

    Args:
        arguments: `--only NAME` (part of a check's name, may be repeated), `--json`,
            `--screenshots`, and options of pytest.
    """
    parser = argparse.ArgumentParser(prog="scripts/test dashboard")
    add_only(parser, "checks")
    parser.add_argument("--json", action="store_true", help="figures alone on standard output")
    parser.add_argument("--screenshots", action="store_true", help="make the README's pictures")
    chosen, rest = parser.parse_known_args(arguments)
    if find_chromium() is None:
        sys.stderr.write("Expected chromium on this machine, was none: apt-get install chromium\n")
        return 2
    what = _FOLDER / "screenshots.py" if chosen.screenshots else _FOLDER
    return run_suite(what, rest, Results(), as_json=chosen.json, only=chosen.only)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
