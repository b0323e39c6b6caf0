"""Security events: they reach their topic whole, and never hold anybody up."""

import time

import pytest
from confluent_kafka import KafkaError

from pipeline.clock import WallClock
from pipeline.control.security_log import (
    TOPIC,
    UNKNOWN,
    SecurityLog,
    publish_security_event,
    security_event,
)
from pipeline.errors import BrokerUnavailable
from pipeline.packets.codec import decode
from pipeline.packets.events import SecurityEventKind
from pipeline.settings import Settings, load_settings
from tests.kafka_workers import as_bytes, read_topic


def test_an_event_stands_in_its_topic_when_the_call_returns(run_settings: Settings) -> None:
    """Kind, author, subject, detail and address come back as they were told."""
    event = publish_security_event(
        run_settings, SecurityEventKind.REFUSAL, author="mallory", subject="POST /halt",
        detail="role viewer", source_address="192.0.2.7",
    )  # fmt: skip

    (message,) = read_topic(run_settings, TOPIC)[0]
    assert event == decode(as_bytes(message.value()))
    assert ("mallory", "POST /halt", "role viewer", "192.0.2.7") == (
        event.author, event.subject, event.detail, event.source_address,
    )  # fmt: skip


def test_an_unreachable_broker_holds_nobody_up_and_is_told_of() -> None:
    """`tell` returns at once and says later that the event was lost; the other way raises."""
    nowhere = load_settings(broker="127.0.0.1:1")
    lost: list[KafkaError | None] = []
    log = SecurityLog(nowhere, timeout_s=1.0)

    began_s = time.monotonic()
    log.tell(SecurityEventKind.LOGIN, author="ann", subject="dashboard", delivered=lost.append)
    told_s = time.monotonic() - began_s
    log.flush()

    assert told_s < 1.0
    assert [False] == [each is None for each in lost]
    with pytest.raises(BrokerUnavailable, match="security event"):
        publish_security_event(
            nowhere, SecurityEventKind.LOGIN, author="ann", subject="dashboard", timeout_s=1.0
        )


def test_no_input_keeps_an_event_from_being_told() -> None:
    """What is too long is cut, and nobody is called unknown."""
    event = security_event(
        SecurityEventKind.LOGIN, author="", subject="s" * 9000, detail="d" * 9000,
        source_address="a" * 9000, clock=WallClock(),
    )  # fmt: skip

    assert (UNKNOWN, 4096, 4096, 128) == (
        event.author, len(event.subject), len(event.detail), len(event.source_address),
    )  # fmt: skip
