"""`cascade users`: who may use the dashboard, and what they may do there."""

import getpass
import json
import sys
from typing import TYPE_CHECKING

import click

from pipeline.errors import PipelineError
from pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from pipeline.dashboard.users import UserFile

__all__ = ["command"]

_ROLES = ("viewer", "operator", "risk-officer")
_MOST_BYTES = 8192
_TELL_S = 3.0

_role = click.option(
    "--role", type=click.Choice(_ROLES), default="viewer", show_default=True, help="What they may."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_from_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)


@click.group()
def command() -> None:
    """Add, list and remove users of the dashboard; give them roles.

    viewer looks; operator halts, isolates, releases, acknowledges; risk-officer resumes and resets,
    if CASCADE_CONTROL_AUTHORS of the workers names them, too. Passwords are asked for, and kept as
    scrypt hashes in a file that only its owner can read.
    """


@command.command()
@click.argument("name")
@_role
@_from_stdin
@_json_option
def add(name: str, role: str, password_stdin: bool, as_json: bool) -> None:
    """Add a user; their name is the author of the commands that they give."""
    from pipeline.dashboard.users import Role

    settings, users = _opened()
    users.add(name, Role(role), _password(password_stdin))
    _say(f"{name} is {role}", as_json=as_json, name=name, role=role)
    _tell(name, f"added as {role}")
    _hint(settings, name, role)


@command.command("list")
@_json_option
def list_(as_json: bool) -> None:
    """List the users and their roles."""
    _, users = _opened()
    found = [{"name": each.name, "role": each.role.value} for each in users.users().values()]
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        click.echo(f"{each['name']:<24} {each['role']}")
    if not found:
        click.echo("no users; add one with: cascade users add NAME --role risk-officer")


@command.command()
@click.argument("name")
@_json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a user; their sessions end at once."""
    _, users = _opened()
    users.remove(name)
    _say(f"{name} is removed", as_json=as_json, name=name, removed=True)
    _tell(name, "removed")


@command.command()
@click.argument("name")
@click.argument("role", type=click.Choice(_ROLES))
@_json_option
def role(name: str, role: str, as_json: bool) -> None:
    """Give a user another role; it holds from their next request on."""
    from pipeline.dashboard.users import Role

    settings, users = _opened()
    before = users.set_role(name, Role(role))
    _say(f"{name} is {role}", as_json=as_json, name=name, role=role)
    _tell(name, f"role {before.role} became {role}")
    _hint(settings, name, role)


@command.command()
@click.argument("name")
@_from_stdin
@_json_option
def password(name: str, password_stdin: bool, as_json: bool) -> None:
    """Give a user another password; their sessions end at once."""
    _, users = _opened()
    users.set_password(name, _password(password_stdin))
    _say(f"{name} has another password", as_json=as_json, name=name, changed=True)
    _tell(name, "password changed")


def _say(text: str, *, as_json: bool, **content: object) -> None:
    click.echo(json.dumps(content) if as_json else text)


def _opened() -> "tuple[Settings, UserFile]":
    from pipeline.dashboard.users import UserFile

    settings = load_settings()
    return settings, UserFile.of(settings)


def _password(from_stdin: bool) -> str:
    """Return the password as it was typed twice, or the first line of standard input."""
    if from_stdin:
        return sys.stdin.readline(_MOST_BYTES).rstrip("\r\n")
    given: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return given


def _tell(name: str, detail: str) -> None:
    """Tell the audit log; where no broker takes it, say so: the change stands all the same."""
    from pipeline.cli.connection import connected_settings
    from pipeline.control.security_log import publish_security_event
    from pipeline.packets.events import SecurityEventKind

    try:
        publish_security_event(
            connected_settings(),
            SecurityEventKind.ROLE_CHANGE,
            author=_user(),
            subject=f"user {name}",
            detail=detail,
            timeout_s=_TELL_S,
        )
    except PipelineError as error:
        click.echo(f"The audit log does not know of it: {error}", err=True)


def _user() -> str:
    """Return who runs this, as the operating system says."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _hint(settings: Settings, name: str, role: str) -> None:
    if role == "risk-officer" and name not in settings.control_authors:
        click.echo(
            f"The workers will not let {name} resume until CASCADE_CONTROL_AUTHORS names them too.",
            err=True,
        )
