"""`cascade completion`: what a shell needs to complete commands and options."""

import json

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_CASCADE_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(context: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that completes commands and options in a shell.

    For this session: eval "$(cascade completion bash)". It asks `cascade` itself, so it never
    grows stale.
    """
    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101  # click knows all three
    script = complete(context.find_root().command, {}, "cascade", _VARIABLE).source()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script)
