"""From what rules found to a report: counts, integrity score, health, what to do.

    cascade_integrity_score = passed / (passed + failed + raised)

over the rules that had something to look at; None where none had, which is never a pass.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.packets.events import ValidationLevel, ValidationType
from pipeline.rules.model import ValidationResult, rank
from pipeline.rules.running import RuleOutcome, Status

__all__ = ["HEALTH", "SYSTEMS", "ValidationReport", "report_of", "results_of"]

SYSTEMS = ("market", "strategic", "tactical", "risk", "execution", "gateway")

HEALTH = {
    ValidationLevel.INFO: "healthy",
    ValidationLevel.WARNING: "degraded",
    ValidationLevel.ERROR: "failing",
    ValidationLevel.CRITICAL: "critical",
}
"""A system's health by the worst finding about it; "no_data" where nothing of it was seen."""


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """A comprehensive validation.

    Attributes:
        report_id: Identifier.
        timestamp: When, microseconds since the Unix epoch, UTC.
        validation_results: One INFO result per rule that passed, all findings of those that did
            not, the first 20 of each.
        summary: `rules_run`, `passed`, `failed`, `errors` (rules that raised), `no_data`,
            `disabled`, `packets` (looked at), `deep`, `by_type` with the same per type, `audit`
            (what the auditor has done so far, None where none was started).
        system_health: "healthy", "degraded", "failing", "critical" or "no_data" by system.
        cascade_integrity_score: Share of rules that passed among those that had data, 0 to 1; None
            where none had.
        recommendations: What to do, most urgent first.
        critical_issues: The findings of level CRITICAL.
        no_data: Why a rule had no data, by rule id.
    """

    report_id: str
    timestamp: int
    validation_results: tuple[ValidationResult, ...]
    summary: Mapping[str, Any]
    system_health: Mapping[str, str]
    cascade_integrity_score: float | None
    recommendations: tuple[str, ...]
    critical_issues: tuple[ValidationResult, ...]
    no_data: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether rules had data and all of those passed."""
        return self.cascade_integrity_score == 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return asdict(self)


def report_of(
    outcomes: Sequence[RuleOutcome],
    *,
    report_id: str,
    timestamp: int,
    deep: bool,
    seen: Mapping[str, int],
    audit: Mapping[str, Any] | None = None,
) -> ValidationReport:
    """Return the report on what came of asking rules.

    Args:
        outcomes: One per rule.
        report_id: Identifier.
        timestamp: When, microseconds since the Unix epoch, UTC.
        deep: Whether the broker was asked, too.
        seen: Packets looked at, by the system that wrote them.
        audit: What the auditor has done, as plain values; it has no part in score and health, which
            are of now.
    """
    results = [
        replace(result, validation_id=f"{report_id}-{number}")
        for number, result in enumerate(
            each for outcome in outcomes for each in results_of(outcome, timestamp)
        )
    ]
    findings = sorted((each for each in results if not each.passed), key=_urgency)
    by_type = {
        str(kind): _counts(each for each in outcomes if each.rule.validation_type is kind)
        for kind in ValidationType
    }
    summary = {
        **_counts(outcomes),
        "packets": sum(seen.values()),
        "deep": deep,
        "by_type": by_type,
        "audit": audit,
    }
    return ValidationReport(
        report_id=report_id,
        timestamp=timestamp,
        validation_results=tuple(results),
        summary=summary,
        system_health=_health(findings, seen),
        cascade_integrity_score=_score(summary),
        recommendations=tuple(
            dict.fromkeys(step for each in findings for step in each.remediation_steps)
        ),
        critical_issues=tuple(each for each in findings if each.level is ValidationLevel.CRITICAL),
        no_data={each.rule.rule_id: each.why for each in outcomes if each.status is Status.NO_DATA},
    )


def results_of(outcome: RuleOutcome, timestamp: int) -> Sequence[ValidationResult]:
    """Return the findings of a rule, or that it passed, as a result of level INFO."""
    if outcome.status is not Status.PASSED:
        return outcome.findings
    rule = outcome.rule
    looked = {"looked_at": outcome.looked_at}
    passed = rule.finding(rule.rule_name, level=ValidationLevel.INFO, details=looked)
    return [replace(passed, timestamp=timestamp, remediation_steps=())]


def _urgency(result: ValidationResult) -> int:
    return -rank(result.level)


def _counts(outcomes: Iterable[RuleOutcome]) -> dict[str, int]:
    counts = Counter(each.status for each in outcomes)
    run = counts[Status.PASSED] + counts[Status.FAILED] + counts[Status.ERROR]
    return {
        "rules_run": run,
        "passed": counts[Status.PASSED],
        "failed": counts[Status.FAILED],
        "errors": counts[Status.ERROR],
        "no_data": counts[Status.NO_DATA],
        "disabled": counts[Status.DISABLED],
    }


def _score(summary: Mapping[str, Any]) -> float | None:
    run = summary["rules_run"]
    return summary["passed"] / run if run else None


def _health(findings: Iterable[ValidationResult], seen: Mapping[str, int]) -> dict[str, str]:
    health = {name: "healthy" if seen.get(name) else "no_data" for name in SYSTEMS}
    for each in findings:  # worst first
        if each.system_id and health.get(each.system_id, "healthy") in {"healthy", "no_data"}:
            health[each.system_id] = HEALTH[each.level]
    return health
