"""Shows what `cascade topics` promises: `scripts/test topics [--only NAME] [--json]`.

Exit code 0 where every promise was kept; else pytest's own.
"""

import argparse
import sys
from pathlib import Path

import msgspec
import pytest

from tests.suites import add_only, last_words, run_suite
from tests.topics.verdict import PromiseReport

__all__ = ["Results", "main"]

_FOLDER = Path(__file__).parent


class Results:
    """A plugin that gathers the reports of the tests."""

    def __init__(self) -> None:
        self.reports: dict[str, PromiseReport] = {}
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's report, or why it has none."""
        name = report.nodeid.rpartition("::")[2].removeprefix("test_")
        for key, each in report.user_properties:
            if key == "promise":
                self.reports[name] = msgspec.convert(each, PromiseReport)
        if report.failed:
            self.failed.setdefault(name, last_words(report))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a line for each promise, and one for each figure."""
        terminalreporter.section("topics as code")
        for each in self.reports.values():
            terminalreporter.write_line(
                f"{each.promise:26}{self.verdict(each.promise):6}{each.says}"
            )
            for what, was in each.seen.items():
                terminalreporter.write_line(f"{'':32}{what}: {was}")
            for text in each.broken:
                terminalreporter.write_line(f"{'':32}BROKEN {text}")
        for name in self.failed.keys() - self.reports.keys():
            terminalreporter.write_line(f"{name:26}{'fail':6}{self.failed[name]}")

    def verdict(self, name: str) -> str:
        """Return `pass` or `fail`."""
        return "fail" if name in self.failed or not self.reports[name].passed else "pass"

    def as_json(self) -> str:
        """Return all reports and the verdict."""
        passed = bool(self.reports) and not self.failed
        content = {
            "verdict": "pass" if passed else "fail",
            "promises": [
                {**msgspec.structs.asdict(each), "verdict": self.verdict(name)}
                for name, each in self.reports.items()
            ],
            "failed": self.failed,
        }
        return msgspec.json.format(msgspec.json.encode(content)).decode()


def main(arguments: list[str]) -> int:
    """Run the suite; return the exit code.

    Args:
        arguments: `--only NAME` (part of a promise's name, may be repeated), `--json`, and options
            of pytest.
    """
    parser = argparse.ArgumentParser(prog="scripts/test topics")
    add_only(parser, "promises")
    parser.add_argument("--json", action="store_true", help="verdicts alone on standard output")
    chosen, rest = parser.parse_known_args(arguments)
    return run_suite(_FOLDER, rest, Results(), as_json=chosen.json, only=chosen.only)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
