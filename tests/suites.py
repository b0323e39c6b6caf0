"""Runs a suite whose tests give reports, for `scripts/test NAME`."""

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from pipeline.bench.lab import Check
from pipeline.bench.output import checks_text

__all__ = ["Suite", "add_only", "last_words", "run_suite", "tell_checks", "tell_notice"]


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


def tell_notice(text: str) -> None:
    """Tell people what is done, aside from figures."""
    sys.stderr.write(f"{text}\n")


def tell_checks(
    found: Mapping[str, Any], judged: Sequence[Check], lines: Sequence[str], *, as_json: bool
) -> int:
    """Print what was found and how it is judged; return the exit code: 1 if a check failed.

    Args:
        found: Figures, for JSON.
        judged: What is asked, and whether it was so.
        lines: What was found, for people.
        as_json: Print JSON, alone on standard output.
    """
    passed = all(each.passed for each in judged)
    verdict = "pass" if passed else "fail"
    if as_json:
        content = {"verdict": verdict, "checks": [asdict(each) for each in judged], **found}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(content)).decode() + "\n")
    else:
        sys.stdout.write("\n".join([*lines, checks_text(judged), f"verdict: {verdict}"]) + "\n")
    return 0 if passed else 1


def last_words(report: pytest.TestReport) -> str:
    """Return the last line of why a test failed."""
    said = report.longreprtext.strip().splitlines()
    return said[-1] if said else "failed"
