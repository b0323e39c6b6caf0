"""What `/metrics` says of an auditor."""

from pipeline.audit.term import Figures
from pipeline.watch.audit import families


def _samples(figures: Figures) -> dict[str, float]:
    return {each.name: each.value for family in families(figures) for each in family.samples}


def test_an_auditor_says_how_far_it_has_come() -> None:
    """Each figure under its name."""
    figures = Figures(5, 2, 3, 4, 17, 0.5, active=True)

    assert {
        "cascade_audit_active": 1.0,
        "cascade_audit_lag_seconds": 0.5,
        "cascade_audit_sequence": 17.0,
        "cascade_audit_records_total": 5.0,
        "cascade_audit_findings_total": 2.0,
        "cascade_audit_security_events_total": 3.0,
        "cascade_audit_windows_total": 4.0,
    } == _samples(figures)


def test_an_auditor_that_stands_by_says_no_more_than_that() -> None:
    """Else its old lag would stand beside that of the one that works."""
    assert {"cascade_audit_active": 0.0} == _samples(Figures(lag_s=9.0))
