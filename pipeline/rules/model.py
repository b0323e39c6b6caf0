"""Rules and what they find.

A rule looks at a `ValidationContext` and returns what it found wrong. There are three ways to write
one:

    class NoPennyStocks(ValidationRule):          # a subclass
        rule_id = "house.pennies"
        validation_type = ValidationType.DATA_INTEGRITY
        needs = Need.PACKET

        def validate(self, context):
            price = context.packet.bar.close
            return [] if price >= 1 else [self.finding(f"Expected a price of 1, was {price}")]

    @packet_rule("house.pennies", ValidationType.DATA_INTEGRITY, looks_at=("bar",))
    def no_penny_stocks(packet):                  # a function of one packet
        price = packet.bar.close
        return None if price >= 1 else f"Expected a price of 1, was {price}"

    @rule("house.quiet", ValidationType.PERFORMANCE_COMPLIANCE, needs=Need.BROKER)
    def quiet(context):                           # a function of the whole context
        return [f"{name} is idle" for name in idle_groups(context.broker)]

An empty list says that the rule looked and found nothing: it passed. A rule that had nothing to
look at raises `NoData` (or returns None from `validate`), and counts neither as passed nor failed.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, final

from msgspec import Struct

from pipeline.errors import PipelineError
from pipeline.packets.events import ValidationLevel, ValidationType
from pipeline.rules.checks import RECORD_STAGES
from pipeline.rules.context import ValidationContext

__all__ = [
    "Need",
    "NoData",
    "PacketRule",
    "ValidationResult",
    "ValidationRule",
    "packet_rule",
    "rank",
    "rule",
    "system_of",
]

_LEVELS = tuple(ValidationLevel)


class Need(StrEnum):
    """What a rule looks at; it is only asked where that is there.

    Attributes:
        ANYTHING: Whatever there is: asked about each packet handed in, and once in a comprehensive
            validation.
        PACKET: `context.packet`, one at a time.
        LOGS: `context.logs`, the newest records of all logs.
        BROKER: `context.broker`, deep validations only.
    """

    ANYTHING = "anything"
    PACKET = "packet"
    LOGS = "logs"
    BROKER = "broker"


class NoData(PipelineError):
    """A rule had nothing to look at; says what was missing."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What a rule found, or that it found nothing.

    Attributes:
        rule_id: The rule.
        validation_type: Its type.
        level: INFO where the rule passed.
        message: What was expected and what it was.
        system_id: System concerned; empty where it is the cascade as a whole.
        packet_id: Packet concerned; empty where it is none.
        details: More, as plain values.
        remediation_steps: What to do about it.
        validation_id: Identifier of this result.
        timestamp: When, microseconds since the Unix epoch, UTC.
    """

    rule_id: str
    validation_type: ValidationType
    level: ValidationLevel
    message: str
    system_id: str = ""
    packet_id: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    remediation_steps: tuple[str, ...] = ()
    validation_id: str = ""
    timestamp: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong: the level is INFO."""
        return self.level is ValidationLevel.INFO


class ValidationRule:
    """A rule; subclass it and write `validate`. The attributes may be set on class or instance.

    Args:
        rule_id: Identifier, `family.name`; None: that of the class.
        rule_name: Its promise in a few words; None: that of the class.
        validation_type: What it validates; None: that of the class.
        enabled: Whether it is asked at all; None: as the class says.

    Attributes:
        level: How bad a finding is, unless the finding says otherwise.
        needs: What it looks at.
        deep: Whether it is asked in deep validations only.
        in_path: Whether the stages ask it about each packet before they decide; such a rule needs
            no more than the packet, and costs every packet its time.
        remediation: What to do about a finding.
    """

    rule_id: str = ""
    rule_name: str = ""
    validation_type: ValidationType = ValidationType.DATA_INTEGRITY
    enabled: bool = True
    level: ValidationLevel = ValidationLevel.ERROR
    needs: Need = Need.ANYTHING
    deep: bool = False
    in_path: bool = False
    remediation: tuple[str, ...] = ()

    def __init__(
        self,
        rule_id: str | None = None,
        rule_name: str | None = None,
        validation_type: ValidationType | None = None,
        *,
        enabled: bool | None = None,
    ) -> None:
        kind = type(self)
        self.rule_id = rule_id or kind.rule_id or _snake(kind.__name__)
        self.rule_name = rule_name or kind.rule_name or self.rule_id
        if validation_type is not None:
            self.validation_type = validation_type
        if enabled is not None:
            self.enabled = enabled

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rule_id!r})"

    def concerns(self, kind: type) -> bool:
        """Say whether packets of a type can have what the rule looks at; may be remembered."""
        del kind
        return True

    def looks_at(self, packet: Any) -> bool:
        """Say whether a packet has what the rule looks at; asked where it needs a packet."""
        del packet
        return True

    def validate(self, context: ValidationContext) -> list[ValidationResult] | None:
        """Return what is wrong, nothing where all is well.

        Args:
            context: What there is to look at.

        Raises:
            NoData: If it holds nothing for this rule to look at; None says the same.
        """
        raise NotImplementedError(f"Expected {type(self).__name__} to have a method validate")

    def worst(self, context: ValidationContext) -> ValidationResult | None:
        """Return the worst of what is wrong with `context.packet`; None where nothing is.

        Raises:
            NoData: As `validate`.
        """
        if not self.looks_at(context.packet):
            return None
        found = [each for each in self.validate(context) or () if not each.passed]
        return max(found, key=lambda each: rank(each.level), default=None)

    def finding(
        self,
        message: str,
        *,
        level: ValidationLevel | None = None,
        packet: Any = None,
        system_id: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> ValidationResult:
        """Return a finding of this rule.

        Args:
            message: What was expected and what it was.
            level: How bad it is; None: the rule's level.
            packet: Packet concerned.
            system_id: System concerned; None of it: that of the packet.
            details: More, as plain values.
        """
        envelope = getattr(packet, "envelope", None)
        return ValidationResult(
            rule_id=self.rule_id,
            validation_type=self.validation_type,
            level=level or self.level,
            message=message,
            system_id=system_id or system_of(packet),
            packet_id="" if envelope is None else envelope.packet_id,
            details=details or {},
            remediation_steps=self.remediation,
        )


class PacketRule(ValidationRule):
    """A rule that is a function of one packet.

    Args:
        rule_id: Identifier.
        validation_type: What it validates.
        check: Returns what is wrong with a packet, None where nothing is. It may take the context
            as a second argument.
        rule_name: Its promise in a few words.
        of: Types of packets that it looks at; all where empty.
        looks_at: Parts of a packet, at least one of which must be there.
        level: How bad a finding is.
        in_path: As `ValidationRule.in_path`.
        remediation: What to do about a finding.
        with_context: Whether `check` takes the context, too.
    """

    needs = Need.PACKET

    def __init__(
        self,
        rule_id: str,
        validation_type: ValidationType,
        check: Callable[..., str | None],
        *,
        rule_name: str = "",
        of: tuple[type[Struct], ...] = (),
        looks_at: tuple[str, ...] = (),
        level: ValidationLevel = ValidationLevel.ERROR,
        in_path: bool = False,
        remediation: tuple[str, ...] = (),
        with_context: bool = False,
    ) -> None:
        super().__init__(rule_id, rule_name, validation_type)
        self._check = check
        self.level = level
        self.in_path = in_path
        self.remediation = remediation
        self._of = of
        self._parts = looks_at
        self._with_context = with_context

    def concerns(self, kind: type) -> bool:
        """Say whether packets of a type are of its types, and may have one of its parts."""
        if self._of and not issubclass(kind, self._of):
            return False
        return not self._parts or any(hasattr(kind, part) for part in self._parts)

    def looks_at(self, packet: Any) -> bool:
        """Say whether a packet is of the types and has one of the parts that it looks at."""
        if self._of and not isinstance(packet, self._of):
            return False
        for part in self._parts:  # no generator: every rule is asked about every record
            if getattr(packet, part, None):
                return True
        return not self._parts

    @final
    def validate(self, context: ValidationContext) -> list[ValidationResult] | None:
        """Return what is wrong with `context.packet`; see `ValidationRule.validate`."""
        if context.packet is None or not self.looks_at(context.packet):
            return None
        found = self._found(context)
        return [] if found is None else [found]

    @final
    def worst(self, context: ValidationContext) -> ValidationResult | None:
        """Return what is wrong with `context.packet`; see `ValidationRule.worst`."""
        if context.packet is None or not self.looks_at(context.packet):
            return None
        return self._found(context)

    def _found(self, context: ValidationContext) -> ValidationResult | None:
        packet = context.packet
        failure = self._check(packet, context) if self._with_context else self._check(packet)
        return None if failure is None else self.finding(failure, packet=packet)


class _FunctionRule(ValidationRule):
    """A rule that is a function of the context."""

    def __init__(
        self, rule_id: str, validation_type: ValidationType, function: Callable[..., Any]
    ) -> None:
        super().__init__(rule_id, None, validation_type)
        self._function = function

    def validate(self, context: ValidationContext) -> list[ValidationResult] | None:
        """Return what the function found; see `ValidationRule.validate`."""
        found = self._function(context)
        if found is None:
            return None
        items: Iterable[Any] = [found] if isinstance(found, str) else found
        return [
            item if isinstance(item, ValidationResult) else self.finding(str(item))
            for item in items
        ]


def rule(
    rule_id: str,
    validation_type: ValidationType,
    *,
    rule_name: str = "",
    level: ValidationLevel = ValidationLevel.ERROR,
    needs: Need = Need.ANYTHING,
    deep: bool = False,
    remediation: tuple[str, ...] = (),
) -> Callable[[Callable[[ValidationContext], Any]], ValidationRule]:
    """Make a rule of a function of the context.

    The function returns (or yields) what is wrong, as sentences or `ValidationResult`s; None where
    it had nothing to look at.

    Args:
        rule_id: Identifier, `family.name`.
        validation_type: What it validates.
        rule_name: Its promise in a few words; the function's first line of documentation if empty.
        level: How bad a finding is.
        needs: What it looks at.
        deep: Whether it is asked in deep validations only.
        remediation: What to do about a finding.
    """

    def made(function: Callable[[ValidationContext], Any]) -> ValidationRule:
        result = _FunctionRule(rule_id, validation_type, function)
        result.rule_name = rule_name or _first_line(function) or rule_id
        result.level, result.needs, result.deep = level, needs, deep
        result.remediation = remediation
        return result

    return made


def packet_rule(
    rule_id: str,
    validation_type: ValidationType,
    **options: Any,
) -> Callable[[Callable[..., str | None]], PacketRule]:
    """Make a rule of a function of one packet; see `PacketRule` for the options."""

    def made(function: Callable[..., str | None]) -> PacketRule:
        options.setdefault("rule_name", _first_line(function))
        return PacketRule(rule_id, validation_type, function, **options)

    return made


def rank(level: ValidationLevel) -> int:
    """Return how bad a level is, INFO being 0."""
    return _LEVELS.index(level)


def system_of(packet: Any) -> str:
    """Return the system that wrote a packet; empty where nobody can tell."""
    stage = RECORD_STAGES.get(type(packet))
    if stage is not None:
        return stage
    name = type(packet).__name__
    return {"OrderEvent": "gateway", "PortfolioUpdate": "risk", "MarketData": "market"}.get(
        name, ""
    )


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n")[0].removesuffix(".")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
