"""Load test: rising rates on a whole cascade; `python tests/load_test_cascade.py [--json]`.

At every rate each record must end in one outcome and no order may be sent twice. How fast it was,
and how that stands to the specification's targets, is printed: it depends on the machine. With
`--strict` the error rate must stay below its target of 0.01 as well.
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it knows its own folder

from pipeline.demo.plan import DemoPlan
from pipeline.demo.summary import Summary
from pipeline.errors import PipelineError
from tests.load_plans import Case, carry_out, conclude


def _too_many_errors(summary: Summary) -> list[str]:
    target = summary.targets["error_rate"]
    if target.verdict == "pass":
        return []
    return [f"Expected an error rate below {target.limit:g}, was {target.value}"]


@click.command()
@click.option("--rates", default="50,100,200", show_default=True, help="Records a second.")
@click.option("--seconds", type=click.FloatRange(1.0), default=10.0, show_default=True)
@click.option("--warm-up", type=click.FloatRange(0.0), default=8.0, show_default=True)
@click.option("--strict", is_flag=True, help="The error rate's target must be met at every rate.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rates: str, seconds: float, warm_up: float, strict: bool, as_json: bool) -> None:
    """Run a whole cascade under rising load; exit code 1 if a record was lost or doubled."""
    cases = [
        Case(
            f"{rate:g} records/s for {seconds:g} s",
            DemoPlan(rate=rate, seconds=seconds, warm_up_s=warm_up, paired=True),
            _too_many_errors if strict else lambda _: (),
        )
        for rate in map(float, rates.split(","))
    ]
    try:
        judged = carry_out(cases)
    except PipelineError as error:
        raise click.ClickException(str(error)) from error
    conclude(judged, as_json=as_json)


if __name__ == "__main__":
    main()
