"""The gateway's state: flows with records in the fills log that have not ended."""

from dataclasses import dataclass, field
from typing import cast

from msgspec import Struct

from pipeline.gateway.orders import FlowProgress
from pipeline.packets.codec import decode_as, encode
from pipeline.packets.models import OrderEvent
from pipeline.packets.vocabulary import FlowState
from pipeline.stages.views import pack, unpack

__all__ = ["GatewayFold", "GatewayState", "ends_flow"]


def ends_flow(record: Struct) -> bool:
    """Say whether a record of the fills log is the last one of its flow."""
    return cast(OrderEvent, record).flow_state is not FlowState.OPEN


@dataclass(slots=True)
class GatewayState:
    """Records of each open flow, in the order of the log."""

    flows: dict[str, list[OrderEvent]] = field(default_factory=dict)

    def progress(self, flow_id: str) -> FlowProgress:
        """Return how far a flow is."""
        return FlowProgress.fold(self.flows.get(flow_id, ()))


class GatewayFold:
    """Folds the fills log."""

    def initial(self) -> GatewayState:
        """Return the state before the first record."""
        return GatewayState()

    def apply(self, state: GatewayState, record: Struct) -> None:
        """Fold a record."""
        event = cast(OrderEvent, record)
        if ends_flow(event):
            state.flows.pop(event.flow_id, None)
        else:
            state.flows.setdefault(event.flow_id, []).append(event)

    def dump(self, state: GatewayState) -> bytes:
        """Return the state as bytes: the open flows' records."""
        events = [event for events in state.flows.values() for event in events]
        return pack(b"1", pack(*(encode(event) for event in events)), str(len(events)).encode())

    def load(self, data: bytes) -> GatewayState:
        """Return the state of `dump`."""
        _, packed, count = unpack(data, 3)
        state = GatewayState()
        if events := int(count):
            for value in unpack(packed, events):
                self.apply(state, decode_as(value, OrderEvent))
        return state
