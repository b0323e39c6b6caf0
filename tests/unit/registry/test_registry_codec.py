"""Packets in a registry's framing: against a registry on loopback, with Confluent's own client."""

import io
import json
import struct
import time
from collections.abc import Iterator

import msgspec
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from fastavro import schemaless_writer
from msgspec import Struct

from pipeline.errors import ConfigurationError, MalformedPacket, RegistryUnavailable
from pipeline.packets import codec, schemas
from pipeline.packets.lanes import INGEST_TOPIC
from pipeline.packets.models import MarketData
from pipeline.registry import Registry, RegistryCodec, framed, split, use
from pipeline.registry.codec import subject_of
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile
from pipeline.topics.registering import State, look, register
from tests.registry import FakeRegistry, running_registry
from tests.unit.packets.generation import full

SUBJECT = subject_of(INGEST_TOPIC, "MarketData")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """Return a registry on loopback."""
    with running_registry() as running:
        yield running


@pytest.fixture
def settings(registry: FakeRegistry) -> Iterator[Settings]:
    """Return settings with that registry; what reads its framing is taken out afterwards."""
    yield load_settings(registry_url=registry.url)
    codec.read_also(None)


@pytest.fixture
def packet() -> MarketData:
    """Return a packet with every field filled."""
    made = full(MarketData)
    assert isinstance(made, MarketData)
    return made


def _read(value: bytes) -> Struct:
    """Return the packet once its schema is looked up; on a busy machine the first try is late."""
    deadline_s = time.monotonic() + 60.0
    while True:
        try:
            return codec.decode(value)
        except MalformedPacket:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)


def _registered(settings: Settings) -> RegistryCodec:
    registry = Registry(settings)
    registry.register(SUBJECT, schemas.plain(schemas.current("MarketData")))
    return RegistryCodec(settings, registry)


def test_the_framing_is_confluent_s() -> None:
    """Byte 0 is the magic, bytes 1 to 4 the id, big-endian; anything else has no framing."""
    assert b"\x00\x00\x00\x01\x02body" == framed(258, b"body")
    assert 258 == split(framed(258, b""))
    for value in (b"", b"\x00\x00\x00\x01", b"\xc3\x01\x00\x00\x00\x00"):
        assert split(value) is None


def test_a_packet_goes_out_and_comes_in_again(settings: Settings, packet: MarketData) -> None:
    """What is written in the framing is read from it, and names the registry's id."""
    registered = _registered(settings)
    value = registered.encode(packet, INGEST_TOPIC)
    assert struct.pack(">bI", 0, 1) == value[:5]
    use(settings)
    assert packet == _read(value)


def test_foreign_writers_and_readers_understand_it(
    settings: Settings, registry: FakeRegistry, packet: MarketData
) -> None:
    """Confluent's own client finds the schema of a value by the id in its bytes."""
    value = _registered(settings).encode(packet, INGEST_TOPIC)
    client = SchemaRegistryClient({"url": registry.url})
    found = json.loads(str(client.get_schema(int.from_bytes(value[1:5])).schema_str))
    assert "cascade.MarketData" == found["name"]


def test_every_reader_takes_both_framings_once_it_is_used(
    settings: Settings, packet: MarketData
) -> None:
    """Without a registry such a value is malformed; with one the same `decode` reads it."""
    value = _registered(settings).encode(packet, INGEST_TOPIC)
    with pytest.raises(MalformedPacket, match="C3 01"):
        codec.decode(value)
    use(settings)
    assert packet == _read(value)
    assert packet == codec.decode_with_parts(value)[0]
    assert packet == codec.decode(codec.encode(packet))


def test_an_older_schema_of_the_registry_is_read(
    settings: Settings, registry: FakeRegistry, packet: MarketData
) -> None:
    """A writer that knows an old schema is understood: what it lacks has its default."""
    use(settings)
    olds = [
        schema
        for fingerprint, (name, schema) in schemas.history().items()
        if name == "MarketData" and fingerprint != schemas.fingerprint_of(schemas.current(name))
    ]
    assert olds
    for old in olds:
        number = registry.add(SUBJECT, json.dumps(schemas.plain(old)))
        body = _written(old, msgspec.to_builtins(packet))
        found = _read(framed(number, body))
        assert isinstance(found, MarketData)
        assert (packet.envelope.flow_id, packet.bar.close) == (
            found.envelope.flow_id, found.bar.close,
        )  # fmt: skip


def _written(schema: object, datum: object) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, schema, datum)  # type: ignore[arg-type]  # parsed schemas are dicts
    return out.getvalue()


def test_ids_that_nobody_knows_do_not_keep_the_registry_busy(
    settings: Settings, registry: FakeRegistry
) -> None:
    """Of many unknown ids few are looked up, and each value is malformed; nothing hangs."""
    use(settings)
    for number in range(1, 40):
        with pytest.raises(MalformedPacket, match="registry"):
            codec.decode(framed(number, b"body"))
    asked = [path for method, path in registry.requests if path.startswith("/schemas/ids/")]
    assert 1 <= len(asked) < 10


def test_a_record_type_that_is_not_ours_is_malformed(
    settings: Settings, registry: FakeRegistry
) -> None:
    """A schema of somebody else's packets is named and refused."""
    use(settings)
    schema = {"type": "record", "name": "foreign.Tick", "fields": []}
    number = registry.add("ticks-value", json.dumps(schema))
    deadline_s = time.monotonic() + 60.0
    said = ""
    while "foreign.Tick" not in said and time.monotonic() < deadline_s:
        with pytest.raises(MalformedPacket) as caught:
            codec.decode(framed(number, b""))
        said = str(caught.value)
    assert "foreign.Tick" in said


def test_bytes_that_do_not_fit_are_malformed(settings: Settings, packet: MarketData) -> None:
    """A value that is cut short, or too long, is no packet."""
    use(settings)
    value = _registered(settings).encode(packet, INGEST_TOPIC)
    for spoilt in (value[:-3], value + b"\x00"):
        with pytest.raises(MalformedPacket):
            codec.decode(spoilt)


def test_what_is_not_registered_is_not_written(settings: Settings, packet: MarketData) -> None:
    """Nobody invents an id: the error says how to register."""
    with pytest.raises(ConfigurationError, match="cascade schemas register"):
        RegistryCodec(settings).encode(packet, INGEST_TOPIC)


def test_a_registry_that_is_silent_is_said_to_be(packet: MarketData) -> None:
    """Writing fails with the address to check; reading is malformed, in time."""
    silent = load_settings(registry_url="http://127.0.0.1:9")
    with pytest.raises(RegistryUnavailable, match="CASCADE_REGISTRY_URL"):
        RegistryCodec(silent).encode(packet, INGEST_TOPIC)
    with pytest.raises(MalformedPacket):
        RegistryCodec(silent).find(framed(1, b""))


def test_all_record_types_of_the_topics_are_registered_once(
    settings: Settings, registry: FakeRegistry
) -> None:
    """Registering twice changes nothing, and every subject is held to BACKWARD_TRANSITIVE."""
    file, client = TopicFile.load(), Registry(settings)
    assert {State.NEW} == {each.state for each in look(settings, file, client)}
    assert all(each.done for each in register(settings, file, client))
    again = register(settings, file, client)
    assert {(State.REGISTERED, False)} == {(each.state, each.done) for each in again}
    assert {"BACKWARD_TRANSITIVE"} == set(registry.levels.values())
    assert {each.subject for each in again} == set(registry.levels)


def test_what_cannot_read_the_registry_s_past_is_not_registered(
    settings: Settings, registry: FakeRegistry
) -> None:
    """A version that the current schema does not read is reported, and stays the newest."""
    other = {
        "type": "record", "name": "cascade.MarketData",
        "fields": [{"name": "bar", "type": "string"}],
    }  # fmt: skip
    registry.add(SUBJECT, json.dumps(other))
    found = {s.subject: s for s in register(settings, TopicFile.load(), Registry(settings))}
    assert State.INCOMPATIBLE is found[SUBJECT].state
    assert 1 == len(registry.subjects[SUBJECT])
