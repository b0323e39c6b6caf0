"""`cascade config`: the settings in force."""

import json

import click

from pipeline.settings import describe, load_settings

__all__ = ["command"]


@click.group("config")
def command() -> None:
    """Show the settings in force."""


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool) -> None:
    """Print each setting, its value and where it comes from; secrets are hidden."""
    described = describe(load_settings())
    if as_json:
        rows = {
            name: {"value": value, "source": place} for name, (value, place) in described.items()
        }
        click.echo(json.dumps(rows, indent=2))
        return
    names = max(len(name) for name in described)
    values = max(len(_text(value)) for value, _ in described.values())
    for name, (value, place) in described.items():
        click.echo(f"{name:<{names}}  {_text(value):<{values}}  {place}")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return "-" if value is None or value == "" else str(value)
