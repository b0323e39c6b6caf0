"""Reads `code_blocks.md`, the specification's code."""

import re
from pathlib import Path

__all__ = ["PATHS", "ROOT", "block", "changed_paths"]

ROOT = Path(__file__).resolve().parents[2]
_FILE = Path(__file__).with_name("code_blocks.md")
_BLOCK = re.compile(
    r"^## (?P<heading>.+)\n\n```(?P<language>\w+)\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE
)

PATHS = {
    "src.core.cascade": "pipeline.cascade",
    "src.core.events": "pipeline.events",
    "pytest src/core/cascade/tests/": "pytest tests/",
    "python src/core/cascade/tests/": "python tests/",
    "python src/core/cascade/cascade_integration_demo.py": "python -m pipeline.cascade.demo",
}
"""All that is changed in the specification's code: where things lie."""


def block(heading: str, language: str) -> str:
    """Return the code under a heading, its paths changed.

    Raises:
        AssertionError: If there is not just one such block.
    """
    found = [
        each["code"]
        for each in _BLOCK.finditer(_FILE.read_text(encoding="utf-8"))
        if (each["heading"], each["language"]) == (heading, language)
    ]
    assert len(found) == 1, f"Expected one {language} block under {heading}, was {len(found)}"
    return changed_paths(found[0])


def changed_paths(code: str) -> str:
    """Return code of the specification with this project's paths."""
    for theirs, ours in PATHS.items():
        code = code.replace(theirs, ours)
    return code
