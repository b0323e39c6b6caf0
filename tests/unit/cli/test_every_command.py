"""What holds for every command of `cascade`, walked from the top."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.cli.examples import EXAMPLES
from tests.unit.cli.parsing import parse


def _walk(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command that does something, with how it is called."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _walk(inner, f"{path} {name}".strip())
    if path and (not isinstance(command, click.Group) or command.invoke_without_command):
        yield path, command


COMMANDS = dict(_walk(main))


def test_there_are_commands_to_walk() -> None:
    """The walk finds the nouns and their verbs, or the tests below would pass for nothing."""
    assert len(COMMANDS) > 50
    assert {"topics plan", "control breaker open", "doctor", "completion"} <= COMMANDS.keys()


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_prints_json_on_demand(path: str) -> None:
    """--json is an option of each command, whoever reads it."""
    options = {name for each in COMMANDS[path].params for name in each.opts}
    assert "--json" in options


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(path: str) -> None:
    """Help says in a sentence what it does, and ends with an example of this very command."""
    said = CliRunner().invoke(main, [*path.split(), "--help"], terminal_width=200).output
    assert re.search(r"^  [A-Z].*[.:]$", said, re.MULTILINE), said
    examples = said.partition("Examples:\n")[2]
    assert re.search(rf"^ +cascade (--set \S+ )?{path}\b", examples, re.MULTILINE), said


@pytest.mark.parametrize(
    "example", [example for examples in EXAMPLES.values() for example in examples]
)
def test_every_example_is_understood(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands and options of the examples exist, with values of the right type."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(re.split(r" [<>] ", example)[0])
    for name in (word for word in words if word.endswith((".json", ".yaml"))):
        (tmp_path / name).touch()  # some options want files that are there
    parse(main, words)


def test_no_example_is_of_a_command_that_is_gone() -> None:
    """The table names commands that there are."""
    assert set() == EXAMPLES.keys() - COMMANDS.keys()


def test_the_top_says_what_exit_codes_mean() -> None:
    """0, 1 and 2 are explained where everybody looks first."""
    said = CliRunner().invoke(main, ["--help"]).output
    for code in ("0  done", "1  the answer is no", "2  it cannot be told"):
        assert code in said
    assert "NO_COLOR" in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: str) -> None:
    """The script asks `cascade` for completions; as JSON it is the same."""
    script = CliRunner().invoke(main, ["completion", shell])
    assert (0, True) == (script.exit_code, "_CASCADE_COMPLETE" in script.output)
    found = json.loads(CliRunner().invoke(main, ["completion", shell, "--json"]).output)
    assert {"shell": shell, "script": script.output.rstrip("\n")} == {
        **found, "script": found["script"].rstrip("\n"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"), [("cascade top", "topics"), ("cascade topics pl", "plan")]
)
def test_commands_complete(words: str, expected: str) -> None:
    """What a shell would ask is answered, nouns and verbs, imported or not."""
    env = {
        "_CASCADE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main(prog_name='cascade')"],
        env=env, capture_output=True, text=True, timeout=120, check=False,
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert f"plain,{expected}" in done.stdout.splitlines()


def test_no_color_is_respected(tmp_path: Path) -> None:
    """With NO_COLOR set nothing is coloured, not even on a terminal that would show it."""
    env = {"CASCADE_BROKER": "127.0.0.1:1", "CASCADE_HOME": str(tmp_path)}
    plain = CliRunner().invoke(main, ["doctor"], color=True, env={**env, "NO_COLOR": "1"})
    coloured = CliRunner().invoke(main, ["doctor"], color=True, env=env)
    assert "\x1b[" not in plain.output
    assert "\x1b[" in coloured.output
    assert click.unstyle(coloured.output).splitlines()[0] == plain.output.splitlines()[0]
