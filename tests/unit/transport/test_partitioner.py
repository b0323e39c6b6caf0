"""Keys to partitions, as Java clients and librdkafka's murmur2_random do it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transport.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # From Apache Kafka's own UtilsTest.testMurmur2, as unsigned numbers.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hashes_are_those_of_java_clients(data: bytes, expected: int) -> None:
    """The hash of each test vector is Kafka's."""
    assert expected & 0xFFFFFFFF == murmur2(data)


@given(st.binary(max_size=64), st.integers(1, 1000))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    """Within bounds, whatever the key."""
    assert 0 <= partition_of(key, partitions) < partitions
