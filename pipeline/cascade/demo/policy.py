"""A user's policy that takes the place of the tactical agents, in ten lines.

It buys after a bar that closed above its open and sells after one that closed below, unless the
strategic stage leans the other way.
"""

from pipeline.packets.models import StrategicSignal

__all__ = ["SURE", "follow_the_bar"]

SURE = 0.8


def follow_the_bar(packet: StrategicSignal) -> dict[str, float] | None:
    """Return how likely each action is; None, which means hold, where it has no opinion."""
    if packet.bar is None or packet.strategic is None:
        return None
    rising = packet.bar.close >= packet.bar.open
    lean = packet.strategic.signal_strength
    if lean < 0.0 if rising else lean > 0.0:
        return None
    return {"BUY" if rising else "SELL": SURE, "HOLD": 1.0 - SURE}
