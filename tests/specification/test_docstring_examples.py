"""The examples in docstrings run against a real cascade, wherever they stand in the package.

An example is an indented block of a docstring that is Python and calls something public.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipeline.cascade
from pipeline import events, rules
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.settings import Settings
from tests.cluster import cluster, variables
from tests.specification.blocks import ROOT

__all__ = ["cluster"]

BLOCK = re.compile(r"(?:^|\n\n)((?:    .*\n?|\n(?=    ))+)")
SECTIONS = re.compile(r"^(Args|Attributes|Returns|Raises):", re.MULTILINE)
PUBLIC = {*pipeline.cascade.__all__, *events.__all__, *rules.__all__}
SUPPLIED = {
    "alert": Alert("docstring", PerformanceAlert.INFO, "an example", "{}", 0, acknowledged=False),
    "idle_groups": lambda _: [],
}


def _docstrings(tree: ast.Module) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield SECTIONS.split(text)[0]


def _calls_something_public(code: str) -> bool:
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return False
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return bool(called & PUBLIC)


def _examples() -> dict[str, str]:
    """Return all examples by file and number."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for text in _docstrings(ast.parse(path.read_text(encoding="utf-8"))):
            for block in BLOCK.findall(text):
                code = textwrap.dedent(block)
                if _calls_something_public(code):
                    found[f"{path.relative_to(ROOT)}:{len(found)}"] = code
    return found


EXAMPLES = _examples()


@pytest.fixture
def names(cluster: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an example may leave undefined: the public names, and the broker by the environment."""
    for name, text in variables(cluster).items():
        monkeypatch.setenv(name, text)
    modules = (pipeline.cascade, events, rules)
    public = {name: getattr(module, name) for module in modules for name in module.__all__}
    return {**public, **SUPPLIED, "__name__": "docstring"}


def test_examples_are_found() -> None:
    """The components that have an example are among what is run."""
    files = {Path(name.partition(":")[0]).as_posix() for name in EXAMPLES}
    assert {
        "pipeline/cascade/coordination/engine.py",
        "pipeline/cascade/emergency.py",
        "pipeline/cascade/performance.py",
        "pipeline/events/__init__.py",
        "pipeline/rules/model.py",
    } <= files


@pytest.mark.parametrize("where", EXAMPLES)
def test_an_example_runs(where: str, names: dict[str, Any]) -> None:
    """What a docstring shows works as it stands there."""
    exec(compile(EXAMPLES[where], f"<{where}>", "exec"), names)  # noqa: S102  # the point of it
    for name in ("protocols", "bus", "monitor", "engine"):
        close = getattr(names.get(name), "close", None)
        if close is not None:
            close()
