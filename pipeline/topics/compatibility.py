"""Schema evolution: what is read today must still read every record ever written.

BACKWARD_TRANSITIVE: each current record schema reads what each of its recorded predecessors
wrote, by the rules of Avro's schema resolution (Avro specification 1.12, "Schema Resolution").
`history/NAME/FINGERPRINT.avsc` holds them, fully expanded, so that a change of a nested type counts
as a change of all records that hold it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastavro import parse_schema
from fastavro.schema import load_schema

from pipeline.errors import ConfigurationError
from pipeline.packets.schemas import NAMESPACE, fingerprint_of, plain
from pipeline.resources import resource

__all__ = ["Version", "check", "record", "versions"]


@dataclass(frozen=True, slots=True)
class Version:
    """One schema that packets were written with.

    Attributes:
        name: Record type.
        fingerprint: By which packets name it, hexadecimal.
        current: Whether packets are written with it now.
        fields: Names of its fields.
        added: Fields of the current schema that it has not.
        removed: Its fields that the current schema has not.
        readable: Whether the current schema reads what it wrote.
    """

    name: str
    fingerprint: str
    current: bool
    fields: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    readable: bool


def check(folder: Path | None = None) -> list[str]:
    """Return what is wrong with the schemas in `folder`, one sentence each; none if all is well.

    Wrong is: a current schema that cannot read what a recorded one wrote, or that is not recorded;
    a recorded schema without a current one, or under another name than its fingerprint.

    Args:
        folder: Where the schemas and their `history` lie; the project's where it is None.

    Raises:
        ConfigurationError: If the package `avro`, which compares schemas, is not installed.
    """
    folder = folder or resource("schemas")
    faults = []
    current = _current(folder)
    recorded = sorted((folder / "history").glob("*/*.avsc"))
    for name, schema in current.items():
        if _history_file(folder, name, schema) not in recorded:
            faults.append(
                f"{name}: Expected the current schema in its history, was not there. Run"
                " `cascade schemas record` and commit what it writes."
            )
    for path in recorded:
        faults += _faults_of(path, current.get(path.parent.name))
    return faults


def versions(folder: Path | None = None) -> list[Version]:
    """Return every recorded schema by name, the current one of each last.

    Args:
        folder: Where the schemas and their `history` lie; the project's where it is None.

    Raises:
        ConfigurationError: If the package `avro`, which compares schemas, is not installed.
    """
    folder = folder or resource("schemas")
    current = _current(folder)
    found = []
    for path in sorted((folder / "history").glob("*/*.avsc")):
        name = path.parent.name
        written, now = json.loads(path.read_text(encoding="utf-8")), current.get(name)
        is_current = now is not None and fingerprint_of(now).hex() == path.stem
        before, after = _field_names(written), () if now is None else _field_names(now)
        found.append(
            Version(
                name,
                path.stem,
                is_current,
                before,
                tuple(each for each in after if each not in before),
                tuple(each for each in before if each not in after),
                now is not None and not _incompatibilities(plain(now), written),
            )
        )
    return sorted(found, key=lambda each: (each.name, each.current, each.fingerprint))


def _field_names(schema: Any) -> tuple[str, ...]:
    return tuple(field["name"] for field in schema["fields"])


def record(folder: Path | None = None) -> list[Path]:
    """Write each current schema that its history lacks, and return the new files.

    Raises:
        ConfigurationError: If a file cannot be written.
    """
    folder = folder or resource("schemas")
    written = []
    for name, schema in _current(folder).items():
        path = _history_file(folder, name, schema)
        if path.exists():
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(plain(schema), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"Expected to write {path}, was refused: {error}") from error
        written.append(path)
    return written


def _current(folder: Path) -> dict[str, Any]:
    """Return the record schemas by short name; enumerations are checked where they are used."""
    found = {}
    for path in sorted(folder.glob(f"{NAMESPACE}.*.avsc")):
        schema: Any = load_schema(str(path))
        if schema["type"] == "record":
            found[path.name.split(".")[1]] = schema
    return found


def _history_file(folder: Path, name: str, schema: Any) -> Path:
    return folder / "history" / name / f"{fingerprint_of(schema).hex()}.avsc"


def _faults_of(path: Path, current: Any | None) -> list[str]:
    name = path.parent.name
    written = json.loads(path.read_text(encoding="utf-8"))
    if (fingerprint := fingerprint_of(parse_schema(written)).hex()) != path.stem:
        return [f"{name}: Expected {path} to be named {fingerprint}, as its content is, was not"]
    if current is None:
        return [f"{name}: Expected a current schema, since {path} was written with, was none"]
    reasons = _incompatibilities(plain(current), written)
    return [f"{name}: Expected to read what {path.stem} wrote, was: {reasons}"] if reasons else []


def _incompatibilities(reader: Any, writer: Any) -> str:
    try:
        from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
        from avro.schema import parse
    except ImportError as error:
        raise ConfigurationError(
            "Expected the package `avro`, was not installed. It comes with the extra `dev`:"
            " pip install 'marl-cascade[dev]'."
        ) from error
    result = ReaderWriterCompatibilityChecker().get_compatibility(
        parse(json.dumps(reader)), parse(json.dumps(writer))
    )
    if result.compatibility is SchemaCompatibilityType.compatible:
        return ""
    kinds = ", ".join(sorted({kind.value for kind in result.incompatibilities}))
    return f"{kinds}: {', '.join(sorted(result.messages))} at {', '.join(sorted(result.locations))}"
