"""The schemas under `schemas/`, and those of older packets under `schemas/history/`.

A packet on the wire names its schema by the 8-byte fingerprint of Avro's single-object encoding
(Avro specification 1.12, "Single-object encoding"). `history/NAME/FINGERPRINT.avsc` keeps every
schema that packets were ever written with, so that a log of last year is still readable.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from fastavro import parse_schema
from fastavro.schema import fingerprint, load_schema, to_parsing_canonical_form

from pipeline.errors import ConfigurationError
from pipeline.resources import resource

__all__ = ["NAMESPACE", "current", "fingerprint_of", "history", "names", "plain", "set_hash"]

NAMESPACE = "cascade"


def fingerprint_of(schema: Any) -> bytes:
    """Return the 8-byte little-endian CRC-64-AVRO fingerprint of a parsed schema."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def names() -> list[str]:
    """Return the short names of all schemas, sorted."""
    files = resource("schemas").glob(f"{NAMESPACE}.*.avsc")
    return sorted(path.name.split(".")[1] for path in files)


def plain(schema: Any) -> Any:
    """Return a parsed schema as JSON has it, without the parser's own notes."""
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if not key.startswith("__")}
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    return schema


@cache
def current(name: str) -> Any:
    """Return the parsed schema of `name`, its named types resolved.

    Raises:
        ConfigurationError: If there is no such schema.
    """
    path = resource("schemas") / f"{NAMESPACE}.{name}.avsc"
    if not path.exists():
        raise ConfigurationError(f"Expected a schema at {path}, was no file")
    return load_schema(str(path))


@cache
def set_hash() -> str:
    """Return 16 hexadecimal digits that change with any of the current schemas."""
    prints = (f"{name}={fingerprint_of(current(name)).hex()}" for name in names())
    return hashlib.sha256(" ".join(prints).encode()).hexdigest()[:16]


@cache
def history() -> dict[bytes, tuple[str, Any]]:
    """Return every recorded schema by fingerprint, with its short name.

    Raises:
        ConfigurationError: If a file's name is not its content's fingerprint.
    """
    found: dict[bytes, tuple[str, Any]] = {}
    for path in sorted((resource("schemas") / "history").glob("*/*.avsc")):
        key = _recorded_fingerprint(path)
        found[key] = (path.parent.name, parse_schema(json.loads(path.read_text())))
    return found


def _recorded_fingerprint(path: Path) -> bytes:
    schema = parse_schema(json.loads(path.read_text()))
    key = fingerprint_of(schema)
    if key.hex() != path.stem:
        raise ConfigurationError(f"Expected {path} to be named {key.hex()}, was {path.stem}")
    return key
