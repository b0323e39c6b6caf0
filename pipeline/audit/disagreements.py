"""Which of two records that do not agree was changed: the one that stands alone."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from pipeline.audit.findings import Finding, FindingKind
from pipeline.audit.hops import Disagreement
from pipeline.audit.ordering import Counted
from pipeline.packets.events import ValidationType

__all__ = ["Disagreements"]

_LAST: Final = frozenset({"cascade.execution"})


class Disagreements:
    """Gathers the disagreements of a flow and judges them once all of its records were read.

    Args:
        patience_s: How long a record may take to be read.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_ms = int(patience_s * 3000)
        self._flows: OrderedDict[str, list[Disagreement]] = OrderedDict()

    @property
    def waiting_since_ms(self) -> int | None:
        """When the oldest record was appended that is in dispute."""
        return min((_since(each) for each in self._flows.values()), default=None)

    def add(self, one: Disagreement) -> None:
        """Note a disagreement."""
        self._flows.setdefault(_flow(one.above) or _flow(one.below), []).append(one)

    def advance(self, read_until_ms: int) -> Iterator[Finding]:
        """Say that all appended before was taken; yield whom the others testify against."""
        for flow, disputes in list(self._flows.items()):
            if read_until_ms - _since(disputes) > self._patience_ms:
                del self._flows[flow]
                yield from _judged(flow, disputes)


def _judged(flow: str, disputes: list[Disagreement]) -> Iterator[Finding]:
    between = {each.below.key for each in disputes} & {each.above.key for each in disputes}
    for each in disputes:
        if each.above.key in between:
            continue  # named where it disagrees with what it was made from
        alone, other = _suspect(each, in_both=each.below.key in between)
        topic, partition, _, sequence = alone.key
        where = f"{topic}[{partition}]@{alone.entry.offset}"
        envelope = getattr(alone.record, "envelope", None)
        yield Finding(
            FindingKind.CORRUPTED, topic, partition, sequence, alone.entry.offset,
            f"{where}: expected the same in {each.above.entry.topic} and {each.below.entry.topic},"
            f" was {each.text}", flow, "" if envelope is None else envelope.packet_id,
            validation_type=ValidationType.DATA_INTEGRITY,
            also=None if other is None else (other.key[0], other.key[1], other.key[3]),
        )  # fmt: skip


def _suspect(each: Disagreement, *, in_both: bool) -> tuple[Counted, Counted | None]:
    """Return who stands alone, and who else it may be."""
    last = each.below.entry.topic in _LAST
    if in_both:
        return each.below, None
    if each.own:  # added there; whoever carries it on agrees with the other
        return each.above, each.below if last else None
    return each.below, None if last else each.above


def _since(disputes: list[Disagreement]) -> int:
    return min(each.above.entry.timestamp_ms for each in disputes)


def _flow(one: Counted) -> str:
    envelope = getattr(one.record, "envelope", None)
    return envelope.flow_id if envelope is not None else getattr(one.record, "flow_id", "")
