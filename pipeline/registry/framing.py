"""The wire format of Confluent's serializers: 00, the schema's id (4 bytes, big-endian), the body.

Source: Confluent Schema Registry documentation, "Wire format".
"""

import struct

__all__ = ["HEADER", "MAGIC", "framed", "split"]

MAGIC = b"\x00"
HEADER = 5
_HEAD = struct.Struct(">xI")


def framed(schema_id: int, body: bytes) -> bytes:
    """Return an Avro body in the framing."""
    return _HEAD.pack(schema_id) + body


def split(value: bytes) -> int | None:
    """Return the schema id that a value names, whose body begins at `HEADER`; else None."""
    if len(value) < HEADER or value[:1] != MAGIC:
        return None
    schema_id: int = _HEAD.unpack_from(value)[0]
    return schema_id
