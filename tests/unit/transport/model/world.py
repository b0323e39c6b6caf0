"""What the owners of the model meet: logs, snapshots, and producers that delay and lose."""

import json
from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random

from pipeline.errors import PositionLost
from pipeline.transport.log import START, InputPosition, Position

__all__ = [
    "Entry",
    "Faults",
    "Input",
    "Log",
    "Marker",
    "Memory",
    "Producer",
    "Raw",
    "Record",
    "Snapshots",
    "State",
]

_PRIME = 2_147_483_647
_CHUNKS = 3


@dataclass(frozen=True, slots=True)
class Marker:
    """Opens an epoch."""

    token: int


@dataclass(frozen=True, slots=True)
class Raw:
    """A record of an ingest topic, which is no log.

    A silent one needs no record downstream, others need one or several: `parts`.
    """

    key: int
    priority: int
    payload: int
    parts: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record of an output log, with its journal."""

    epoch: int
    sequence: int
    source: str
    offset: int
    input_epoch: int
    input_sequence: int
    resume: Position
    part: int
    parts: int
    key: int
    priority: int
    value: int
    now: int
    decision: int

    @property
    def last(self) -> bool:
        """Whether its input is worked off with it."""
        return self.part == self.parts - 1


Entry = Marker | Raw | Record


@dataclass(frozen=True, slots=True)
class Input:
    """What a stage makes of an entry: how many records it needs, none at all included."""

    offset: int
    epoch: int
    sequence: int
    key: int
    priority: int
    value: int
    parts: int

    @classmethod
    def of(cls, offset: int, entry: "Raw | Record") -> "Input":
        """Return the entry at `offset` as the next stage sees it."""
        if isinstance(entry, Raw):
            return cls(
                offset, -1, -1, entry.key, entry.priority, entry.payload, entry.parts
            )  # fmt: skip
        parts = (0, 0, 1, 1, 2)[entry.decision % 5]
        return cls(
            offset, entry.epoch, entry.sequence, entry.key, entry.priority, entry.decision, parts
        )  # fmt: skip


class Log:
    """One partition; entries before `start` are gone for its readers, never for the oracle."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self.start = 0

    def append(self, entry: Entry) -> int:
        """Add an entry; return its offset."""
        self.entries.append(entry)
        return len(self.entries) - 1

    def read(self, offset: int) -> Entry | None:
        """Return the entry at `offset`, None at the end of the log."""
        if offset < self.start:
            raise PositionLost(f"Expected offset {offset} in {self.name}, was from {self.start}")
        return self.entries[offset] if offset < len(self.entries) else None


State = tuple[int, int, int, dict[str, int]]


@dataclass(slots=True)
class Memory:
    """What an owner folds from its log: a state on which decisions depend, and positions."""

    sequence: int = -1
    total: int = 0
    digest: int = 1
    parts: dict[str, int] = field(default_factory=dict)
    positions: dict[str, InputPosition] = field(default_factory=dict)

    def decide(self, value: int, now: int) -> int:
        """Return the decision on an input, which no other history gives."""
        return (self.digest * 31 + self.total * 7 + self.sequence + value + now) % _PRIME

    def fold(self, record: Record) -> None:
        """Fold a record of the log."""
        self.sequence = record.sequence
        self.total += record.value
        self.digest = (self.digest * 33 + record.decision) % _PRIME
        known = self.positions.setdefault(record.source, InputPosition(START, set()))
        known.fold(record.offset, record.resume, finished=record.last)
        which = f"{record.source}@{record.offset}"
        if record.last:
            self.parts.pop(which, None)
        else:
            self.parts[which] = record.part + 1

    def next_part(self, source: str, offset: int) -> int:
        """Return the part that an input goes on with; a former owner may have begun it."""
        return self.parts.get(f"{source}@{offset}", 0)

    @property
    def state(self) -> State:
        """All but the positions."""
        return self.sequence, self.total, self.digest, dict(self.parts)

    def copy(self) -> "Memory":
        """Return an independent copy."""
        return Memory.load(self.dump())

    def dump(self) -> str:
        """Return all of it as text."""
        positions = {
            source: [at.position.offset, at.position.epoch, at.position.sequence, sorted(at.done)]
            for source, at in self.positions.items()
        }
        return json.dumps([self.sequence, self.total, self.digest, self.parts, positions])

    @classmethod
    def load(cls, text: str) -> "Memory":
        """Return what `text` is the dump of."""
        sequence, total, digest, parts, positions = json.loads(text)
        return cls(
            sequence,
            total,
            digest,
            parts,
            {
                source: InputPosition(Position(offset, epoch, last), set(done))
                for source, (offset, epoch, last, done) in positions.items()
            },
        )


@dataclass(frozen=True, slots=True)
class _Chunk:
    snapshot: int
    index: int
    position: Position
    text: str


class Snapshots:
    """The topic of a log's snapshots: chunks, several writers interleaved."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []

    @staticmethod
    def split(snapshot: int, position: Position, memory: Memory) -> list[_Chunk]:
        """Return the chunks to write, in order."""
        text = memory.dump()
        size = len(text) // _CHUNKS + 1
        return [
            _Chunk(snapshot, index, position, text[index * size : (index + 1) * size])
            for index in range(_CHUNKS)
        ]

    def append(self, chunk: _Chunk) -> None:
        """Write one chunk."""
        self._chunks.append(chunk)

    def complete(self) -> list[tuple[Position, Memory]]:
        """Return the snapshots that have their last chunk, by position."""
        gathered: dict[int, list[_Chunk]] = {}
        for chunk in self._chunks:
            gathered.setdefault(chunk.snapshot, []).append(chunk)
        whole = [parts for parts in gathered.values() if len(parts) == _CHUNKS]
        whole.sort(key=lambda parts: parts[0].position.offset)
        return [
            (parts[0].position, Memory.load("".join(part.text for part in parts)))
            for parts in whole
        ]

    def partial(self) -> int:
        """Return how many snapshots were left unfinished."""
        counts = Counter(chunk.snapshot for chunk in self._chunks)
        return sum(count < _CHUNKS for count in counts.values())


@dataclass(slots=True)
class Faults:
    """How often things go wrong, as probabilities; drawn anew for each seed."""

    lose: float
    silent: bool
    stall: float
    repeat: float
    reorder: float
    crash: float
    pause: float
    rebalance: float
    truncate: float

    @classmethod
    def draw(cls, random: Random) -> "Faults":
        """Return a mix in which some faults are absent and some frequent."""

        def some(*choices: float) -> float:
            return random.choice(choices)

        return cls(
            lose=some(0.0, 0.05, 0.15),
            silent=some(0.0, 0.0, 1.0) > 0,
            stall=some(0.02, 0.1, 0.25),
            repeat=some(0.0, 0.0, 0.05),
            reorder=some(0.0, 0.0, 0.05),
            crash=some(0.0, 0.05, 0.2),
            pause=some(0.05, 0.2, 0.4),
            rebalance=some(0.05, 0.15, 0.3),
            truncate=some(0.0, 0.05, 0.2),
        )

    @classmethod
    def none(cls) -> "Faults":
        """Return no faults at all, for the quiescent end."""
        return cls(0.0, False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Producer:
    """One incarnation of an owner's producer, with batches in flight.

    It outlives its owner: what was handed over before a crash or a drop may land at any time.
    """

    def __init__(self, log: Log, random: Random, seen: Counter[str]) -> None:
        self._log = log
        self._random = random
        self._seen = seen
        self._batches: deque[list[Marker | Record]] = deque()
        self._stalled = 0
        self._error_in: int | None = None
        self.failed = False
        self.abandoned = False
        self.acknowledged: dict[int, int] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing is in flight."""
        return not self._batches

    def send(self, entry: Marker | Record) -> None:
        """Hand an entry over; it joins the last batch or begins one."""
        if self._batches and self._random.random() < 0.5:
            self._batches[-1].append(entry)
        else:
            self._batches.append([entry])

    def abandon(self) -> None:
        """Forget the owner. What went out already may still land, the rest never does."""
        self.abandoned = True
        for _ in range(self._random.randint(0, len(self._batches))):
            self._batches.pop()

    def step(self, faults: Faults) -> None:
        """Let one thing happen to what is in flight."""
        self._report()
        if self._stalled > 0:
            self._stalled -= 1
        elif self._batches:
            self._deliver(faults)

    def _report(self) -> None:
        if self._error_in is not None:
            self._error_in -= 1
            self.failed = self.failed or self._error_in <= 0

    def _deliver(self, faults: Faults) -> None:
        draw = self._random.random
        if draw() < faults.stall:
            self._stalled = self._random.choice((5, 40, 150))
        elif draw() < faults.lose:
            self._batches.popleft()
            self._seen["lost batch"] += 1
            if not faults.silent:
                self._error_in = self._error_in or self._random.choice((1, 10, 100))
        elif len(self._batches) > 1 and draw() < faults.reorder:
            self._seen["reordered batch"] += 1
            self._batches.rotate(-1)
        else:
            self._land(self._batches[0])
            if draw() < faults.repeat:
                self._seen["repeated batch"] += 1
            else:
                self._batches.popleft()

    def _land(self, batch: list[Marker | Record]) -> None:
        for entry in batch:
            offset = self._log.append(entry)
            sequence = entry.sequence if isinstance(entry, Record) else -1
            self.acknowledged.setdefault(sequence, offset)
            if self.abandoned:
                self._seen["landed after its owner ended"] += 1
