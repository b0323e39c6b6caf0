"""What the framework looks at: the newest records of the logs, and the broker's state."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.cascade.validation.reading import LogTails
from pipeline.control.log import KafkaControlLog
from pipeline.control.state import TradingStateMachine
from pipeline.errors import BrokerUnavailable
from pipeline.gateway.worker import GATEWAY_LOG
from pipeline.kafka_logging import ClientLog
from pipeline.packets.lanes import INGEST_TOPIC, INGEST_TOPICS
from pipeline.rules.context import BrokerState, CommandSeen, GroupState, TopicState
from pipeline.rules.windows import Logs
from pipeline.settings import Settings
from pipeline.stages.routes import ROUTES
from pipeline.topics import Action, TopicFile
from pipeline.topics import plan as plan_topics
from pipeline.transport.journal import LogSpec

__all__ = ["ClusterObserver", "Observer"]

_logger = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
_EXECUTION = "cascade.execution"
_COMMANDS_US = 3_600_000_000  # an hour: commands older than that were reported before
_SPECS: Mapping[str, LogSpec] = {
    **{stage: route.spec for stage, route in ROUTES.items()},
    "gateway": GATEWAY_LOG,
}


class Observer(Protocol):
    """Says what there is to validate."""

    def logs(self, newest: int) -> Logs:
        """Return the newest records, up to `newest` of each partition."""
        ...

    def broker(self, logs: Logs, now_us: int) -> BrokerState:
        """Return the broker's state.

        Args:
            logs: The newest records, for how many flows have ended.
            now_us: Now, microseconds since the Unix epoch, UTC.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class ClusterObserver:
    """Looks at a cascade on Kafka; from one thread at a time.

    Args:
        settings: Settings with a broker.
        file: The topics as they are to be; None: the project's own. Symbol-keyed topics may all
            have another partition count than the file says, since growth is a new namespace.
        open_limit_s: Within that many seconds a flow is to end.
    """

    def __init__(
        self, settings: Settings, file: TopicFile | None = None, *, open_limit_s: float = 30.0
    ) -> None:
        self._settings = settings
        self._file = file or TopicFile.load()
        self._open_limit_s = open_limit_s
        self._tails = LogTails(settings)
        self._admin = AdminClient(
            settings.client(client_id=settings.group("validation-admin")), logger=ClientLog(_logger)
        )
        self._control: KafkaControlLog | None = None
        self._machine = TradingStateMachine(settings.control_authors)
        self._commands: list[CommandSeen] = []

    def logs(self, newest: int) -> Logs:
        """Return the newest records; see `Observer.logs`.

        Raises:
            BrokerUnavailable: If they cannot be read in time.
            ConfigurationError: If a topic is missing.
        """
        return self._tails.read(newest)

    def broker(self, logs: Logs, now_us: int) -> BrokerState:
        """Return the broker's state; see `Observer.broker`.

        Raises:
            BrokerUnavailable: If it does not answer in time.
            PositionLost: If the control log has lost commands.
        """
        before_us = now_us - int(self._open_limit_s * 1e6)
        ended_before = self._tails.counts_before(before_us)
        self._follow_control()
        self._commands = [
            each for each in self._commands if each.appended_at >= now_us - _COMMANDS_US
        ]
        ends = self._ends()
        return BrokerState(
            topics=self._topics(),
            groups=self._groups(ends),
            commands=tuple(self._commands),
            trading_state=self._machine.trading_state if self._machine.epoch >= 0 else None,
            packets_in=sum(end for (topic, _), end in ends.items() if topic in INGEST_TOPICS),
            packets_in_before=ended_before,
            packets_out=_ended(logs),
            open_limit_s=self._open_limit_s,
        )

    def close(self) -> None:
        """Close the connections."""
        self._tails.close()
        if self._control is not None:
            self._control.close()
            self._control = None

    def _follow_control(self) -> None:
        """Read the control log up to where it ends now."""
        if self._control is None:
            self._control = KafkaControlLog(self._settings, "validation-control")
            self._machine = TradingStateMachine(self._settings.control_authors)
            self._commands = []
        end = self._control.end(_TIMEOUT_S)
        while self._control.next_epoch < end:
            entry = self._control.poll(_TIMEOUT_S)
            if entry is None:
                raise BrokerUnavailable(
                    f"Expected the control log up to {end}, was {self._control.next_epoch}"
                )
            command = entry.command
            self._machine.take(entry)
            kind, author = (None, "") if command is None else (command.kind, command.author)
            self._commands.append(CommandSeen(entry.epoch, kind, author, entry.appended_at))

    def _topics(self) -> Mapping[str, TopicState]:
        metadata = self._asked(lambda: self._admin.list_topics(timeout=_TIMEOUT_S)).topics
        market = metadata.get(self._settings.topic(INGEST_TOPIC))
        count = len(market.partitions) if market is not None else 0
        file = self._file.with_symbol_partitions(count) if count else self._file
        least = file.profile(self._settings.topic_profile).min_insync_replicas
        states = {}
        for change in plan_topics(self._settings, file):
            found = metadata.get(change.real)
            partitions = {} if found is None else found.partitions
            missing = change.action is Action.CREATE
            states[change.topic] = TopicState(
                difference="Expected it, was missing" if missing else change.detail,
                leaderless=tuple(n for n, each in partitions.items() if each.leader < 0),
                behind=tuple(n for n, each in partitions.items() if len(each.isrs) < least),
                partitions=len(partitions),
            )
        return states

    def _ends(self) -> Mapping[tuple[str, int], int]:
        """Return the end offset of each partition that a stage reads."""
        inputs = {topic for spec in _SPECS.values() for topic in spec.sources}
        metadata = self._asked(lambda: self._admin.list_topics(timeout=_TIMEOUT_S)).topics
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library forgot its types
        asked = {
            TopicPartition(real, partition): latest
            for real in map(self._settings.topic, sorted(inputs))
            for partition in (metadata[real].partitions if real in metadata else ())
        }
        futures = self._admin.list_offsets(asked, request_timeout=_TIMEOUT_S)
        return {
            (self._settings.plain_topic(place.topic), place.partition): int(
                self._asked(future.result).offset
            )
            for place, future in futures.items()
        }

    def _groups(self, ends: Mapping[tuple[str, int], int]) -> Mapping[str, GroupState | None]:
        names = {stage: self._settings.group(spec.group) for stage, spec in _SPECS.items()}
        described = self._admin.describe_consumer_groups(
            list(names.values()), request_timeout=_TIMEOUT_S
        )
        return {
            stage: GroupState(
                len(self._asked(described[group].result).members), self._lag(stage, group, ends)
            )
            for stage, group in names.items()
        }

    def _lag(self, stage: str, group: str, ends: Mapping[tuple[str, int], int]) -> int | None:
        """Return how many records wait for a stage; None where it has committed nothing."""
        asked = [ConsumerGroupTopicPartitions(group)]
        (future,) = self._admin.list_consumer_group_offsets(
            asked, request_timeout=_TIMEOUT_S
        ).values()
        found = self._asked(future.result).topic_partitions or []
        positions: dict[tuple[str, int], int] = {
            (self._settings.plain_topic(each.topic), each.partition): each.offset
            for each in found
            if each.offset >= 0
        }
        inputs = set(_SPECS[stage].sources)
        if not positions:
            return None
        return sum(
            max(0, end - positions.get(place, 0))
            for place, end in ends.items()
            if place[0] in inputs
        )

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Expected an answer of the broker at {self._settings.broker}, was:"
                f" {error.args[0].str()}"
            ) from error


def _ended(logs: Logs) -> int:
    """Return how many flows have ended: execution's log has a record for each, numbered from 0."""
    newest = {each.partition: each.journal.log_sequence for each in logs.of(_EXECUTION).records}
    return sum(sequence + 1 for sequence in newest.values())
