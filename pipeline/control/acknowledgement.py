"""What a worker says on `cascade.coordination` about a command that it has taken.

It is a STATE_UPDATE to whoever gave the command, with the command's id as correlation id. A
command's result is what was acknowledged: that it stands in the log says nothing of the workers.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import msgspec

from pipeline.control.state import ControlView
from pipeline.documents import decoded
from pipeline.packets.events import CoordinationMessage, MessageType, TradingState

__all__ = ["TOPIC", "Acknowledgement"]

TOPIC = "cascade.coordination"
_SUBJECT = "control"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One worker's answer to one command.

    Attributes:
        command_id: The command.
        epoch: Its epoch.
        stage: Stage of the worker, `gateway` among them.
        worker: The worker, unique among all.
        trading_state: The state that the worker acts on from then on.
        isolated: Whether its stage is isolated from then on: nothing is worked off any more.
        refusal: Why the command does not count; empty where it does.
        time: When it was in force at the worker, microseconds since the Unix epoch, UTC.
    """

    command_id: str
    epoch: int
    stage: str
    worker: str
    trading_state: TradingState
    isolated: bool
    refusal: str
    time: int

    @classmethod
    def of(
        cls,
        command_id: str,
        epoch: int,
        refusal: str | None,
        *,
        stage: str,
        worker: str,
        view: ControlView,
        now_us: int,
    ) -> Self:
        """Return the answer of a worker that acts on `view`."""
        isolated = stage in view.fences.stages
        return cls(
            command_id, epoch, stage, worker, view.trading_state, isolated, refusal or "", now_us
        )

    def message(self) -> CoordinationMessage:
        """Return it as it goes over `cascade.coordination`."""
        return CoordinationMessage(
            message_id=f"{self.command_id}-{self.worker}",
            message_type=MessageType.STATE_UPDATE,
            sender_system=self.stage,
            recipient_system="operator",
            timestamp=self.time,
            payload=json.dumps({"subject": _SUBJECT, **asdict(self)}),
            priority=3,
            requires_response=False,
            response_timeout=0.0,
            correlation_id=self.command_id,
        )

    @classmethod
    def read(cls, message: CoordinationMessage) -> Self | None:
        """Return the answer that a message holds; None where it holds none."""
        if message.message_type is not MessageType.STATE_UPDATE:
            return None
        try:
            content = decoded(message.payload, dict[str, Any])
            if content.pop("subject", None) != _SUBJECT:
                return None
            return cls(**{**content, "trading_state": TradingState(content["trading_state"])})
        except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError):
            return None
