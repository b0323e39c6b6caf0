"""What the auditor can find wrong."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from pipeline.packets.events import ValidationLevel, ValidationType

__all__ = ["Finding", "FindingKind"]


class FindingKind(StrEnum):
    """What is wrong with a record, or with a flow.

    Attributes:
        CORRUPTED: It cannot be read, breaks a rule, or is not what the next stage read.
        MISSING: The log's own numbers, or what was made of it, say that it was there.
        DUPLICATED: It stands there twice.
        REORDERED: It stands behind one that was written after it.
        DELAYED: Likewise, and came more than a moment later.
        FOREIGN: No owner of the log can have written it.
        UNANSWERED: The next stage went on past it without a record.
        UNSOURCED: It was made from a record that does not count, or that there is not.
        FATE: An outcome, once sealed, was changed.
        ORDER: An order without approval, beyond its bounds, unannounced, late, or twice.
        END: An approved flow ended twice, or went on after its end.
        RESERVATION: More was released than reserved, or something was not.
        CONSERVATION: What went in is not the sum of outcomes and what is under way.
        CHAIN: The audit log itself is not as it was written.
    """

    CORRUPTED = "corrupted"
    MISSING = "missing"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    DELAYED = "delayed"
    FOREIGN = "foreign"
    UNANSWERED = "unanswered"
    UNSOURCED = "unsourced"
    FATE = "fate"
    ORDER = "order"
    END = "end"
    RESERVATION = "reservation"
    CONSERVATION = "conservation"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, named.

    Attributes:
        kind: What.
        topic: Topic without namespace.
        partition: Its partition.
        sequence: Log sequence of the record in an output log; -1 where it has none.
        offset: Where it stands, or where it was noticed that it does not.
        text: What was expected and what it was.
        flow_id: The flow; empty where nobody can tell.
        packet_id: The packet; empty where it is none.
        rule_id: The validation rule that it breaks; empty where it is none.
        validation_type: What was validated.
        also: Where else the fault may lie, where two records differ and nobody can tell which is
            right: (topic, partition, sequence).
    """

    kind: FindingKind
    topic: str
    partition: int
    sequence: int
    offset: int
    text: str
    flow_id: str = ""
    packet_id: str = ""
    rule_id: str = ""
    validation_type: ValidationType = ValidationType.FLOW_CONTINUITY
    also: tuple[str, int, int] | None = None

    @property
    def level(self) -> ValidationLevel:
        """How bad it is: what bears on money is critical."""
        grave = {FindingKind.ORDER, FindingKind.RESERVATION, FindingKind.FOREIGN, FindingKind.CHAIN}
        return ValidationLevel.CRITICAL if self.kind in grave else ValidationLevel.ERROR

    @property
    def identity(self) -> str:
        """The same for the same fault, whoever finds it how often: 32 hex digits."""
        place = self.sequence if self.sequence >= 0 else f"@{self.offset}"
        said = f"{self.kind} {self.topic}[{self.partition}] {place} {self.flow_id} {self.rule_id}"
        return hashlib.sha256(said.encode()).hexdigest()[:32]
