"""Looking back: dead letters, and later the replay of logs."""

from pipeline.replay.dead_letters import (
    Coordinates,
    DeadLetters,
    DeadRecord,
    collect,
    dead_topics,
    letter_of,
    read_dead_letters,
)

__all__ = [
    "Coordinates",
    "DeadLetters",
    "DeadRecord",
    "collect",
    "dead_topics",
    "letter_of",
    "read_dead_letters",
]
