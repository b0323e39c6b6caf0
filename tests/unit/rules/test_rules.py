"""Ways to write a rule, asking rules, sets of rules, and the report."""

from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.packets.events import ValidationLevel, ValidationType
from pipeline.rules import (
    Need,
    NoData,
    RuleSet,
    ValidationContext,
    ValidationResult,
    ValidationRule,
    packet_rule,
    rule,
)
from pipeline.rules.builtin import BUILT_IN
from pipeline.rules.registry import installed_rules, path_check
from pipeline.rules.report import report_of
from pipeline.rules.running import RuleOutcome, Status, ask, ask_about
from tests.unit.rules.real_packets import first, run_settings

NOW_US = 2_000_000_000_000_000


class NoApple(ValidationRule):
    """A user's rule, as a subclass without more than the specification shows."""

    def validate(self, context: ValidationContext) -> list[ValidationResult]:
        symbol = context.packet.envelope.symbol
        return [self.finding(f"Expected no AAPL, was {symbol}")] if symbol == "AAPL" else []


class Dear(ValidationRule):
    """A user's rule for the path."""

    rule_id = "house.dear"
    rule_name = "Nothing above 1 is looked at"
    validation_type = ValidationType.SECURITY_VALIDATION
    needs = Need.PACKET
    in_path = True

    def validate(self, context: ValidationContext) -> list[ValidationResult]:
        close = context.packet.bar.close
        return [self.finding(f"Expected up to 1, was {close}")] if close > 1.0 else []


@packet_rule("house.volume", ValidationType.DATA_INTEGRITY, looks_at=("bar",))
def volume(packet: Any) -> str | None:
    """Bars have a volume."""
    return None if packet.bar.volume > 0 else "Expected a volume, was 0"


@rule("house.quiet", ValidationType.SYSTEM_CONNECTIVITY, level=ValidationLevel.WARNING)
def quiet(context: ValidationContext) -> list[str] | None:
    """It is never quiet."""
    return ["Expected noise, was none"] if context.deep else None


@rule("house.broken", ValidationType.DATA_INTEGRITY)
def broken(context: ValidationContext) -> str:
    """It raises."""
    raise ZeroDivisionError(context.now_us)


def _context(**what: Any) -> ValidationContext:
    return ValidationContext(settings=run_settings(), now_us=NOW_US, **what)


def _packet(symbol: str) -> Any:
    from msgspec.structs import replace

    packet = first("strategic", "strategic")
    return replace(packet, envelope=replace(packet.envelope, symbol=symbol))


def test_a_subclass_needs_nothing_but_validate() -> None:
    """Id and name come from the class; a packet that breaks the rule is named in the finding."""
    no_apple = NoApple()
    assert ("no_apple", "no_apple", True) == (
        no_apple.rule_id,
        no_apple.rule_name,
        no_apple.enabled,
    )
    assert Status.PASSED is ask_about(no_apple, [_packet("IBM")], _context()).status
    assert Status.FAILED is ask_about(no_apple, [_packet("AAPL")], _context()).status


def test_the_constructor_names_a_rule() -> None:
    """What the constructor is given counts more than what the class says."""
    made = Dear("x.y", "Named", ValidationType.FLOW_CONTINUITY, enabled=False)
    assert ("x.y", "Named", ValidationType.FLOW_CONTINUITY, False) == (
        made.rule_id,
        made.rule_name,
        made.validation_type,
        made.enabled,
    )
    assert ("house.dear", ValidationType.SECURITY_VALIDATION) == (
        Dear().rule_id,
        Dear().validation_type,
    )


def test_functions_are_rules() -> None:
    """A function's documentation is the rule's name; what it returns are findings."""
    assert ("Bars have a volume", "It is never quiet") == (volume.rule_name, quiet.rule_name)
    outcome = ask(quiet, _context(deep=True))
    assert [("Expected noise, was none", ValidationLevel.WARNING)] == [
        (each.message, each.level) for each in outcome.findings
    ]
    assert Status.NO_DATA is ask(quiet, _context()).status


def test_no_data_says_why() -> None:
    """A rule that had nothing to look at is neither passed nor failed, and says what it missed."""

    @rule("house.empty", ValidationType.DATA_INTEGRITY)
    def empty(context: ValidationContext) -> list[str]:
        raise NoData("Expected orders, was none")

    outcome = ask(empty, _context())
    assert (Status.NO_DATA, "Expected orders, was none", 0) == (
        outcome.status,
        outcome.why,
        outcome.looked_at,
    )


def test_a_rule_that_raises_is_its_own_finding() -> None:
    """It is reported as an error that names it, not as a pass, and nothing else is touched."""
    outcome = ask(broken, _context())
    assert Status.ERROR is outcome.status
    (finding,) = outcome.findings
    assert ("house.broken", ValidationLevel.ERROR) == (finding.rule_id, finding.level)
    assert "ZeroDivisionError" in finding.message


def test_a_rule_that_returns_something_else_is_its_own_finding() -> None:
    """A list of something else than results is the rule's fault."""

    class Wrong(ValidationRule):
        def validate(self, context: ValidationContext) -> Any:
            return [True]

    assert Status.ERROR is ask(Wrong(), _context()).status


def test_many_findings_are_counted_and_cut() -> None:
    """A report stays readable: all are counted, the first twenty kept."""
    outcome = ask_about(NoApple(), [_packet("AAPL")] * 50, _context())
    assert (50, 50, 20) == (outcome.looked_at, outcome.found, len(outcome.findings))


def test_a_set_has_the_built_in_rules() -> None:
    """Without more a set holds the built-in rules, each enabled."""
    rules = RuleSet()
    assert {each.rule_id for each in BUILT_IN} <= {each.rule_id for each in rules}
    assert all(rules.is_enabled(each) for each in rules)


def test_rules_are_added_switched_and_removed() -> None:
    """A set takes instances, classes and functions; ids are unique."""
    rules = RuleSet([])
    added = [rules.add(each) for each in (NoApple, Dear(), volume, quiet)]
    assert ["no_apple", "house.dear", "house.volume", "house.quiet"] == [r.rule_id for r in added]
    with pytest.raises(UsageError, match=r"house\.dear"):
        rules.add(Dear)
    replaced = rules.add(Dear, replace=True)
    assert replaced in set(rules)
    rules.enable("house.dear", enabled=False)
    assert not rules.is_enabled(replaced)
    rules.remove("house.dear")
    assert 3 == len(rules)
    for use in (rules.remove, rules.enable):
        with pytest.raises(UsageError, match=r"house\.dear"):
            use("house.dear")


def test_a_plain_function_is_a_rule() -> None:
    """A function of the context needs no decorator."""

    def never(context: ValidationContext) -> list[str]:
        return ["Expected nothing, was something"]

    added = RuleSet([]).add(never)
    assert ("never", Status.FAILED) == (added.rule_id, ask(added, _context()).status)
    with pytest.raises(UsageError, match="Expected a ValidationRule"):
        RuleSet([]).add(3)


def _entry(name: str) -> EntryPoint:
    return EntryPoint(name, f"tests.unit.rules.house:{name}", "cascade.rules")


def test_packages_bring_rules() -> None:
    """An entry point leads to a rule, a class or a list; one that cannot be loaded is left out."""
    found = installed_rules([_entry("RULES"), _entry("ONE"), _entry("MISSING"), _entry("NOTHING")])
    assert ["house.first", "house.second", "house.one"] == [each.rule_id for each in found]


def test_a_user_s_rule_in_the_path_stops_a_packet() -> None:
    """A stage asks the users' rules that say so, after the built-in ones."""
    check = path_check(run_settings(), [Dear(), NoApple(), volume])
    assert str(check(_packet("AAPL"))).startswith("house.dear: Expected up to 1")
    assert path_check(run_settings(), [])(_packet("AAPL")) is None


def _outcomes(*asked: tuple[ValidationRule, Status]) -> list[RuleOutcome]:
    return [
        RuleOutcome(
            each,
            status,
            1,
            [each.finding("Expected, was not")] if status is Status.FAILED else (),
            why="nothing there",
        )
        for each, status in asked
    ]


def _report(*asked: tuple[ValidationRule, Status]) -> Any:
    return report_of(
        _outcomes(*asked), report_id="r", timestamp=NOW_US, deep=False, seen={"risk": 3}
    )


def test_no_check_is_no_pass() -> None:
    """Where no rule had data there is no score: neither 100 % nor passed."""
    for report in (_report(), _report((volume, Status.NO_DATA), (quiet, Status.DISABLED))):
        assert (None, False) == (report.cascade_integrity_score, report.passed)


def test_the_score_counts_what_had_data() -> None:
    """Score = passed of those that looked; a rule that raised did not pass."""
    report = _report(
        (volume, Status.PASSED),
        (quiet, Status.FAILED),
        (broken, Status.ERROR),
        (NoApple(), Status.PASSED),
        (Dear(), Status.NO_DATA),
    )
    assert (0.5, False) == (report.cascade_integrity_score, report.passed)
    counts = {"rules_run": 4, "passed": 2, "failed": 1, "errors": 1, "no_data": 1, "disabled": 0}
    assert counts == {name: report.summary[name] for name in counts}
    assert {"house.dear": "nothing there"} == dict(report.no_data)
    by_type = report.summary["by_type"]
    assert (1, 0) == (
        by_type["SYSTEM_CONNECTIVITY"]["failed"],
        by_type["TEMPORAL_CONSISTENCY"]["rules_run"],
    )
    assert _report((volume, Status.PASSED)).passed


def test_a_report_says_what_to_do() -> None:
    """Remediation comes most urgent first, each step once; critical findings stand apart."""
    mild, grave = Dear("a"), Dear("b")
    mild.level, mild.remediation = ValidationLevel.WARNING, ("Wait.",)
    grave.level, grave.remediation = ValidationLevel.CRITICAL, ("Halt.", "Wait.")
    report = _report((mild, Status.FAILED), (grave, Status.FAILED))
    assert ("Halt.", "Wait.") == report.recommendations
    assert ["b"] == [each.rule_id for each in report.critical_issues]
    assert len({each.validation_id for each in report.validation_results}) == 2
    assert "cascade_integrity_score" in report.as_dict()


def test_health_is_by_system() -> None:
    """A system is as healthy as its worst finding says; of who was not seen nothing is known."""
    rule_ = Dear()
    finding = rule_.finding("Expected, was not", system_id="risk", level=ValidationLevel.WARNING)
    outcomes = [RuleOutcome(rule_, Status.FAILED, 1, [finding], 1)]
    seen = {"risk": 1, "tactical": 1}
    report = report_of(outcomes, report_id="r", timestamp=NOW_US, deep=False, seen=seen)
    health = SimpleNamespace(**report.system_health)
    assert ("degraded", "healthy", "no_data") == (health.risk, health.tactical, health.strategic)
