"""Looking back: flows, replays of logs, what-ifs, post-mortems, dead letters."""

from pipeline.replay.dead_letters import (
    Coordinates,
    DeadLetters,
    DeadRecord,
    collect,
    dead_topics,
    letter_of,
    read_dead_letters,
)
from pipeline.replay.redrive import MOST_ATTEMPTS, Origin, Redrive, Redriver, refusal
from pipeline.stages.dispositions import Disposition, DispositionKind

__all__ = [
    "MOST_ATTEMPTS",
    "Coordinates",
    "DeadLetters",
    "DeadRecord",
    "Disposition",
    "DispositionKind",
    "Origin",
    "Redrive",
    "Redriver",
    "collect",
    "dead_topics",
    "letter_of",
    "read_dead_letters",
    "refusal",
]
