"""`cascade validate`: all rules over the cascade that runs."""

import sys

import click

from pipeline.cli.connection import connected_settings
from pipeline.cli.plain import lines, plain, show

__all__ = ["command"]


@click.command("validate")
@click.option(
    "--shallow", is_flag=True, help="Look at packets and logs only; leave the broker alone."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(shallow: bool, as_json: bool) -> None:
    """Run all rules over the cascade that runs; print what they found and what to do about it.

    Exit code 1 if a rule failed, and 2 if none had anything to look at.
    """
    from pipeline.cascade import CascadeValidationFramework
    from pipeline.events import EventBus

    with (
        EventBus(settings=connected_settings()) as bus,
        CascadeValidationFramework(bus, continuous=False, alert_level=None) as framework,
    ):
        report = framework.run_comprehensive_validation(deep=not shallow)
    if as_json:
        show(report, as_json=True)
    else:
        content = plain(report)
        findings = [each for each in report.validation_results if not each.passed]
        content["validation_results"] = plain(findings)
        del content["critical_issues"]  # they stand among the findings
        click.echo("\n".join(lines(content)))
    if report.cascade_integrity_score is None:
        sys.exit(2)
    sys.exit(0 if report.passed else 1)
