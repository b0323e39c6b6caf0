"""The command line, `cascade NOUN VERB`: one module per noun, imported when it is called."""

import importlib
import os
import sys
from collections.abc import Mapping

import click

from pipeline import __version__
from pipeline.cli.examples import EXIT_CODES, illustrate
from pipeline.errors import (
    AccessDenied,
    BrokerUnavailable,
    ConfigurationError,
    PipelineError,
    RegistryUnavailable,
)

__all__ = ["LazyGroup", "main"]

_CANNOT = (AccessDenied, BrokerUnavailable, ConfigurationError, RegistryUnavailable)
_COMMANDS = {
    "alerts": ("pipeline.cli.alerts:command", "List, acknowledge, silence and set alerts."),
    "audit": ("pipeline.cli.audit:command", "Verify, export and read the audit log."),
    "availability": ("pipeline.cli.availability:command", "Simulate availability, plan growth."),
    "bench": ("pipeline.cli.bench:command", "Say which rates this machine sustains."),
    "broker": ("pipeline.cli.broker:command", "Find, start and stop a Kafka for this machine."),
    "completion": ("pipeline.cli.completion:command", "Complete commands in your shell."),
    "config": ("pipeline.cli.config:command", "Show the settings in force."),
    "control": ("pipeline.cli.control:command", "Halt, resume and inspect trading."),
    "dashboard": ("pipeline.cli.dashboard:command", "Serve a web page over the cascade."),
    "demo": ("pipeline.cli.demo:command", "Run the whole pipeline and report on it."),
    "dlq": ("pipeline.cli.dlq:command", "List and inspect dead letters."),
    "doctor": ("pipeline.cli.doctor:command", "Say what is wrong, and what to do about it."),
    "emergency": ("pipeline.cli.emergency:command", "Declare, show and resolve emergencies."),
    "flow": ("pipeline.cli.flow:command", "Show a flow from market data to fill."),
    "health": ("pipeline.cli.health:command", "Say whether the workers of this machine are well."),
    "keys": ("pipeline.cli.keys:command", "Make, list, rotate and revoke signing keys."),
    "log-level": ("pipeline.cli.log_level:command", "Change what running workers log."),
    "metrics": ("pipeline.cli.metrics:command", "Say how fast the cascade is."),
    "publish": ("pipeline.cli.publish:command", "Publish market data to the pipeline."),
    "replay": ("pipeline.cli.replay:command", "Run the past through the same code again."),
    "run": ("pipeline.cli.run:command", "Run workers under supervision."),
    "scaling": ("pipeline.cli.scaling:command", "Say how many workers each stage should have."),
    "schemas": ("pipeline.cli.schemas:command", "Check schemas against their history."),
    "status": ("pipeline.cli.status:command", "Say how the cascade is."),
    "trace": ("pipeline.cli.trace:command", "Export a flow as a trace of OpenTelemetry."),
    "topics": ("pipeline.cli.topics:command", "Create and check the topics."),
    "users": ("pipeline.cli.users:command", "Say who may use the dashboard."),
    "versions": ("pipeline.cli.versions:command", "Show what each worker runs."),
    "validate": ("pipeline.cli.validate:command", "Run all rules over the cascade."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on their first use.

    `--help` lists them without importing any, so that it answers at once and a fault in one
    command leaves the others usable.

    Args:
        lazy: Name of each command to (`module:attribute`, its one line of help).
    """

    def __init__(
        self,
        *args: object,
        lazy: Mapping[str, tuple[str, str]],
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed on untouched
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, imported or not."""
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, importing it if need be; `None` where there is none."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module_name, attribute = self._lazy[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module_name), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"Expected a click command at {module_name}:{attribute}")
        illustrate(command, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands for `--help`, from the lazy table alone."""
        del ctx  # nothing in the list depends on how the group was called
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in sorted(self._lazy.items())])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; our errors end it in one sentence and an exit code.

        2 where nothing could be told or done, for want of a broker or of settings that work; 1
        where what was asked is refused. With `--debug` they keep their traceback.
        """
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"cascade: {error}", err=True)
            sys.exit(2 if isinstance(error, _CANNOT) else 1)


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="cascade")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.option(
    "--set",
    "flags",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting for this command, e.g. coordination.sync_timeout=2; may be repeated.",
)
@click.pass_context
def main(context: click.Context, debug: bool, flags: tuple[str, ...]) -> None:
    """Turn market data into order plans on Apache Kafka."""
    del debug  # LazyGroup.invoke reads it
    if os.environ.get("NO_COLOR"):
        context.color = False
    from pipeline.settings import flags_in_force, parse_flags

    context.with_resource(flags_in_force(parse_flags(flags)))
