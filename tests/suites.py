"""Runs a suite whose tests give reports, for `scripts/test NAME`."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytest

__all__ = ["Suite", "add_only", "last_words", "run_suite"]


class Suite(Protocol):
    """A plugin of pytest that gathers the reports."""

    def as_json(self) -> str:
        """Return all reports and the verdict."""
        ...


def add_only(parser: argparse.ArgumentParser, what: str) -> None:
    """Let a suite be run in part: `--only NAME`, which may be repeated.

    Args:
        parser: The parser.
        what: What the tests are of, in the plural.
    """
    parser.add_argument("--only", action="append", default=[], help=f"{what} with this in the name")


def run_suite(
    what: Path, options: Sequence[str], results: Suite, *, as_json: bool, only: Sequence[str] = ()
) -> int:
    """Run tests, and print what they reported; return the exit code of pytest.

    Args:
        what: Folder or file of the tests.
        options: Options of pytest.
        results: Gathers the reports, and prints them at the end.
        as_json: Print the reports as JSON, alone on standard output.
        only: Parts of names; tests without any of them are left out.
    """
    chosen = ["-k", " or ".join(only)] if only else []
    aside = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with aside:
        code = int(pytest.main([str(what), *options, *chosen], plugins=[results]))
    if as_json:
        sys.stdout.write(results.as_json() + "\n")
    return code


def last_words(report: pytest.TestReport) -> str:
    """Return the last line of why a test failed."""
    said = report.longreprtext.strip().splitlines()
    return said[-1] if said else "failed"
