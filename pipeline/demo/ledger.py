"""The publisher's own account of what it sent, in a file that is read while it grows."""

import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pipeline.market import ItemKind

__all__ = ["Ledger", "LedgerReader", "SentFlow"]

_ENTRY = struct.Struct("<16sqB")
_KINDS = tuple(ItemKind)
_INDEX = {kind.value: index for index, kind in enumerate(_KINDS)}


class SentFlow(NamedTuple):
    """A record handed to Kafka.

    Attributes:
        flow_id: Its flow, by content or, where nobody can read it, by coordinates.
        intended_us: When it was due, microseconds since the Unix epoch, UTC.
        kind: What it is.
    """

    flow_id: str
    intended_us: int
    kind: ItemKind


class Ledger:
    """Writes a ledger; a context manager that closes it.

    Args:
        path: The file, which is begun anew.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, flow_id: str, intended_us: int, kind: str) -> None:
        """Note a record; the arguments are those of the publisher's `on_sent`."""
        self._file.write(_ENTRY.pack(bytes.fromhex(flow_id), intended_us, _INDEX[kind]))

    def flush(self) -> None:
        """Let readers see what was noted so far."""
        self._file.flush()


class LedgerReader:
    """Reads a ledger as it grows.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def read(self) -> Sequence[SentFlow]:
        """Return the entries written since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = len(data) - len(data) % _ENTRY.size
        self._at += whole
        return [
            SentFlow(flow.hex(), intended_us, _KINDS[index])
            for flow, intended_us, index in _ENTRY.iter_unpack(data[:whole])
        ]
