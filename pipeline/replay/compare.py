"""Setting what was made again beside what was recorded: equal or not, in which fields, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, structs

from pipeline.packets.models import Envelope, PolicyStamp
from pipeline.replay.recompute import Made, Recorded
from pipeline.stages.contract import Input

__all__ = ["Agreement", "Cause", "FieldChange", "agreement", "cause_of", "changes", "summary"]

_MOST_FIELDS = 24
_HASH = 12


class Agreement(StrEnum):
    """How a record made again compares with the recorded one.

    Attributes:
        IDENTICAL: Byte for byte.
        SAME: The same in every field; the bytes are those of another schema version.
        RESTAMPED: The same decision, by a policy of another name, version or hash.
        DIFFERENT: Another decision.
    """

    IDENTICAL = "identical"
    SAME = "same"
    RESTAMPED = "restamped"
    DIFFERENT = "different"


class Cause(StrEnum):
    """Why a record comes out differently.

    Attributes:
        INPUT: Its input is not what it was decided on.
        CLOCK: It was decided at another time than it says, or under another clock.
        POLICY: Another policy decided: name, version or hash.
        BUILD: Settings that decide, or code outside the policy, are others.
        FAILURE: The policy failed on it then and does not now, or the reverse.
        STATE: None of these: the state is another than the one it was decided on.
    """

    INPUT = "input"
    CLOCK = "clock"
    POLICY = "policy"
    BUILD = "build"
    FAILURE = "failure"
    STATE = "state"


class FieldChange(NamedTuple):
    """A field that differs.

    Attributes:
        path: Names from the record down, with dots between.
        before: As recorded; None where there was none.
        after: As it comes out now.
    """

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class _Stamps:
    before: PolicyStamp | None
    after: PolicyStamp | None

    @property
    def differ(self) -> bool:
        return self.before is not None and self.after is not None and self.before != self.after


def agreement(recorded: Recorded, made: Made) -> Agreement:
    """Return how a record made again compares with the recorded one."""
    if made.value == recorded.entry.value:
        return Agreement.IDENTICAL
    if made.record is None:
        return Agreement.DIFFERENT
    if made.record == recorded.record:
        return Agreement.SAME
    if _without_stamp(made.record) == _without_stamp(recorded.record):
        return Agreement.RESTAMPED
    return Agreement.DIFFERENT


def _without_stamp(record: Any) -> Any:
    envelope: Envelope | None = getattr(record, "envelope", None)
    if envelope is None:
        return record
    return structs.replace(record, envelope=structs.replace(envelope, policy=None))


def changes(recorded: Recorded, made: Made) -> tuple[FieldChange, ...]:
    """Return the fields that differ, the policy's stamp left out; at most 24."""
    before = _plain(_without_stamp(recorded.record))
    after = {} if made.record is None else _plain(_without_stamp(made.record))
    found = []
    for change in _walk("", before, after):
        found.append(change)
        if len(found) == _MOST_FIELDS:
            break
    return tuple(found)


def _plain(record: Struct) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(record, str_keys=True)
    return content


def _walk(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _walk(f"{path}.{name}" if path else name, before.get(name), after.get(name))
    elif before != after:
        yield FieldChange(path, before, after)


def summary(record: Struct | None) -> str:
    """Return a record's decision in a few words: what was decided, and how the flow stands."""
    if record is None:
        return "no record"
    parts = []
    for name in ("execution", "risk", "tactical", "strategic"):
        part = getattr(record, name, None)
        if part is not None:
            parts.append(_decision(name, part))
            break
    envelope: Envelope | None = getattr(record, "envelope", None)
    if envelope is not None and (outcome := envelope.outcome) is not None:
        reasons = f" ({', '.join(outcome.reasons)})" if outcome.reasons else ""
        parts.append(f"{outcome.kind} by {outcome.stage}{reasons}")
    if envelope is None:
        parts.append(f"{type(record).__name__} of flow {getattr(record, 'flow_id', '')}")
    return ", ".join(parts) or "nothing decided"


def _decision(name: str, part: Any) -> str:
    if name == "execution":
        return f"{len(part.orders)} orders"
    if name == "risk":
        envelope = part.envelope
        size = f" {envelope.side} up to {envelope.max_quantity:g}" if envelope.max_quantity else ""
        reasons = f" ({', '.join(part.reasons)})" if part.reasons else ""
        return f"{part.verdict}{size}{reasons}"
    return f"{part.action} confidence {part.confidence:.3f}"


def cause_of(
    recorded: Recorded, given: Input, made: Made, again: Sequence[Made], build: str
) -> tuple[Cause, str]:
    """Return why a record comes out differently under the code and settings of now, and how.

    Args:
        recorded: The record.
        given: Its input as it was read now.
        made: What came out.
        again: What came out of further attempts under the same conditions.
        build: Hash of code and settings now.
    """
    stamps = _stamps(recorded, made)
    found = (
        (Cause.INPUT, _wrong_input(recorded, given)),
        (Cause.CLOCK, _wrong_clock(recorded, given)),
        (Cause.POLICY, f"was {_stamp(stamps.before)}, is {_stamp(stamps.after)}")
        if stamps.differ
        else (Cause.POLICY, ""),
        (Cause.BUILD, _wrong_build(recorded, build)),
        (Cause.FAILURE, _failure(recorded, made, again)),
    )
    return next((each for each in found if each[1]), (Cause.STATE, _state(recorded)))


def _wrong_input(recorded: Recorded, given: Input) -> str:
    envelope, above = recorded.envelope, getattr(given.packet, "envelope", None)
    if envelope is None or above is None:
        return ""
    if envelope.parent_id != above.packet_id:
        return f"expected packet {envelope.parent_id} at {recorded.source}, was {above.packet_id}"
    return ""


def _wrong_clock(recorded: Recorded, given: Input) -> str:
    if given.now == recorded.journal.now:
        return ""
    return (
        f"it was decided at {recorded.journal.now}; under the clock of these settings it would be"
        f" {given.now}"
    )


def _wrong_build(recorded: Recorded, build: str) -> str:
    if recorded.journal.build == build:
        return ""
    was = recorded.journal.build
    return f"was {was}, is {build}: other settings, or other code outside the policy"


def _failure(recorded: Recorded, made: Made, again: Sequence[Made]) -> str:
    if any(each.value != made.value for each in again):
        return "the policy gives another answer each time: it is not deterministic"
    if _failed(recorded.record) == _failed(made.record):
        return ""
    when = "then, and does not now" if _failed(recorded.record) else "now, and did not then"
    return f"the policy failed on it {when}"


def _stamps(recorded: Recorded, made: Made) -> _Stamps:
    envelopes = (recorded.envelope, getattr(made.record, "envelope", None))
    return _Stamps(*(each.policy if each is not None else None for each in envelopes))


def _stamp(stamp: PolicyStamp | None) -> str:
    if stamp is None:
        return "none"
    return f"{stamp.name} {stamp.version} {stamp.sha256[:_HASH]}"


def _failed(record: Any) -> bool:
    envelope: Envelope | None = getattr(record, "envelope", None)
    return (
        envelope is not None
        and envelope.outcome is not None
        and "POLICY_FAILED" in envelope.outcome.reasons
    )


def _state(recorded: Recorded) -> str:
    envelope, journal = recorded.envelope, recorded.journal
    policy = envelope.policy if envelope is not None else None
    if policy is not None and policy.state_sequence != journal.log_sequence - 1:
        return (
            f"it was decided on the state after record {policy.state_sequence}, and follows record"
            f" {journal.log_sequence - 1}"
        )
    return "the state that its log and snapshot give is not the one that it was decided on"
