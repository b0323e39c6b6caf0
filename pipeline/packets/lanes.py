"""The two lanes by which packets come in, each a topic of its own."""

from pipeline.packets.vocabulary import Priority

__all__ = ["INGEST_TOPIC", "INGEST_TOPICS", "PRIORITY_TOPIC", "ingest_topic"]

INGEST_TOPIC = "cascade.market"
PRIORITY_TOPIC = "cascade.market.priority"
INGEST_TOPICS = (INGEST_TOPIC, PRIORITY_TOPIC)
"""Topics of both lanes, without namespace."""


def ingest_topic(priority: int) -> str:
    """Return the topic that a packet of that priority goes to, without namespace."""
    return INGEST_TOPIC if priority == Priority.NORMAL else PRIORITY_TOPIC
