"""Old packets under new code: what was written with any schema of the history is still read."""

import json
from typing import Any

import msgspec
import pytest

from pipeline.packets import codec, schemas
from tests.unit.packets.recorded import known, load, sample

RECORDED = load()


def test_superseded_schemas_are_among_them() -> None:
    """There are packets of schemas that nobody writes with any more, of several record types."""
    current = {
        f"{name} {schemas.fingerprint_of(schemas.current(name)).hex()}" for name in schemas.names()
    }
    assert len({key.split()[0] for key in RECORDED.keys() - current}) > 3


def _bytes(entry: dict[str, Any]) -> bytes:
    return bytes.fromhex(entry["bytes"])


@pytest.mark.parametrize("key", sorted(RECORDED))
def test_a_recorded_packet_is_read_as_it_was_meant(key: str) -> None:
    """Every field that it has keeps its value; what it lacks has the default of today."""
    packet = codec.decode(_bytes(RECORDED[key]))
    assert key.split(maxsplit=1)[0] == type(packet).__name__
    _said(RECORDED[key]["fields"], json.loads(msgspec.json.encode(packet)))


@pytest.mark.parametrize("key", sorted(known().keys() - RECORDED.keys()))
def test_a_schema_without_a_recorded_packet_is_read_too(key: str) -> None:
    """Until it is recorded (`python -m tests.unit.packets.recorded`), one is made."""
    made = sample(*known()[key])
    _said(made["fields"], json.loads(msgspec.json.encode(codec.decode(_bytes(made)))))


@pytest.mark.parametrize("key", sorted(RECORDED))
def test_a_recorded_packet_written_anew_says_the_same(key: str) -> None:
    """Read, and written with the schema of today, it is the same packet."""
    packet = codec.decode(_bytes(RECORDED[key]))
    assert packet == codec.decode(codec.encode(packet))


def _said(expected: Any, was: Any) -> None:
    """Check that all of `expected` is in `was`."""
    if isinstance(expected, dict):
        assert expected.keys() <= was.keys()
        for key, value in expected.items():
            _said(value, was[key])
    elif isinstance(expected, list):
        assert len(expected) == len(was)
        for one, other in zip(expected, was, strict=True):
            _said(one, other)
    else:
        assert expected == was
