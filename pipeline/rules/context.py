"""What rules look at: a packet, the newest records of the logs, the state of the broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.packets.events import ControlKind, TradingState
from pipeline.rules.windows import Logs
from pipeline.settings import Settings

__all__ = ["BrokerState", "CommandSeen", "GroupState", "TopicState", "ValidationContext"]


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic, as it is on the broker against `topics.yaml`.

    Attributes:
        difference: What differs from the file, for people; empty where nothing does.
        leaderless: Partitions without a leader.
        behind: Partitions with fewer replicas in sync than the file's profile asks for.
        partitions: How many there are; 0 where the topic is missing.
    """

    difference: str = ""
    leaderless: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class GroupState:
    """The consumer group of a stage.

    Attributes:
        members: Workers in it.
        lag: Records that wait for it, over all its partitions; None where nobody can tell.
    """

    members: int
    lag: int | None


@dataclass(frozen=True, slots=True)
class CommandSeen:
    """A control command.

    Attributes:
        epoch: Its offset in the control log.
        kind: What it does; None where it cannot be read.
        author: Who says to have given it.
        appended_at: When the broker took it, microseconds since the Unix epoch, UTC.
    """

    epoch: int
    kind: ControlKind | None
    author: str
    appended_at: int


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What the broker says, beside the records of the logs.

    Attributes:
        topics: Topics of `topics.yaml`, by name without namespace.
        groups: Consumer groups by stage; None in place of one that there is not.
        commands: The newest control commands, in order.
        trading_state: What the control log amounts to; None where it is empty.
        packets_in: Packets in the ingest topic, ever.
        packets_in_before: Of these, how many were there `open_limit_s` ago.
        packets_out: Records of execution's log that count, ever: one per packet that has ended.
        open_limit_s: Within that many seconds a flow is to end.
    """

    topics: Mapping[str, TopicState] = field(default_factory=dict)
    groups: Mapping[str, GroupState | None] = field(default_factory=dict)
    commands: tuple[CommandSeen, ...] = ()
    trading_state: TradingState | None = None
    packets_in: int = 0
    packets_in_before: int = 0
    packets_out: int = 0
    open_limit_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ValidationContext:
    """What there is to look at.

    Attributes:
        settings: The settings that the cascade is to run under.
        now_us: Now, microseconds since the Unix epoch, UTC; 0 in a stage's path, where what comes
            of a packet must not depend on when it is looked at.
        packet: The packet, where one is validated.
        logs: The newest records of all logs, in a comprehensive validation.
        broker: The broker's state, in a deep one.
        deep: Whether this is a deep validation.
    """

    settings: Settings
    now_us: int
    packet: Any = None
    logs: Logs | None = None
    broker: BrokerState | None = None
    deep: bool = False
