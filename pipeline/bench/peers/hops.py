"""What all peers do at a hop: decode the packet, add a trace, encode it."""

import sys
import time
from typing import Any

import msgspec

from pipeline.packets.codec import decode, encode
from pipeline.packets.models import Trace

__all__ = ["HOPS", "TOPICS", "Where", "forward", "where"]

HOPS = ("strategic", "tactical", "risk", "execution")
TOPICS = tuple(f"hop.{number}" for number in range(len(HOPS) + 1))
"""From the first input to the last output, without namespace."""


class Where(msgspec.Struct, frozen=True):
    """Where a peer runs.

    Attributes:
        bootstrap: The broker.
        namespace: Prefix of topics and groups.
        folder: For its files.
    """

    bootstrap: str
    namespace: str
    folder: str

    def topics(self) -> list[str]:
        """Return the real names of `TOPICS`."""
        return [f"{self.namespace}.{topic}" for topic in TOPICS]


def where(argument: str | None = None) -> Where:
    """Return what the command line says."""
    return msgspec.json.decode(argument or sys.argv[-1], type=Where)


def forward(value: bytes, hop: str) -> bytes:
    """Return the packet with a trace of this hop.

    By the codec of this project: in Python it is about three times as fast as fastavro's generic
    reader and writer, so that what is compared is the way, not the codec.
    """
    started = time.time_ns() // 1000
    packet: Any = decode(value)
    envelope = packet.envelope
    trace = Trace(hop, started, started, time.time_ns() // 1000)
    envelope = msgspec.structs.replace(envelope, trace=(*envelope.trace, trace))
    return encode(msgspec.structs.replace(packet, envelope=envelope))
