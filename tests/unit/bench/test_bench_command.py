"""`cascade bench` before anything is started."""

import pytest
from click.testing import CliRunner

from pipeline.bench.contenders import CONTENDERS, contender
from pipeline.cli.bench import command
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    "name",
    ["forward", "sustained", "latency", "price", "takeover", "growth", "soak", "watch", "tune"],
)
def test_every_scenario_is_a_command(name: str) -> None:
    """Each has help of its own and the options that all share."""
    shown = CliRunner().invoke(command, [name, "--help"])
    assert 0 == shown.exit_code
    assert {"--quick", "--full", "--json", "--report"} <= set(shown.output.split())


def test_an_unknown_contender_is_named_before_anything_starts() -> None:
    """A wrong name is a usage error that lists the right ones."""
    with pytest.raises(UsageError, match="streams"):
        contender("fast")
    found = CliRunner().invoke(command, ["--only", "fast"])
    assert isinstance(found.exception, UsageError)


def test_log_lengths_must_be_numbers() -> None:
    """A wrong list is refused before a broker is started."""
    found = CliRunner().invoke(command, ["takeover", "--records", "1000,many"])
    assert 2 == found.exit_code


def test_contenders_have_the_name_that_they_are_listed_by() -> None:
    """Names in reports are those of the command line."""
    assert list(CONTENDERS) == [each.name for each in CONTENDERS.values()]
