"""A second tree of code, one schema ahead of this one: `Strategic` has a field more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["FIELD", "next_tree", "this_tree"]

FIELD = "horizon_bars"
"""The field that the next version of `Strategic` has, and four kinds of records with it."""

_COPIED = ("pipeline", "schemas", "tests", "docker")
_FILES = ("topics.yaml", "pyproject.toml")
_MODEL = "    regime: Regime\n    volatility: NonNegative\n"
_SCHEMA = '"doc": "forecast, standard deviation of the return of one bar"\n    }'
_ADDED = (
    f',\n    {{\n      "name": "{FIELD}",\n      "type": "int",\n      "doc": "bars that the'
    ' decision looks ahead",\n      "default": 0\n    }'
)


def this_tree() -> Path:
    """Return the folder of the checkout that this module stands in."""
    return Path(__file__).resolve().parents[2]


def next_tree(folder: Path) -> Path:
    """Copy this checkout to `folder`, with the field added as a developer adds one.

    1. Copy; what is compiled goes along, since it is compiled for no schema in particular.
    2. Add the field to schema and model, with a default: old records have none.
    3. Have `cascade schemas record` keep the new schemas, and `check` them against the old.

    Raises:
        AssertionError: If the sources are not as expected.
        subprocess.CalledProcessError: If the new schemas do not fit.
    """
    folder.mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__")
    for name in _COPIED:
        shutil.copytree(this_tree() / name, folder / name, symlinks=True, ignore=skip)
    for name in _FILES:
        shutil.copy(this_tree() / name, folder / name)
    _change(folder / "pipeline/packets/models.py", _MODEL, f"{_MODEL}    {FIELD}: Int = 0\n")
    _change(folder / "schemas/cascade.Strategic.avsc", _SCHEMA, _SCHEMA + _ADDED)
    for verb in ("record", "check"):
        subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "schemas", verb],
            cwd=folder, check=True, capture_output=True, env=dict(os.environ), timeout=120,
        )  # fmt: skip
    return folder


def _change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, f"Expected {before!r} once in {path}, was {text.count(before)}"
    path.write_text(text.replace(before, after))
