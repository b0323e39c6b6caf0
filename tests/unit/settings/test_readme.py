"""What the README says of the settings is what they are."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.settings import SPECIFIED, describe, load_settings

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, so that no `.env` of the checkout is found."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _rows() -> list[tuple[list[str], list[str]]]:
    """Return the variables and defaults of each row of the table of settings."""
    table = re.findall(r"^\| (`[A-Z]\S+`.*?) \| (.*?) \|", README, re.MULTILINE)
    return [(re.findall(r"`(\w+)`", names), default.split(", ")) for names, default in table]


def test_the_readme_lists_each_variable_of_the_specification() -> None:
    """No variable is missing in the table of settings."""
    listed = {name for names, _ in _rows() for name in names}
    assert set() == {name.variable for name in SPECIFIED} - listed


def test_the_defaults_of_the_table_are_those_of_the_settings() -> None:
    """A default that the table states in figures is the real one."""
    specified = {name.variable: name.setting for name in SPECIFIED}
    values = {name: value for name, (value, _) in describe(load_settings()).items()}
    wrong = {}
    for names, defaults in _rows():
        for name, text in zip(names, defaults, strict=False):
            dotted = name.removeprefix("CASCADE_").replace("__", ".").lower()
            value = values.get(specified.get(name, dotted))
            if re.fullmatch(r"\d+(\.\d+)?", text) and float(text) != value:
                wrong[name] = (text, value)
    assert {} == wrong


def test_the_file_of_the_readme_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's settings file works, and its one change takes effect."""
    (text,) = re.findall(r"```yaml\n(cascade:.*?)```", README, re.DOTALL)
    path = folder / "cascade.yaml"
    path.write_text(text)
    monkeypatch.setenv("CASCADE_CONFIG", str(path))
    settings = load_settings()
    assert (3, 30.0) == settings.breaker("risk")
    assert ["Operator on duty"] == [each.name for each in settings.emergency.emergency_contacts]
    assert yaml.safe_load(text)["validation"] == {"interval": 5.0, "deep_interval": 30.0}
