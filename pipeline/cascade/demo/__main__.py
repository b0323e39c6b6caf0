"""`python -m pipeline.cascade.demo [--break PART] [--split] [--json]`."""

import json
import sys

import click

from pipeline.cascade.demo.runner import PARTS, run_parts, run_split
from pipeline.errors import PipelineError
from pipeline.settings import flags_in_force, load_settings, parse_flags

__all__ = ["command"]


@click.command("demo", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--break",
    "broken",
    type=click.Choice([*PARTS, "split"]),
    help="Spoil this part for real; it must fail, and the exit code be 1.",
)
@click.option(
    "--split", is_flag=True, help="Two processes with one system each, one of which is killed."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--keep", is_flag=True, help="Leave a broker that the demo started running.")
@click.option("--set", "flags", multiple=True, metavar="NAME=VALUE", help="A setting.")
def command(
    broken: str | None,
    split: bool,  # noqa: FBT001  # click passes flags by name
    as_json: bool,  # noqa: FBT001  # the same
    keep: bool,  # noqa: FBT001  # the same
    flags: tuple[str, ...],
) -> None:
    """Show the five components on real workers and a real Kafka, and what is expected of them.

    Exit code 1 when something was seen that was not expected.
    """
    if (broken == "split") > split:
        raise click.UsageError("Expected --split with --break split")
    run = run_split if split else run_parts

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    try:
        with flags_in_force(parse_flags(flags)):
            seen = run(load_settings(), say, broken=broken, keep=keep)
    except PipelineError as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(1)
    passed = bool(seen) and all(part.passed for part in seen)
    if as_json:
        content = {"passed": passed, "parts": [part.to_dict() for part in seen]}
        click.echo(json.dumps(content, indent=2))
    else:
        click.echo("All as expected." if passed else "Not all as expected, see FAIL above.")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    command()
