"""Plants faults between stages and auditor: `scripts/test audit-faults [--seconds S] [--json]`.

Exit code 0 where the auditor named each fault that was planted, and nothing else.
"""

import argparse
import os
import sys
from pathlib import Path

import msgspec
import pytest

from tests.audit_faults.rig import AuditFaults
from tests.suites import last_words, run_suite

__all__ = ["Results", "main"]

_FOLDER = Path(__file__).parent


class Results:
    """A plugin that takes the report of the test."""

    def __init__(self) -> None:
        self.report: AuditFaults | None = None
        self.failure = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the report, or why there is none."""
        for key, value in report.user_properties:
            if key == "audit_faults" and isinstance(value, AuditFaults):
                self.report = value
        if report.failed and not self.failure:
            self.failure = last_words(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print a line for each kind."""
        terminalreporter.section("audit faults")
        if self.report is None:
            terminalreporter.write_line(f"no result: {self.failure}")
            return
        for line in _lines(self.report):
            terminalreporter.write_line(line)

    def as_json(self) -> str:
        """Return figures and verdict."""
        content = {
            "verdict": "pass" if self.report is not None and self.report.passed else "fail",
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[1], 1),
            **({} if self.report is None else msgspec.structs.asdict(self.report)),
            "failure": self.failure if self.report is None else "",
        }
        return msgspec.json.format(msgspec.json.encode(content)).decode()


def _lines(report: AuditFaults) -> list[str]:
    seen = (
        f"{report.records} log records copied, {sum(report.planted.values())} of them spoilt;"
        f" {report.audited} records chained, audit log {report.audit_log}"
    )
    return [
        seen,
        f"{'fault':12}{'planted':>9}{'named':>7}",
        *(f"{kind:12}{count:>9}{report.named[kind]:>7}" for kind, count in report.planted.items()),
        f"{'others':12}{'':>9}{len(report.others):>7}",
        *(f"missed: {each}" for each in report.missed),
        *(f"not planted: {each}" for each in report.others),
        f"verdict: {'pass' if report.passed else 'FAIL'}",
    ]


def main(arguments: list[str]) -> int:
    """Run it; return the exit code.

    Args:
        arguments: `--seconds`, `--rate`, `--seed`, `--json`, and options of pytest.
    """
    parser = argparse.ArgumentParser(prog="scripts/test audit-faults")
    parser.add_argument("--seconds", default="60", help="for how long faults are planted")
    parser.add_argument("--rate", default="50", help="packets per second")
    parser.add_argument("--seed", default="1", help="of the faults")
    parser.add_argument("--json", action="store_true", help="figures alone on standard output")
    chosen, rest = parser.parse_known_args(arguments)
    for name in ("seconds", "rate", "seed"):
        os.environ[f"AUDIT_FAULTS_{name.upper()}"] = getattr(chosen, name)
    return run_suite(_FOLDER, rest, Results(), as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
