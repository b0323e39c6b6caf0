"""Snapshots in chunks: valid with all of them and the right hash, the newest counts."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.packets.codec import decode_as
from pipeline.packets.models import Cursor, Snapshot
from pipeline.transport.log import Position
from pipeline.transport.snapshots import assemble, chunks

CURSORS = (Cursor("cascade.market", 0, 9, -1, -1, (11, 13)),)


def _parts(data: bytes, offset: int = 5, chunk_bytes: int = 4) -> list[Snapshot]:
    made = chunks("strategic", 2, Position(offset, 1, 3), CURSORS, data, 77, chunk_bytes)
    return [decode_as(value, Snapshot) for value in made]


@given(st.binary(max_size=40), st.integers(1, 9))
def test_a_state_comes_back_from_its_chunks(data: bytes, chunk_bytes: int) -> None:
    """Whatever its size, with position and cursors."""
    found = assemble(_parts(data, chunk_bytes=chunk_bytes))
    assert found is not None
    head, state = found
    assert data == state
    assert (5, 1, 3, CURSORS) == (head.log_offset, head.log_epoch, head.log_sequence, head.cursors)


def test_a_snapshot_without_its_last_chunk_does_not_count() -> None:
    """Its writer may have died in the middle; the one before counts."""
    assert None is assemble(_parts(b"0123456789")[:-1])
    found = assemble([*_parts(b"older"), *_parts(b"newer and longer", 9)[:-1]])
    assert found is not None
    assert b"older" == found[1]


def test_a_snapshot_with_a_wrong_hash_does_not_count() -> None:
    """Bytes that are not those that were hashed are no state."""
    first, *rest = _parts(b"0123456789")
    assert None is assemble([replace(first, data=b"9999"), *rest])


def test_the_newest_complete_snapshot_counts() -> None:
    """By its place in the log, whatever order their chunks came in."""
    old, new = _parts(b"old state"), _parts(b"new state", 9)
    mixed = [part for pair in zip(new, old, strict=True) for part in pair]
    found = assemble(mixed)
    assert found is not None
    assert (9, b"new state") == (found[0].log_offset, found[1])


def test_without_chunks_there_is_no_snapshot() -> None:
    """An empty topic has none."""
    assert None is assemble([])
