import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.topics import compatibility

_A = {"name": "a", "type": "long"}


def _write(folder: Path, *fields: dict[str, Any], name: str = "Thing") -> None:
    schema = {"type": "record", "name": name, "namespace": "cascade", "fields": list(fields)}
    (folder / f"cascade.{name}.avsc").write_text(json.dumps(schema))


def _enumeration(folder: Path, *symbols: str) -> None:
    schema = {"type": "enum", "name": "Kind", "namespace": "cascade", "symbols": list(symbols)}
    (folder / "cascade.Kind.avsc").write_text(json.dumps(schema))


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Path]:
    """Record a schema with the fields given, and return its folder."""

    def record(*fields: dict[str, Any]) -> Path:
        _write(tmp_path, *fields)
        compatibility.record(tmp_path)
        return tmp_path

    return record


def test_a_recorded_schema_is_compatible_with_itself(recorded: Callable[..., Path]) -> None:
    """Nothing changed, nothing wrong; and recording again writes nothing."""
    folder = recorded(_A)
    assert compatibility.check(folder) == []
    assert compatibility.record(folder) == []


def test_a_schema_that_is_not_recorded_is_a_fault(recorded: Callable[..., Path]) -> None:
    """A change that reads the past still has to be recorded, and the fault says how."""
    folder = recorded(_A)
    _write(folder, _A, {"name": "b", "type": "long", "default": 0})
    (fault,) = compatibility.check(folder)
    assert fault.startswith("Thing: ")
    assert "cascade schemas record" in fault
    compatibility.record(folder)
    assert compatibility.check(folder) == []
    assert len(list(folder.glob("history/Thing/*.avsc"))) == 2


@pytest.mark.parametrize(
    "fields",
    [
        [_A, {"name": "b", "type": "long"}],
        [{"name": "a", "type": "string"}],
        [{"name": "a", "type": "int"}],
        [{"name": "renamed", "type": "long"}],
    ],
    ids=["added without default", "another type", "narrower type", "renamed"],
)
def test_a_change_that_cannot_read_the_past_is_a_fault(
    recorded: Callable[..., Path], fields: list[dict[str, Any]]
) -> None:
    """Recording a breaking change does not make it right."""
    folder = recorded(_A)
    _write(folder, *fields)
    compatibility.record(folder)
    (fault,) = compatibility.check(folder)
    assert fault.startswith("Thing: Expected to read what ")


@pytest.mark.parametrize(
    "fields",
    [
        [_A, {"name": "b", "type": ["null", "long"], "default": None}],
        [],
        [{"name": "a", "type": "double"}],
        [{"name": "a", "type": ["null", "long"]}],
    ],
    ids=["added with default", "removed", "wider type", "made optional"],
)
def test_a_change_that_reads_the_past_is_none(
    recorded: Callable[..., Path], fields: list[dict[str, Any]]
) -> None:
    """Avro's schema resolution allows these."""
    folder = recorded(_A)
    _write(folder, *fields)
    compatibility.record(folder)
    assert compatibility.check(folder) == []


def test_every_predecessor_counts(recorded: Callable[..., Path]) -> None:
    """Each step may read the one before, and the last still not the first."""
    folder = recorded(_A)
    optional = {"name": "b", "type": "long", "default": 0}
    for fields in ([_A, optional], [_A, {"name": "b", "type": "long"}]):
        _write(folder, *fields)
        compatibility.record(folder)
    (fault,) = compatibility.check(folder)
    first, *_ = sorted(folder.glob("history/Thing/*.avsc"), key=lambda path: path.stat().st_size)
    assert first.stem in fault


def test_a_change_of_a_nested_type_counts(tmp_path: Path) -> None:
    """An enumeration that loses a symbol breaks the records that hold it."""
    _enumeration(tmp_path, "ONE", "TWO")
    _write(tmp_path, {"name": "kind", "type": "cascade.Kind"})
    compatibility.record(tmp_path)
    _enumeration(tmp_path, "ONE", "TWO", "THREE")
    compatibility.record(tmp_path)
    assert compatibility.check(tmp_path) == []
    _enumeration(tmp_path, "ONE", "THREE")
    compatibility.record(tmp_path)
    assert len(compatibility.check(tmp_path)) == 2


def test_a_removed_schema_is_a_fault(recorded: Callable[..., Path]) -> None:
    """What was ever written needs a reader."""
    folder = recorded(_A)
    (folder / "cascade.Thing.avsc").unlink()
    (fault,) = compatibility.check(folder)
    assert "Expected a current schema" in fault


def test_a_recorded_schema_that_was_edited_is_a_fault(recorded: Callable[..., Path]) -> None:
    """The history is what it was: a file must have the fingerprint it is named after."""
    folder = recorded(_A)
    (path,) = folder.glob("history/Thing/*.avsc")
    path.write_text(path.read_text().replace('"a"', '"b"'))
    (fault,) = compatibility.check(folder)
    assert "to be named" in fault


def test_the_project_s_schemas_read_their_history() -> None:
    """All that was ever recorded can be read, and what is in use is recorded."""
    assert compatibility.check() == []
