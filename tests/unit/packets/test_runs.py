"""Runs: one record for many packets, from which each can be told again."""

from msgspec.structs import replace

from pipeline.packets.codec import decode, encode
from pipeline.packets.models import Envelope, Journal, StrategicSignal
from pipeline.packets.runs import outcome_of_run, packets_of, run_of, unrolled
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.contract import seal
from tests.unit.stages.engine_factories import MARKET, NOW, market_data

JOURNAL = Journal(0, 0, MARKET, 0, 9, -1, -1, 10, -1, -1, NOW, 0, "owner", "build")
SHED = seal(OutcomeKind.SHED, "strategic", "OVERLOAD", detail="late")


def record(count: int = 3) -> StrategicSignal:
    """Return the record of a run of so many packets."""
    packets = [market_data(f"S{n}", n, accepted_at=NOW + n) for n in range(count)]
    outcome = outcome_of_run(SHED, list(enumerate(packets, 10 - count)))
    envelope = replace(packets[-1].envelope, source_system="strategic", outcome=outcome)
    return StrategicSignal(JOURNAL, envelope)


def test_each_packet_of_a_run_can_be_told_again() -> None:
    """Who it was, when it was accepted, its bar and its fate; the way through the wire included."""
    found = list(unrolled(decode(encode(record()))))
    assert [market_data(f"S{n}", n).envelope.flow_id for n in range(3)] == [
        each.envelope.flow_id for each in found
    ]
    assert [(f"S{n}", n, NOW + n) for n in range(3)] == [
        (each.envelope.symbol, each.envelope.sequence, each.envelope.accepted_at) for each in found
    ]
    assert [market_data().bar] * 3 == [each.bar for each in found]
    assert [SHED] * 3 == [each.envelope.outcome for each in found]
    assert ["-strategic"] * 3 == [each.envelope.packet_id[-10:] for each in found]


def test_a_run_names_its_range_and_counts_its_packets() -> None:
    """The offsets are those of the input partition."""
    found = run_of(record())
    assert found is not None
    assert (7, 9, 3) == (found.first_offset, found.last_offset, packets_of(record()))


def test_other_records_are_themselves() -> None:
    """A packet's own record stands for one packet, and is yielded as it is."""
    envelope: Envelope = replace(market_data().envelope, outcome=SHED)
    alone = StrategicSignal(JOURNAL, envelope)
    assert [alone] == list(unrolled(alone))
    assert (1, None) == (packets_of(alone), run_of(alone))
