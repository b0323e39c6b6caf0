"""The rules in the path of each stage's worker, on a real Kafka."""

from typing import Any

import pytest
from confluent_kafka import Message, Producer
from msgspec.structs import replace

from pipeline.packets.codec import encode
from pipeline.packets.models import Marker
from pipeline.packets.vocabulary import Action, OutcomeKind
from pipeline.replay import collect
from pipeline.rules import oracle
from pipeline.settings import Settings
from pipeline.stages.fates import Fate
from pipeline.stages.routes import ROUTES
from tests.kafka_workers import StartWorker, read_log, read_topic, wait_until
from tests.unit.rules.real_packets import run

_PARTS = {"strategic": "bar", "tactical": "strategic", "risk": "tactical", "execution": "risk"}
_INPUTS = {
    "strategic": "cascade.market",
    "tactical": "cascade.strategic",
    "risk": "cascade.tactical",
    "execution": "cascade.risk",
}
_RULES = {
    "strategic": "data.market",
    "tactical": "superposition.strategic",
    "risk": "superposition.tactical",
    "execution": "security.reservation",
}


def _broken(packet: Any, part: str) -> Any:
    """Return a real packet with a decision that contradicts itself."""
    found = getattr(packet, part)
    if part == "bar":
        changed = replace(found, low=found.high + 1.0)
    elif part == "risk":
        changed = replace(found, reserved=found.reserved / 2)
    else:
        changed = replace(found, action=Action.SELL if found.action is Action.BUY else Action.BUY)
    return replace(packet, **{part: changed})


def _plant(settings: Settings, stage: str) -> list[bytes]:
    """Write three undecided real packets into a stage's input, the second broken."""
    topic, part = _INPUTS[stage], _PARTS[stage]
    found = [
        each
        for each in run()[topic.removeprefix("cascade.")]
        if getattr(each, part, None) is not None and each.envelope.outcome is None
    ]
    packets = [found[0], _broken(found[1], part), found[2]]
    values = []
    if stage != "strategic":  # its input is a log: a marker opens it, at offset 0
        values.append(encode(Marker("t", ROUTES[stage].stage, 0, "test", "test", 0)))
        packets = [
            replace(each, journal=replace(each.journal, epoch=0, log_sequence=sequence))
            for sequence, each in enumerate(packets)
        ]
    values += [encode(each) for each in packets]
    producer = Producer(settings.client(enable_idempotence=True))
    for value in values:
        producer.produce(settings.topic(topic), value, b"key", partition=0)
    assert 0 == producer.flush(30)
    return values


@pytest.mark.parametrize("stage", list(_INPUTS))
def test_a_packet_that_breaks_a_rule_is_dead_lettered(
    run_settings: Settings, start_worker: StartWorker, stage: str
) -> None:
    """In each stage it ends with cause validation and its bytes; those around it are decided."""
    settings = run_settings.model_copy(update={"clock": "event"})
    values = _plant(settings, stage)
    start_worker(stage, settings)

    def outcomes() -> list[Any]:
        records = oracle.accepted_records(read_log(settings, f"cascade.{stage}"))
        return [each.record.envelope.outcome for each in records]

    wait_until(lambda: len(outcomes()) >= 3, "three records")
    first, broken, last = outcomes()
    assert (OutcomeKind.DEAD_LETTERED, stage, (Fate.VALIDATION,)) == (
        broken.kind,
        broken.stage,
        broken.reasons,
    )
    for other in (first, last):
        assert other is None or other.kind is not OutcomeKind.DEAD_LETTERED
    letters: list[Message] = [
        each for found in read_topic(settings, f"{_INPUTS[stage]}.dead").values() for each in found
    ]
    (dead,) = collect(letters).records
    assert (values[-2], Fate.VALIDATION) == (dead.value, dead.letter.error_class)
    assert dead.letter.message.startswith(f"{_RULES[stage]}: Expected")
