"""All guarantees at once: what was seen of a run, and each checker over it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from pipeline.packets.models import OrderEvent, RiskAssessment
from pipeline.packets.vocabulary import OrderEventKind
from pipeline.rules.oracle import flows, orders, reservations
from pipeline.rules.oracle import venue as venues
from pipeline.rules.oracle.reading import Accepted

__all__ = ["CHECKERS", "Checker", "Evidence", "Finding", "examine"]

_STAGES = ("strategic", "tactical", "risk", "execution")
# From the last look at the clock to the venue's own: a call between two processes of a busy
# machine. What ignores deadlines is late by far more.
_GRACE_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of a run that has come to rest: all that went in has been worked off.

    Attributes:
        market: Offsets of the ingest topics, by topic without namespace and partition.
        records: Records that count of each log, by topic without namespace.
        foreign: What stands in the logs that nobody can have written; see `LogReading.foreign`.
        venue: What the venue took; None where nobody could ask it.
    """

    market: Mapping[tuple[str, int], Collection[int]]
    records: Mapping[str, Sequence[Accepted]]
    foreign: Sequence[str] = ()
    venue: Sequence[venues.VenueFact] | None = None

    def of(self, stage: str) -> Sequence[Accepted]:
        """Return the records of a stage's log; `fills` for the gateway's."""
        return self.records.get(f"cascade.{stage}", ())


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation.

    Attributes:
        checker: Name of the checker that found it.
        text: What is wrong, and where.
        lost: Whether something that went in has no record, or no end.
        doubled: Whether something has two.
    """

    checker: str
    text: str
    lost: bool = False
    doubled: bool = False


@dataclass(frozen=True, slots=True)
class Checker:
    """One guarantee.

    Attributes:
        name: Short name.
        promise: What it checks, in a sentence.
        check: Returns the violations.
    """

    name: str
    promise: str
    check: Callable[[Evidence], list[str]]


def examine(evidence: Evidence) -> list[Finding]:
    """Return all violations of all guarantees."""
    return [
        Finding(
            each.name,
            text,
            lost=text.endswith((": no record", ": no end")),
            doubled=text.endswith((" records", " times", "planned twice", "after its end")),
        )
        for each in CHECKERS
        for text in each.check(evidence)
    ]


def _one_record(stage: str, evidence: Evidence) -> list[str]:
    inputs: dict[tuple[str, int], Collection[int]] = {}
    if stage == "strategic":
        inputs = dict(evidence.market)
    elif stage == "tactical":
        inputs = _offsets("strategic", evidence.of("strategic"))
    elif stage == "risk":
        ends = (each for each in evidence.of("fills") if not _announces(each))
        inputs = {**_offsets("tactical", evidence.of("tactical")), **_offsets("fills", ends)}
    else:
        packets = (r for r in evidence.of("risk") if isinstance(r.record, RiskAssessment))
        inputs = _offsets("risk", packets)
    return flows.one_record_per_input(inputs, evidence.of(stage))


def _offsets(stage: str, records: Iterable[Accepted]) -> dict[tuple[str, int], Collection[int]]:
    found: dict[tuple[str, int], list[int]] = {}
    for each in records:
        found.setdefault((f"cascade.{stage}", each.partition), []).append(each.offset)
    return dict(found)


def _announces(each: Accepted) -> bool:
    return isinstance(each.record, OrderEvent) and each.record.kind is OrderEventKind.SUBMITTING


def _by_the_rule(evidence: Evidence) -> list[str]:
    hops = (
        ("strategic", "tactical"),
        ("tactical", "risk"),
        ("fills", "risk"),
        ("risk", "execution"),
        ("execution", "fills"),
    )
    return [
        text
        for above, below in hops
        for text in flows.inputs_used_by_the_rule(
            f"cascade.{above}", evidence.of(above), evidence.of(below)
        )
    ]


def _in_order(evidence: Evidence) -> list[str]:
    return [
        f"{stage}{text}" for stage in _STAGES for text in flows.symbols_in_order(evidence.of(stage))
    ]


def _fates(evidence: Evidence) -> list[str]:
    return [
        text
        for above, below in pairwise(_STAGES)
        for text in flows.fates_stay(evidence.of(above), evidence.of(below))
    ]


def _add_up(evidence: Evidence) -> list[str]:
    return flows.outcomes_add_up(sum(map(len, evidence.market.values())), evidence.of("execution"))


def _approved(evidence: Evidence) -> list[str]:
    return orders.orders_are_approved(
        evidence.of("risk"), evidence.of("execution"), evidence.of("fills")
    )


def _bounded(evidence: Evidence) -> list[str]:
    return orders.orders_keep_to_their_bounds(evidence.of("risk"), evidence.of("execution"))


def _ends(evidence: Evidence) -> list[str]:
    return orders.one_end_per_flow(evidence.of("execution"), evidence.of("fills"))


def _sent_once(evidence: Evidence) -> list[str]:
    return venues.orders_are_sent_once(evidence.venue or ())


def _announced(evidence: Evidence) -> list[str]:
    return venues.orders_are_sent_as_announced(evidence.of("fills"), evidence.venue or ())


def _in_time(evidence: Evidence) -> list[str]:
    return [
        *orders.orders_are_announced_in_time(evidence.of("fills"), grace_us=_GRACE_US),
        *venues.orders_are_sent_in_time(
            evidence.of("fills"), evidence.venue or (), grace_us=_GRACE_US
        ),
    ]


def _results(evidence: Evidence) -> list[str]:
    if evidence.venue is None:
        return []
    return venues.results_are_the_venues(evidence.of("fills"), evidence.venue)


CHECKERS = (
    Checker("foreign", "each log is written by who opened its epochs", lambda e: list(e.foreign)),
    *(
        Checker(
            f"one-record-{name}", f"each input of {name} has one record", partial(_one_record, name)
        )
        for name in _STAGES
    ),
    Checker("fencing", "nothing was made from a record that does not count", _by_the_rule),
    Checker("order", "bars of a symbol and lane count in order", _in_order),
    Checker("fates", "an outcome, once sealed, stays", _fates),
    Checker("conservation", "packets in = sum of outcomes", _add_up),
    Checker("approval", "one approving decision before each order, ids of its own", _approved),
    Checker("bounds", "orders keep to side and quantity that risk approved", _bounded),
    Checker("ends", "each approved flow ends once, and last", _ends),
    Checker(
        "reservations",
        "reserved = open + released",
        lambda e: reservations.reservations_balance(e.of("risk")),
    ),
    Checker("sent-once", "the venue took each id once", _sent_once),
    Checker("announced", "the venue took only what was announced", _announced),
    Checker("deadline", "no order was announced or taken after its deadline", _in_time),
    Checker("reconciled", "the log books what the venue filled", _results),
)
"""One checker per guarantee; `examine` runs them all."""
