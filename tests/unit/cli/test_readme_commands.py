"""The README's commands are commands: what it shows can be typed."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from pipeline.cli import main
from tests.unit.cli.parsing import parse

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
COMMANDS = {"scripts/demo": ("demo",), "scripts/bench": ("bench",), "cascade": ()}


def _lines() -> list[str]:
    """Return the lines of all shell blocks, without their comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [line for text in blocks for line in text.splitlines()]
    return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


def _of(*programs: str) -> list[str]:
    """Return the lines that call one of these programs."""
    return [line for line in _lines() if shlex.split(line)[0] in programs]


def test_there_is_something_to_check() -> None:
    """The README shows commands at all, or the tests below would pass for nothing."""
    assert len(_of(*COMMANDS)) > 10
    assert _of("faust")


@pytest.mark.parametrize("line", [*_of(*COMMANDS)])
def test_each_command_of_the_readme_is_understood(line: str) -> None:
    """Nouns, verbs and options of the README exist, with values of the right type."""
    program, *arguments = shlex.split(line)
    parse(main, [*COMMANDS[program], *arguments])


@pytest.mark.parametrize("line", _of("faust"))
def test_each_worker_of_the_readme_has_an_app(line: str) -> None:
    """`faust -A MODULE` finds an app in each module that the README names."""
    module = shlex.split(line)[2]
    assert hasattr(importlib.import_module(module), "app")


@pytest.mark.parametrize("line", [line for line in _lines() if line.startswith("scripts/")])
def test_each_script_of_the_readme_exists(line: str) -> None:
    """A script that the README calls is there."""
    assert (Path(__file__).resolve().parents[3] / shlex.split(line)[0]).is_file()
