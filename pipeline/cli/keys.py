"""`cascade keys`: what commands and order plans are signed with."""

import getpass
import json
import time
from pathlib import Path
from typing import Any

import click

from pipeline.control.security_log import publish_security_event
from pipeline.errors import PipelineError, UsageError
from pipeline.keys import Key, KeyMaker, Purpose, RingFile
from pipeline.packets.events import SecurityEventKind
from pipeline.settings import Settings, load_settings
from pipeline.settings.secret_files import SIGNING_KEY

__all__ = ["command"]

_GRACE_S = 3600.0
_HEADINGS = ("id", "purpose", "authors", "state")


@click.group("keys")
def command() -> None:
    r"""Make, list, rotate and revoke the keys that commands and order plans are signed with.

    CASCADE_KEYS names the key ring, which holds public keys alone and goes to every machine. Where
    it is set, whatever is not signed by a key of it is refused.

    \b
    export CASCADE_KEYS=keys.json
    cascade keys new operator --purpose control --author operator --out operator.key
    cascade keys new gateway  --purpose restrict --role gateway
    cascade keys new desk     --purpose plans    --role execution
    cascade keys rotate desk  --role execution
    cascade keys revoke desk
    """


_author = click.option(
    "--by", "author", default=getpass.getuser, metavar="NAME", help="Who does it, for the audit."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_out = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Where the private key goes."
)
_role = click.option(
    "--role", help="Put it among this role's credentials (CASCADE_CREDENTIALS) instead."
)


@command.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--purpose",
    type=click.Choice([each.value for each in Purpose]),
    required=True,
    help="control: every command; restrict: those that restrict; plans: order plans.",
)
@click.option(
    "--author",
    "authors",
    multiple=True,
    metavar="NAME",
    help="In whose name a control key may lift something; may be repeated.",
)
@_out
@_role
@_author
@_json
def new(
    key_id: str,
    purpose: str,
    authors: tuple[str, ...],
    out: Path | None,
    role: str | None,
    author: str,
    as_json: bool,
) -> None:
    """Make the key ID; with the first one, signing begins."""
    settings = load_settings()
    path = _place(settings, out, role)
    if purpose == Purpose.CONTROL and not authors:
        raise UsageError("Expected --author NAME for a control key, or it could lift nothing")
    key = KeyMaker(_ring(settings)).new(key_id, Purpose(purpose), authors, path)
    said = f"key {key.id} for {key.purpose} made, its private half at {path}"
    _done(settings, said, key, author, as_json)


@command.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--grace-s",
    type=click.FloatRange(0.0, 86_400.0 * 30),
    default=_GRACE_S,
    show_default=True,
    help="How long the old key still counts.",
)
@_out
@_role
@_author
@_json
def rotate(
    key_id: str, grace_s: float, out: Path | None, role: str | None, author: str, as_json: bool
) -> None:
    """Replace the key ID by a fresh one; running processes take it by themselves."""
    settings = load_settings()
    path = _place(settings, out, role)
    key = KeyMaker(_ring(settings)).rotate(key_id, path, grace_s)
    said = f"key {key_id} replaced by {key.id}, its private half at {path}"
    _done(settings, f"{said}; {key_id} counts for {grace_s:g} s more", key, author, as_json)


@command.command()
@click.argument("key_id", metavar="ID")
@_author
@_json
def revoke(key_id: str, author: str, as_json: bool) -> None:
    """Have nothing count that the key ID signs from now on."""
    settings = load_settings()
    key = KeyMaker(_ring(settings)).revoke(key_id)
    _done(settings, f"key {key.id} revoked", key, author, as_json)


@command.command("list")
@_json
def list_(as_json: bool) -> None:
    """List the keys of the ring, and whether they count."""
    ring = RingFile(_ring(load_settings())).current()
    now_us = time.time_ns() // 1000
    if as_json:
        click.echo(json.dumps([_described(key, now_us) for key in ring.keys], indent=2))
        return
    rows = [_HEADINGS]
    rows += [
        (key.id, key.purpose.value, ",".join(key.authors) or "-", key.state(now_us))
        for key in ring.keys
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        click.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)))


def _ring(settings: Settings) -> Path:
    if settings.keys is None:
        raise UsageError("Expected CASCADE_KEYS to name a key ring, was not set")
    return settings.keys


def _place(settings: Settings, out: Path | None, role: str | None) -> Path:
    """Return where a private key goes."""
    if (out is None) == (role is None):
        raise UsageError("Expected either --out FILE or --role ROLE")
    if out is not None:
        return out
    if settings.credentials is None:
        raise UsageError("Expected CASCADE_CREDENTIALS for --role, was not set")
    return settings.credentials / str(role) / SIGNING_KEY


def _done(settings: Settings, said: str, key: Key, author: str, as_json: bool) -> None:
    """Say what was done, and have it audited where there is a broker."""
    audited = False
    if settings.broker is not None:
        try:
            publish_security_event(
                settings, SecurityEventKind.KEY_CHANGE,
                author=author, subject=f"key {key.id}", detail=said,
            )  # fmt: skip
            audited = True
        except PipelineError as error:
            click.echo(f"Not audited: {error}", err=True)
    if as_json:
        shown = {**_described(key, time.time_ns() // 1000), "audited": audited}
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(said + ("" if audited else "; not audited, since no broker took it"))


def _described(key: Key, now_us: int) -> dict[str, Any]:
    return {
        "id": key.id,
        "purpose": key.purpose.value,
        "authors": list(key.authors),
        "public": key.public,
        "valid_from": key.valid_from,
        "valid_until": key.valid_until,
        "revoked_at": key.revoked_at,
        "state": key.state(now_us),
    }
