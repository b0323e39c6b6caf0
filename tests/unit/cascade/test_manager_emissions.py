"""What counts as emitted."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import Message
from msgspec import structs

from pipeline.cascade.manager.emissions import EmissionReader, Emissions
from pipeline.packets.codec import encode
from pipeline.packets.models import Journal, StrategicSignal
from pipeline.settings import load_settings
from tests.unit.stages.engine_factories import NOW, FakeMessage, marker, market_data


@pytest.fixture
def emissions() -> Emissions:
    """What the worker wrote."""
    return Emissions()


@pytest.fixture
def reader(emissions: Emissions) -> Iterator[EmissionReader]:
    """A reader that is fed by hand."""
    made = EmissionReader(load_settings(broker="127.0.0.1:1"), "cascade.strategic", print)
    made.add(emissions)
    yield made
    made._consumer.close()


def record(sequence: int, epoch: int) -> bytes:
    """Return a record of the log."""
    journal = Journal(sequence, epoch, "t", 0, sequence, -1, -1, 0, -1, -1, NOW, 0, "o", "b")
    envelope = structs.replace(market_data(sequence=sequence).envelope, packet_id=f"p{sequence}")
    return encode(StrategicSignal(journal, envelope))


def read(reader: EmissionReader, *values: bytes, start: int) -> list[str]:
    """Return the packets handed over of values in a row."""
    found: list[Any] = [
        reader._emitted(cast(Message, FakeMessage(value, start + index)))
        for index, value in enumerate(values)
    ]
    return [each.envelope.packet_id for each in found if each is not None]


def test_own_records_are_handed_over_once_in_order(
    reader: EmissionReader, emissions: Emissions
) -> None:
    """From the own marker on, each record that continues the log."""
    emissions.note(0, 5, 3, 4)

    assert ["p3", "p4"] == read(reader, marker(), record(3, 5), record(4, 5), start=5)
    assert {0: (5, 4)} == emissions.newest()


def test_foreign_records_are_not_ours(reader: EmissionReader, emissions: Emissions) -> None:
    """What other owners wrote, before or after, is theirs; what is ours afterwards counts."""
    emissions.note(0, 7, 4, 4)
    emissions.note(0, 11, 6, 6)

    assert ["p4", "p6"] == read(
        reader,
        marker("other"), record(3, 5), marker("mine"), record(4, 7),
        marker("other"), record(5, 9), marker("mine"), record(6, 11),
        start=5,
    )  # fmt: skip


def test_what_a_take_over_made_void_never_comes(
    reader: EmissionReader, emissions: Emissions
) -> None:
    """Records behind a foreign marker, or behind a hole, do not count, though we wrote them."""
    emissions.note(0, 5, 0, 3)

    assert ["p0"] == read(
        reader, marker("mine"), record(0, 5), record(2, 5), marker("other"), record(1, 5), start=5
    )


def test_records_before_the_own_marker_say_nothing(
    reader: EmissionReader, emissions: Emissions
) -> None:
    """A reader that begins in mid-log waits for the first marker."""
    emissions.note(0, 9, 2, 2)

    assert ["p2"] == read(reader, record(1, 3), marker("mine"), record(2, 9), start=8)
