"""Rules for market data, checked before the first stage decides on it."""

from pipeline.errors import InvalidPacket
from pipeline.packets.identity import flow_id, packet_id
from pipeline.packets.models import MarketData

__all__ = ["check_market_data"]


def check_market_data(packet: MarketData) -> None:
    """Check that a bar is one and that the packet's identity and times fit together.

    Raises:
        InvalidPacket: Says which field, what was expected and what it was.
    """
    bar, envelope = packet.bar, packet.envelope
    lowest, highest = min(bar.open, bar.close), max(bar.open, bar.close)
    if not bar.low <= lowest <= highest <= bar.high:
        raise InvalidPacket(
            "Expected low <= open, close <= high,"
            f" was {bar.low}, {bar.open}, {bar.close}, {bar.high}",
            packet_id=envelope.packet_id,
        )
    # The source is part of the flow id, so the id must be the one that the content gives.
    expected = flow_id(envelope.source_system, envelope.symbol, envelope.sequence)
    if envelope.flow_id != expected or envelope.packet_id != packet_id(expected, "market"):
        raise InvalidPacket(
            f"Expected flow {expected} of {envelope.source_system}, {envelope.symbol},"
            f" {envelope.sequence}; was {envelope.flow_id}, packet {envelope.packet_id}",
            packet_id=envelope.packet_id,
        )
    if envelope.deadline < envelope.accepted_at:
        raise InvalidPacket(
            f"Expected a deadline after acceptance {envelope.accepted_at}, was {envelope.deadline}",
            packet_id=envelope.packet_id,
        )
