"""The two lanes by which packets come in, each a topic of its own."""

from pipeline.packets.vocabulary import Priority

__all__ = ["INGEST_TOPIC", "INGEST_TOPICS", "PRIORITY_TOPIC", "ingest_topic", "is_urgent"]

INGEST_TOPIC = "cascade.market"
PRIORITY_TOPIC = "cascade.market.priority"
INGEST_TOPICS = (INGEST_TOPIC, PRIORITY_TOPIC)
"""Topics of both lanes, without namespace."""


def is_urgent(priority: int) -> bool:
    """Say whether packets of that priority overtake those of normal priority."""
    return priority > Priority.NORMAL


def ingest_topic(priority: int) -> str:
    """Return the topic that a packet of that priority goes to, without namespace."""
    return PRIORITY_TOPIC if is_urgent(priority) else INGEST_TOPIC
