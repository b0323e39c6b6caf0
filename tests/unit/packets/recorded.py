"""Packets as they were written with each schema of the history: recorded once, read for ever.

`python -m tests.unit.packets.recorded` adds what `recorded.json` lacks, and changes nothing there.
"""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
from fastavro import schemaless_writer

from pipeline.packets import schemas
from tests.unit.packets.generation import MODELS, full

__all__ = ["FILE", "load", "sample"]

FILE = Path(__file__).parent / "recorded.json"
_MAGIC = b"\xc3\x01"
_MODELS = {model.__name__: model for model in MODELS}


def load() -> dict[str, dict[str, Any]]:
    """Return the recorded packets: `NAME FINGERPRINT` to their bytes, hexadecimal, and fields."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def known() -> dict[str, tuple[str, bytes, Any]]:
    """Return each schema of the history that packets have: key to (name, fingerprint, schema)."""
    return {
        f"{name} {fingerprint.hex()}": (name, fingerprint, schema)
        for fingerprint, (name, schema) in schemas.history().items()
        if name in _MODELS
    }


def sample(name: str, fingerprint: bytes, schema: Any) -> dict[str, Any]:
    """Return a packet as a writer of that schema gives it: its bytes and what it says."""
    packet = msgspec.to_builtins(full(_MODELS[name]), builtin_types=(bytes,))
    said = _within(packet, schema)
    out = io.BytesIO()
    out.write(_MAGIC + fingerprint)
    schemaless_writer(out, schema, said)
    return {"bytes": out.getvalue().hex(), "fields": json.loads(msgspec.json.encode(said))}


def _within(value: Any, schema: Any) -> Any:
    """Return a value without the fields that a schema has not."""
    if isinstance(schema, list):
        return None if value is None else _within(value, schema[-1])
    if isinstance(schema, dict) and schema["type"] == "record":
        return {
            field["name"]: _within(value[field["name"]], field["type"])
            for field in schema["fields"]
        }
    if isinstance(schema, dict) and schema["type"] == "array":
        return [_within(item, schema["items"]) for item in value]
    return value


def main() -> None:
    """Record what is not recorded yet."""
    found = load()
    new = {key: sample(*each) for key, each in known().items() if key not in found}
    FILE.write_text(json.dumps({**found, **new}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
