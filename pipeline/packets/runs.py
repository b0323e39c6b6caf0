"""Runs: records that stand for several packets which ended alike.

Past capacity even a record for each packet that is shed may be too much. Neighbours that ended
alike then share one: its envelope is the last one's, its outcome carries all of them, each with its
bar. So no window has a gap, every flow is still accounted for, and each stage hands a run on as it
does any other packet whose fate is sealed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from pipeline.packets import identity
from pipeline.packets.models import Envelope, Outcome, PacketRun, RunPacket

__all__ = ["outcome_of_run", "packets_of", "run_of", "unrolled"]


def run_of(record: Any) -> PacketRun | None:
    """Return the run that a record stands for; None where it stands for one packet, or for none."""
    envelope: Envelope | None = getattr(record, "envelope", None)
    outcome = envelope.outcome if envelope is not None else None
    return outcome.run if outcome is not None else None


def packets_of(record: Any) -> int:
    """Return how many packets a record of a stage's log stands for."""
    run = run_of(record)
    return 1 if run is None else len(run.packets)


def outcome_of_run(outcome: Outcome, packets: Sequence[tuple[int, Any]]) -> Outcome:
    """Return the outcome of a run.

    Args:
        outcome: That of each of its packets.
        packets: Each with its offset, in order; the packets have an envelope and a bar.
    """
    members = tuple(
        RunPacket(
            offset, each.envelope.flow_id, each.envelope.symbol, each.envelope.sequence,
            each.envelope.event_time, each.envelope.accepted_at, each.envelope.deadline, each.bar,
        )
        for offset, each in packets
    )  # fmt: skip
    return replace(outcome, run=PacketRun(members[0].offset, members[-1].offset, members))


def unrolled(record: Any) -> Iterator[Any]:
    """Yield a stage's record as often as it stands for packets, each time as that packet's own.

    All but a run is yielded as it is. Journal and trace are those of the whole run.
    """
    run = run_of(record)
    if run is None:
        yield record
        return
    above: Envelope = record.envelope
    outcome: Any = above.outcome  # it has the run
    alone = replace(outcome, run=None)
    for each in run.packets:
        envelope = replace(
            above,
            flow_id=each.flow_id,
            packet_id=identity.packet_id(each.flow_id, above.source_system),
            parent_id="",
            symbol=each.symbol,
            sequence=each.sequence,
            event_time=each.event_time,
            accepted_at=each.accepted_at,
            deadline=each.deadline,
            outcome=alone,
        )
        yield replace(record, envelope=envelope, bar=each.bar)
