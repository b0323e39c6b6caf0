"""Asking rules: one rule's fault never keeps the others from running."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pipeline.packets.events import ValidationLevel
from pipeline.rules.context import ValidationContext
from pipeline.rules.model import (
    Need,
    NoData,
    ValidationResult,
    ValidationRule,
    rank,
)

__all__ = ["RuleOutcome", "Status", "ask", "ask_about"]

_logger = logging.getLogger(__name__)
_MOST_FINDINGS = 20


class Status(StrEnum):
    """What came of asking a rule.

    Attributes:
        PASSED: It looked, and found nothing.
        FAILED: It found something.
        NO_DATA: It had nothing to look at; that is no pass.
        ERROR: It raised; that is no pass either.
        DISABLED: It was not asked.
    """

    PASSED = "passed"
    FAILED = "failed"
    NO_DATA = "no_data"
    ERROR = "error"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What came of asking one rule.

    Attributes:
        rule: The rule.
        status: What came of it.
        looked_at: How many packets, or 1 for what is no packet; 0 where there was no data.
        findings: What it found, the first 20.
        found: How many there were.
        why: Why there was no data, or what it raised.
    """

    rule: ValidationRule
    status: Status
    looked_at: int = 0
    findings: Sequence[ValidationResult] = ()
    found: int = 0
    why: str = ""

    @property
    def level(self) -> ValidationLevel:
        """Level of the worst finding; INFO where there is none."""
        return max((each.level for each in self.findings), key=rank, default=ValidationLevel.INFO)


def ask(rule: ValidationRule, context: ValidationContext) -> RuleOutcome:
    """Ask a rule about the whole: each packet of the logs in turn, or the context at once."""
    if rule.needs is not Need.PACKET:
        return _outcome(rule, [context])
    packets: Iterable[Any] = () if context.logs is None else context.logs.packets
    if context.packet is not None:
        packets = [context.packet]
    return ask_about(rule, packets, context)


def ask_about(
    rule: ValidationRule, packets: Iterable[Any], context: ValidationContext
) -> RuleOutcome:
    """Ask a rule about packets, one at a time, each with the rest of the context."""
    try:
        wanted = [packet for packet in packets if rule.looks_at(packet)]
    except Exception as error:  # noqa: BLE001  # a user's rule may fail in any way
        return _raised(rule, error, 0, [])
    return _outcome(rule, (replace(context, packet=packet) for packet in wanted))


def _outcome(rule: ValidationRule, contexts: Iterable[ValidationContext]) -> RuleOutcome:
    looked, why = 0, f"Expected something for {rule.rule_id} to look at, was nothing"
    findings: list[ValidationResult] = []
    for context in contexts:
        try:
            found = rule.validate(context)
            results = [] if found is None else [_stamped(each, rule, context) for each in found]
        except NoData as missing:
            why = missing.message
            continue
        except Exception as error:  # noqa: BLE001  # a user's rule may fail in any way
            return _raised(rule, error, looked, findings)
        if found is None:
            continue
        looked += 1
        findings += [each for each in results if not each.passed]
    if not looked:
        return RuleOutcome(rule, Status.NO_DATA, why=why)
    status = Status.FAILED if findings else Status.PASSED
    return RuleOutcome(rule, status, looked, findings[:_MOST_FINDINGS], len(findings))


def _stamped(
    result: ValidationResult, rule: ValidationRule, context: ValidationContext
) -> ValidationResult:
    """Return a result with the time; raises where a rule returned something else."""
    if not isinstance(result, ValidationResult):
        raise TypeError(
            f"Expected {rule.rule_id} to return ValidationResults, was {type(result).__name__}"
        )
    return replace(result, timestamp=result.timestamp or context.now_us)


def _raised(
    rule: ValidationRule, error: Exception, looked: int, findings: list[ValidationResult]
) -> RuleOutcome:
    _logger.warning("rule_raised rule=%s why=%r", rule.rule_id, error, exc_info=error)
    why = f"Expected {rule.rule_id} to look, was: {error!r}"
    own = rule.finding(why, level=ValidationLevel.ERROR, details={"raised": type(error).__name__})
    own = replace(own, remediation_steps=(f"Mend or disable the rule {rule.rule_id}.",))
    found = [*findings[: _MOST_FINDINGS - 1], own]
    return RuleOutcome(rule, Status.ERROR, looked, found, len(findings) + 1, why)
