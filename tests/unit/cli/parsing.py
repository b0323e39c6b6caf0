"""Parsing a command line without running it."""

import click

__all__ = ["parse"]


def parse(command: click.Command, arguments: list[str]) -> None:
    """Parse arguments down to the last command, and run none.

    Raises:
        click.ClickException: If one of them is unknown, or wrong.
    """
    # Not resilient_parsing, which would let everything pass; without invoking nothing runs.
    with command.make_context(command.name, list(arguments)) as context:
        rest = [*context._protected_args, *context.args]
        if isinstance(command, click.Group) and rest:
            name, inner, left = command.resolve_command(context, rest)
            assert inner is not None, f"Expected a command {name}"
            parse(inner, left)
