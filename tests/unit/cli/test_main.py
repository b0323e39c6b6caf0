"""`cascade`: lazy commands, and errors in one sentence."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import LazyGroup, main
from pipeline.errors import BrokerUnavailable, ConfigurationError, PipelineError, UsageError


@click.command()
def failing() -> None:
    """Fail as a command would."""
    raise UsageError("Expected a cat, was a dog. Get a cat.")


def group() -> LazyGroup:
    """Return a group with one command that fails and one that cannot be imported."""
    made = LazyGroup(
        name="cascade",
        params=[click.Option(["--debug"], is_flag=True)],
        lazy={"missing": ("no.such.module:command", "Is missing."), "odd": ("os:path", "No.")},
    )
    made.add_command(failing)
    return made


def test_help_lists_every_noun_without_importing_any() -> None:
    """`cascade --help` answers from the table alone."""
    code = (
        "import sys; from pipeline.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('IMPORTED', 'pipeline.cli.broker' in sys.modules)"
    )

    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    for noun in ("broker", "config", "control", "demo", "dlq", "publish", "run", "topics"):
        assert f"  {noun} " in said
    assert "IMPORTED False" in said


def test_our_errors_are_one_sentence_and_exit_code_1() -> None:
    """A PipelineError is printed without traceback."""
    done = CliRunner().invoke(group(), ["failing"])

    assert (1, "cascade: Expected a cat, was a dog. Get a cat.\n") == (done.exit_code, done.output)


@pytest.mark.parametrize("kind", [BrokerUnavailable, ConfigurationError])
def test_what_cannot_be_told_is_exit_code_2(kind: type[PipelineError]) -> None:
    """No broker, or settings that cannot work, are no refusal."""
    made = group()

    @made.command()
    def unable() -> None:
        raise kind("Expected a broker, was none.")

    done = CliRunner().invoke(made, ["unable"])
    assert (2, "cascade: Expected a broker, was none.\n") == (done.exit_code, done.output)


def test_debug_keeps_the_traceback() -> None:
    """With --debug the error itself comes through."""
    with pytest.raises(UsageError):
        CliRunner().invoke(group(), ["--debug", "failing"], catch_exceptions=False)


def test_unknown_noun_is_a_usage_error() -> None:
    """A noun that does not exist gives exit code 2."""
    assert 2 == CliRunner().invoke(main, ["nonsense"]).exit_code


def test_broken_entry_is_no_command() -> None:
    """An entry of the table that is no click command is refused."""
    with pytest.raises(TypeError, match="os:path"):
        CliRunner().invoke(group(), ["odd"], catch_exceptions=False)
