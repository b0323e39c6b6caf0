"""Kafka's requests and responses as the proxy sees them, and how to tell what they carry."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

from fastavro import schemaless_reader

from pipeline.packets import schemas

__all__ = ["SIZE", "Api", "Fate", "Frame", "kinds_in", "prefix"]

SIZE = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")


class Api(IntEnum):
    """Requests that faults aim at; others have their number only."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    FIND_COORDINATOR = 10
    DESCRIBE_CLUSTER = 60


class Fate(Enum):
    """What the proxy does with a frame.

    Attributes:
        PASS: Forward it.
        HOLD: Keep it and all behind it on the connection, until `FaultProxy.release`.
        DROP: Swallow it; the connection stays.
        CUT: Swallow it and cut the connection.
        TEAR: Forward half of its bytes and cut the connection.
    """

    PASS = 0
    HOLD = 1
    DROP = 2
    CUT = 3
    TEAR = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """A request on its way to the broker, or a response on its way back.

    Attributes:
        api: Number of the request.
        request: Bytes of the request; only of produce requests while their response comes.
        response: Bytes of the response; None while the request is on its way.
    """

    api: int
    request: bytes
    response: bytes | None = None

    def asks(self, api: Api, *prefixes: bytes) -> bool:
        """Say whether it is a request to `api` that carries a record of one of `prefixes`."""
        if self.response is not None or self.api != api:
            return False
        return any(each in self.request for each in prefixes)

    def acknowledges(self, *prefixes: bytes) -> bool:
        """Say whether it is the response to a produce of records of one of `prefixes`."""
        if self.response is None or self.api != Api.PRODUCE:
            return False
        return any(each in self.request for each in prefixes)

    def brings(self, *prefixes: bytes) -> bool:
        """Say whether it is the response to a fetch, with records of one of `prefixes`."""
        if self.response is None or self.api != Api.FETCH:
            return False
        return any(each in self.response for each in prefixes)

    @staticmethod
    def head(body: bytes) -> tuple[int, int]:
        """Return (api, correlation id) of a request without its size."""
        api, _, correlation = _REQUEST.unpack_from(body)
        return int(api), int(correlation)


def prefix(record: str) -> bytes:
    """Return the ten bytes that open every record of a schema; batches are not compressed."""
    return b"\xc3\x01" + schemas.fingerprint_of(schemas.current(record))


def kinds_in(body: bytes) -> Iterator[str]:
    """Yield the kind of each order event that a frame carries."""
    opening, at = prefix("OrderEvent"), 0
    while (at := body.find(opening, at)) >= 0:
        event = schemaless_reader(
            io.BytesIO(body[at + len(opening) :]), schemas.current("OrderEvent"), None
        )
        yield str(event["kind"])  # type: ignore[index, call-overload]  # a record is a dict
        at += len(opening)
