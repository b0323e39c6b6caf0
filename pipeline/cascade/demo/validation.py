"""Part 4, validation: a real packet, a spoilt copy of it, and the whole cascade."""

from collections.abc import Iterable

from msgspec import structs

from pipeline.cascade.demo.checks import Checks
from pipeline.cascade.demo.running import Running
from pipeline.packets.models import TacticalSignal
from pipeline.packets.vocabulary import Action
from pipeline.rules import ValidationResult

__all__ = ["show"]

_RULES = 24


def show(running: Running, checks: Checks) -> None:
    """Validate a packet, its spoilt copy, and the cascade; broken means only spoilt packets."""
    packets = [each for each in running.packets if each.tactical and not each.envelope.outcome]
    if not checks.holds("packets to validate", "some", len(packets), bool(packets)):
        return
    good, bad = packets[-1], _spoilt(packets[-1])
    findings = _findings(running.framework.validate_packet(bad if running.broken else good))
    checks.holds("findings about a real packet", "none", _text(findings), not findings)
    findings = _findings(running.framework.validate_packet(bad))
    checks.holds(
        "findings about its copy with another action", "some", _text(findings), bool(findings)
    )
    _show_report(running, checks)


def _show_report(running: Running, checks: Checks) -> None:
    report = running.framework.run_comprehensive_validation()
    counts = report.summary
    asked = sum(counts[name] for name in ("rules_run", "no_data", "disabled"))
    checks.holds(
        "rules of the comprehensive validation",
        f"at least {_RULES}, some of them with data",
        f"{asked}: {counts['passed']} passed, {counts['failed']} failed,"
        f" {counts['errors']} raised, {counts['no_data']} without data",
        asked >= _RULES and counts["rules_run"] > 0,
    )
    checks.holds(
        "critical issues", "none", _text(report.critical_issues), not report.critical_issues
    )
    score = report.cascade_integrity_score
    checks.holds(
        "integrity score",
        "above 0.9 of 1",
        "no data" if score is None else f"{score:.3f}",
        score is not None and score > 0.9,  # noqa: PLR2004  # the sentence says it
    )


def _spoilt(packet: TacticalSignal) -> TacticalSignal:
    """Return a copy whose action is not the most probable one."""
    if packet.tactical is None:
        raise ValueError("Expected a packet with a tactical decision, was one without")
    other = Action.SELL if packet.tactical.action is Action.BUY else Action.BUY
    return structs.replace(packet, tactical=structs.replace(packet.tactical, action=other))


def _findings(results: Iterable[ValidationResult]) -> list[ValidationResult]:
    return [each for each in results if not each.passed]


def _text(findings: Iterable[ValidationResult]) -> str:
    return "; ".join(f"{each.rule_id}: {each.message}" for each in findings) or "none"
