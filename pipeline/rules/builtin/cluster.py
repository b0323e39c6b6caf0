"""Rules about the broker's state: topics, replicas, groups, lag, commands, conservation."""

from collections.abc import Iterator

from pipeline.packets.events import ControlKind, TradingState, ValidationLevel, ValidationType
from pipeline.rules.context import BrokerState, ValidationContext
from pipeline.rules.model import Need, NoData, ValidationResult, ValidationRule, rule

__all__ = ["CLUSTER_RULES"]

_T = ValidationType
_SIGNED = frozenset({ControlKind.BOOTSTRAP, ControlKind.RESUME, ControlKind.RESET})


def _broker(context: ValidationContext) -> BrokerState:
    if context.broker is None:
        raise NoData("Expected the broker's state, was none")
    return context.broker


@rule(
    "flow.conservation",
    _T.FLOW_CONTINUITY,
    needs=Need.BROKER,
    deep=True,
    remediation=(
        "See which stage does not go on: `cascade status`; the backlog stays in Kafka.",
        "If more ended than went in, halt trading and keep the logs.",
    ),
)
def conservation(context: ValidationContext) -> Iterator[ValidationResult]:
    """Packets in = sum of outcomes, less those that may still be on their way."""
    state = _broker(context)
    if not state.packets_in:
        raise NoData("Expected packets in the ingest topic, was none")
    if state.packets_out > state.packets_in:
        yield conservation.finding(
            f"Expected at most {state.packets_in} flows to end, was {state.packets_out}",
            level=ValidationLevel.CRITICAL,
        )
    if state.packets_out < state.packets_in_before:
        late = state.packets_in_before - state.packets_out
        yield conservation.finding(
            f"Expected all flows to end within {state.open_limit_s:g} s, was {late} still open",
            details={"packets_in": state.packets_in, "packets_out": state.packets_out},
        )


@rule(
    "connectivity.replicas",
    _T.SYSTEM_CONNECTIVITY,
    needs=Need.BROKER,
    deep=True,
    level=ValidationLevel.CRITICAL,
    remediation=("Bring the missing brokers back; until then acknowledged records may be lost.",),
)
def replicas(context: ValidationContext) -> Iterator[str]:
    """Each partition has a leader, and as many replicas in sync as its profile asks for."""
    topics = _broker(context).topics
    if not topics:
        raise NoData("Expected topics, was none")
    for name, topic in topics.items():
        if topic.leaderless:
            yield f"Expected leaders of {name}, was none of {list(topic.leaderless)}"
        if topic.behind:
            yield f"Expected replicas of {name} in sync, was behind in {list(topic.behind)}"


class Members(ValidationRule):
    """Each stage and the gateway has a worker in its group."""

    rule_id = "connectivity.members"
    rule_name = "Each stage and the gateway has a worker"
    validation_type = _T.SYSTEM_CONNECTIVITY
    needs = Need.BROKER
    deep = True
    remediation = ("Start the missing worker: `cascade run STAGE`.",)

    def validate(self, context: ValidationContext) -> list[ValidationResult] | None:
        """Return a finding per stage without a worker."""
        groups = _broker(context).groups
        if not groups:
            raise NoData("Expected consumer groups to have been asked for, was none")
        return [
            self.finding(f"Expected a worker of {stage}, was none", system_id=stage)
            for stage, group in groups.items()
            if group is None or not group.members
        ]


class Lag(ValidationRule):
    """Few records wait: warning from 500, error from 800, critical from 1000."""

    rule_id = "connectivity.lag"
    rule_name = "Fewer than 500 records wait for each stage"
    validation_type = _T.SYSTEM_CONNECTIVITY
    needs = Need.BROKER
    deep = True
    remediation = (
        "Add workers up to the partition count.",
        "Look whether the stage is isolated or trading is halted: `cascade status`.",
    )
    steps = (
        (1000, ValidationLevel.CRITICAL),
        (800, ValidationLevel.ERROR),
        (500, ValidationLevel.WARNING),
    )

    def validate(self, context: ValidationContext) -> list[ValidationResult] | None:
        """Return a finding per stage above a threshold."""
        lags = {
            stage: group.lag
            for stage, group in _broker(context).groups.items()
            if group is not None and group.lag is not None
        }
        if not lags:
            raise NoData("Expected committed positions of the groups, was none")
        found = []
        for stage, lag in lags.items():
            for limit, level in self.steps:
                if lag >= limit:
                    text = f"Expected fewer than {limit} records to wait for {stage}, was {lag}"
                    found.append(self.finding(text, level=level, system_id=stage))
                    break
        return found


@rule(
    "security.commands",
    _T.SECURITY_VALIDATION,
    needs=Need.BROKER,
    deep=True,
    level=ValidationLevel.CRITICAL,
    remediation=(
        "Find out who wrote it: only operators may write to cascade.control (ACLs of topics.yaml).",
    ),
)
def commands(context: ValidationContext) -> Iterator[str]:
    """Who bootstraps or resumes trading may do so, and each command can be read."""
    seen = _broker(context).commands
    if not seen:
        raise NoData("Expected control commands, was none")
    authors = context.settings.control_authors
    for command in seen:
        if command.kind is None:
            yield f"Expected a command at epoch {command.epoch}, was unreadable"
        elif command.kind in _SIGNED and command.author not in authors:
            yield (
                f"Expected {command.kind} at epoch {command.epoch} by one of {list(authors)},"
                f" was {command.author}"
            )


@rule(
    "configuration.topics",
    _T.CONFIGURATION_VALIDATION,
    needs=Need.BROKER,
    deep=True,
    remediation=(
        "See what differs: `cascade topics diff`; or change topics.yaml on purpose.",
        "Create what is missing and set back what was changed by hand: `cascade topics apply`.",
    ),
)
def topics(context: ValidationContext) -> Iterator[str]:
    """The topics on the broker are those of topics.yaml."""
    found = _broker(context).topics
    if not found:
        raise NoData("Expected topics, was none")
    for name, topic in found.items():
        if topic.difference:
            yield f"{name}: {topic.difference}"


@rule(
    "configuration.trading",
    _T.CONFIGURATION_VALIDATION,
    needs=Need.BROKER,
    deep=True,
    level=ValidationLevel.WARNING,
    remediation=(
        "Allow trading once: `cascade control bootstrap`.",
        "If it was halted, see why before it is resumed: `cascade control status`.",
    ),
)
def trading(context: ValidationContext) -> list[str]:
    """Trading was bootstrapped and is active."""
    state = _broker(context).trading_state
    if state is None:
        return ["Expected trading to be bootstrapped, was never; so it is HALTED"]
    return [] if state is TradingState.ACTIVE else [f"Expected trading to be ACTIVE, was {state}"]


CLUSTER_RULES: tuple[ValidationRule, ...] = (
    conservation,
    replicas,
    Members(),
    Lag(),
    commands,
    topics,
    trading,
)
"""Rules about the broker's state."""
