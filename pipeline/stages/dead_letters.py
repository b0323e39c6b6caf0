"""Dead letters: the bytes of an input unchanged, with headers that say why it is there."""

from typing import Any

from pipeline.packets.models import DeadLetter, Envelope, Outcome
from pipeline.stages.contract import Input

__all__ = ["HEADER_PREFIX", "dead_letter", "headers_of"]

HEADER_PREFIX = "__cascade.errors."


def dead_letter(
    each: Input, envelope: Envelope, outcome: Outcome, group: str
) -> tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Return (topic, key, value, headers) of the dead letter of an input.

    It is keyed by the input's coordinates, so that a letter written twice is seen to be one.
    """
    error_class = outcome.reasons[0] if outcome.reasons else "UNKNOWN"
    letter = DeadLetter(
        topic=each.topic,
        partition=each.partition,
        offset=each.offset,
        timestamp=each.timestamp_ms,
        group=group,
        stage=outcome.stage,
        error_class=error_class,
        message=outcome.detail or ", ".join(outcome.reasons),
        attempt=envelope.retry_count + 1,
        first_seen=each.received,
        packet_id=envelope.packet_id,
    )
    key = f"{each.topic}:{each.partition}:{each.offset}".encode()
    original_key = [] if each.key is None else [(f"{HEADER_PREFIX}key", each.key)]
    return f"{each.topic}.dead", key, each.value, [*headers_of(letter), *original_key]


def headers_of(letter: DeadLetter) -> list[tuple[str, bytes]]:
    """Return a dead letter as headers: its schema's fields behind `__cascade.errors.`, UTF-8."""
    fields: dict[str, Any] = {
        name: getattr(letter, attribute)
        for attribute, name in zip(
            letter.__struct_fields__, letter.__struct_encode_fields__, strict=True
        )
    }
    return [(HEADER_PREFIX + name, str(value).encode()) for name, value in fields.items()]
