"""Packets on their way that somebody reports by hand; pure."""

from collections import OrderedDict

from msgspec import structs

from pipeline.errors import UsageError
from pipeline.watch.traces import PacketTrace, SystemTimes, TraceSource, flow_of

__all__ = ["Tracker"]

_MOST_SYSTEMS = 32


class Tracker:
    """Follows packets from start to completion.

    Times are those of the calls. Waiting is the time from the exit of the system before to the
    entry: what of it was transport, nobody noted.

    Args:
        most: Most packets under way; the oldest makes room, and counts as dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: OrderedDict[str, PacketTrace] = OrderedDict()
        self._systems: set[str] = set()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._open)

    def start(self, packet_id: str, now_us: int) -> None:
        """Note that a packet sets out; a second start of one under way begins it anew."""
        flow = flow_of(packet_id)
        self._open[flow] = PacketTrace(flow, TraceSource.MANUAL, now_us)
        self._open.move_to_end(flow)
        while len(self._open) > self._most:
            self._open.popitem(last=False)
            self.dropped += 1

    def enter(self, packet_id: str, system: str, now_us: int) -> None:
        """Note that a system begins with a packet.

        Raises:
            UsageError: If the packet is not under way, is still in another system, or there would
                be too many systems.
        """
        trace = self._known(packet_id)
        if trace.systems and trace.systems[-1].finished is None:
            raise UsageError(
                f"Expected packet {packet_id} to have left {trace.systems[-1].system} before it"
                f" enters {system}, was not; call track_system_exit first"
            )
        if system not in self._systems and len(self._systems) >= _MOST_SYSTEMS:
            raise UsageError(
                f"Expected at most {_MOST_SYSTEMS} systems, was {system!r} beside them"
            )
        self._systems.add(system)
        before = trace.systems[-1].finished if trace.systems else None
        times = SystemTimes(system, before or trace.began, None, now_us, None)
        self._open[trace.flow_id] = trace.with_system(times)

    def leave(
        self, packet_id: str, system: str, now_us: int, *, success: bool, error: str = ""
    ) -> None:
        """Note that a system is done with a packet.

        Raises:
            UsageError: If the packet is not in that system.
        """
        trace = self._known(packet_id)
        within = trace.systems[-1] if trace.systems else None
        if within is None or within.finished is not None or within.system != system:
            raise UsageError(
                f"Expected packet {packet_id} in {system}, was not; call track_system_entry first"
            )
        times = structs.replace(within, finished=now_us, success=success, error=error)
        self._open[trace.flow_id] = trace.with_system(times)

    def complete(self, packet_id: str, now_us: int, *, success: bool) -> PacketTrace:
        """Note the end of a packet, and return its trace.

        A system that it has not left counts as left now, with the packet's success.

        Raises:
            UsageError: If the packet is not under way.
        """
        trace = self._known(packet_id)
        within = trace.systems[-1] if trace.systems else None
        if within is not None and within.finished is None:
            trace = trace.with_system(structs.replace(within, finished=now_us, success=success))
        del self._open[trace.flow_id]
        sealed_by = next((each.system for each in trace.systems if each.success is False), "")
        return structs.replace(trace, ended=now_us, success=success, sealed_by=sealed_by)

    def trace(self, packet_id: str) -> PacketTrace | None:
        """Return the trace so far of a packet under way; None where there is none."""
        return self._open.get(flow_of(packet_id))

    def oldest_age_s(self, now_us: int) -> float | None:
        """Return for how long the oldest packet has been under way, seconds; None without any."""
        if not self._open:
            return None
        return max(0, now_us - min(trace.began for trace in self._open.values())) / 1_000_000

    def _known(self, packet_id: str) -> PacketTrace:
        trace = self._open.get(flow_of(packet_id))
        if trace is None:
            raise UsageError(
                f"Expected a packet under way, was {packet_id!r}; call track_packet_start first"
            )
        return trace
