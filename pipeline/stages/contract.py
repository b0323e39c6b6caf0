"""The stage contract: a stage is a pure fold from its inputs to one output log.

`decide` looks at the state and a round of inputs and yields, in order, what to record of each;
`apply` folds a record that stands in the log into the state. The engine calls `apply` for each
record before it asks `decide` for the next draft, so a stage whose decisions depend on one another
(risk) sees its own reservations, and a stage that works on the whole round at once (strategic,
tactical) may compute everything before its first yield. Recovery calls nothing but `apply`:
whatever changes the state must be in the record.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from pipeline.control.state import ControlView
from pipeline.control.trips import Trips
from pipeline.control.tripwire import Tripped
from pipeline.errors import PoisonError
from pipeline.packets.models import Outcome, PolicyStamp
from pipeline.packets.vocabulary import OutcomeKind

__all__ = ["CanTrip", "Context", "Draft", "HasPolicy", "Input", "Note", "StageLogic", "seal"]

State = TypeVar("State")


class Input(Struct, frozen=True, gc=False):
    """One record taken from an input partition.

    Attributes:
        topic: Topic without namespace.
        partition: Partition.
        offset: Offset.
        epoch: Epoch of the record in its log; -1 where the input is no log.
        sequence: Its log sequence; -1 where the input is no log.
        prior: (epoch, sequence) of the reading rule just before this record.
        timestamp_ms: Kafka's timestamp.
        received: When the worker took it from the broker, microseconds.
        now: Clock of the decision, microseconds.
        key: Key bytes, unchanged.
        value: Value bytes, unchanged.
        packet: The decoded packet; None where it could not be read.
        error: Why it could not be read.
        fate: The flow's outcome, sealed by an earlier stage or by the engine before `decide`
            (unreadable, misrouted, expired); None where the stage is to decide.
        parts: Bytes of the packet's parts, for records that carry them over unchanged.
    """

    topic: str
    partition: int
    offset: int
    epoch: int
    sequence: int
    prior: tuple[int, int]
    timestamp_ms: int
    received: int
    now: int
    key: bytes | None
    value: bytes | None
    packet: Any
    error: PoisonError | None
    fate: Outcome | None
    parts: Mapping[str, bytes] = {}


class Context(Struct, frozen=True, gc=False):
    """What a round is decided under, beside state and inputs."""

    control: ControlView
    state_sequence: int


class Draft(Struct, frozen=True, gc=False):
    """What to record of an input that carries a packet: a packet of this stage.

    The engine adds envelope, trace and journal, and carries over the decisions of earlier stages;
    the views that they mixed stay in their own logs.

    Attributes:
        parts: Fields of the stage's record that this stage adds, e.g. {"risk": Risk(...)}, and
            "views", the views that it mixed.
        outcome: The sealed fate, or None while the flow goes on.
        policy: Which policy decided; None where nobody did.
    """

    parts: Mapping[str, Any] = {}
    outcome: Outcome | None = None
    policy: PolicyStamp | None = None


class Note(Struct, frozen=True, gc=False):
    """A record without an envelope, e.g. a portfolio update: `model(journal=..., **fields)`."""

    model: type[Struct]
    fields: Mapping[str, Any]


class StageLogic(Protocol[State]):
    """The decisions of one stage."""

    @property
    def stage(self) -> str:
        """Name of the stage: strategic, tactical, risk, execution."""
        ...

    def initial(self) -> State:
        """Return the state before the first record."""
        ...

    def decide(
        self, state: State, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft | Note | None]:
        """Yield one item per input, in order; None where the input needs no record.

        Must not change `state`. For an input with a `fate` it yields `Draft(outcome=fate)`.
        """
        ...

    def apply(self, state: State, record: Any) -> None:
        """Fold a record of this stage's log into `state`; the only thing that changes it."""
        ...

    def dump(self, state: State) -> bytes:
        """Return `state` as bytes, for a snapshot; versioned."""
        ...

    def load(self, data: bytes) -> State:
        """Return the state that `data` is the dump of."""
        ...


@runtime_checkable
class CanTrip(Protocol):
    """A stage in whose state something can trip; see `pipeline.control.trips`."""

    def tripped(self, state: Any, trips: Trips) -> Iterator[Tripped]:
        """Yield what has tripped and was not reset since."""
        ...


@runtime_checkable
class HasPolicy(Protocol):
    """A stage that says by which policy it decides."""

    policy_sha256: str


def seal(kind: OutcomeKind, stage: str, *reasons: str, detail: str = "") -> Outcome:
    """Return the outcome that ends a flow at `stage`."""
    return Outcome(kind, stage, tuple(reasons), detail[:4000])
