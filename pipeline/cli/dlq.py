"""`cascade dlq`: list and inspect dead letters, send them again, discard them."""

import base64
import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import click
import msgspec

from pipeline.cli.connection import connected_settings
from pipeline.cli.dlq_acting import discard, named, replay
from pipeline.replay import DeadLetters, DeadRecord, dead_topics, read_dead_letters
from pipeline.replay.flow_view import utc

__all__ = ["command"]

_SHOWN_BYTES = 256
_ROW_BYTES = 16

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("dlq")
def command() -> None:
    """List and inspect dead letters, send them into the cascade again, or discard them.

    `replay` and `discard` only say what they would do, unless --execute is given.
    """


@command.command("list")
@click.option("--topic", help="Only records of this input topic, without namespace.")
@click.option("--stage", help="Only records that this stage gave up.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Most records to show for each cause; with --json, in all. 0: no limit.",
)
@click.option("--all", "everything", is_flag=True, help="Those replayed or discarded, too.")
@_json_option
def list_(
    topic: str | None, stage: str | None, limit: int, everything: bool, as_json: bool
) -> None:
    """List the records that were dead-lettered and nobody has dealt with, by cause.

    A letter may have been written several times; it counts once.
    """
    found = read_dead_letters(connected_settings(), dead_topics(topic))
    chosen = tuple(
        each
        for each in found.records
        if stage in (None, each.letter.stage) and (everything or each.open)
    )
    found = DeadLetters(chosen, found.unreadable)
    click.echo(_as_json(found, limit) if as_json else _as_table(found, limit))


@command.command()
@click.argument("coordinates", metavar="TOPIC:PARTITION:OFFSET")
@_json_option
def show(coordinates: str, as_json: bool) -> None:
    """Show one record: why it was dead-lettered, and its bytes."""
    (record,) = named(connected_settings(), [coordinates])
    click.echo(json.dumps(_described(record), indent=2) if as_json else _page(record))


command.add_command(replay)
command.add_command(discard)


def _as_json(found: DeadLetters, limit: int) -> str:
    shown = found.records[: limit or None]
    causes = Counter(each.letter.error_class for each in found.records)
    content = {
        "total": len(found.records),
        "causes": dict(sorted(causes.items())),
        "unreadable": list(found.unreadable),
        "dead_letters": [_described(each) for each in shown],
    }
    return json.dumps(content, indent=2)


def _described(record: DeadRecord) -> dict[str, Any]:
    value = record.value
    return {
        "coordinates": str(record.coordinates),
        **msgspec.to_builtins(record.letter),
        "copies": record.copies,
        "dispositions": [asdict(each) for each in record.dispositions],
        "sha256": record.sha256,
        "size_bytes": len(value or b""),
        "key_base64": _base64(record.key),
        "value_base64": _base64(value),
    }


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _as_table(found: DeadLetters, limit: int) -> str:
    lines: list[str] = []
    for (cause, stage, topic), records in found.by_cause().items():
        lines.append(f"{cause}  {len(records)} of {topic}, given up by {stage}")
        for record in records[: limit or None]:
            size = len(record.value or b"")
            done = "".join(f"  {each.kind} by {each.author}" for each in record.dispositions)
            lines.append(
                f"  {record.coordinates!s:<28}  {size:>7} B  {record.letter.message}{done}"
            )
        if 0 < limit < len(records):
            lines.append(f"  and {len(records) - limit} more")
    copies = sum(each.copies for each in found.records)
    lines.append(f"{len(found.records)} records dead-lettered, {copies} letters")
    lines.extend(f"no dead letter: {each}" for each in found.unreadable)
    return "\n".join(lines)


def _page(record: DeadRecord) -> str:
    letter, value = record.letter, record.value or b""
    rows = {
        "record": str(record.coordinates),
        "cause": letter.error_class,
        "message": letter.message,
        "stage": f"{letter.stage} (group {letter.group}), attempt {letter.attempt}",
        "packet": letter.packet_id,
        "written": utc(letter.timestamp * 1000),
        "first seen": utc(letter.first_seen),
        "copies": str(record.copies),
        "key": repr(record.key),
        "value": "null" if record.value is None else f"{len(value)} bytes",
        "sha256": record.sha256,
    }
    lines = [f"{name:<11}{text}" for name, text in rows.items()]
    lines += [
        f"{each.kind:<11}by {each.author}, {utc(each.time)}: {each.reason} {each.target}".rstrip()
        for each in record.dispositions
    ]
    shown = range(0, min(len(value), _SHOWN_BYTES), _ROW_BYTES)
    lines.extend(_dump(start, value[start : start + _ROW_BYTES]) for start in shown)
    if len(value) > _SHOWN_BYTES:
        lines.append(f"  and {len(value) - _SHOWN_BYTES} more; --json has them all")
    return "\n".join(lines)


def _dump(start: int, row: bytes) -> str:
    text = "".join(chr(byte) if chr(byte).isprintable() and byte < 127 else "." for byte in row)  # noqa: PLR2004  # the end of ASCII
    return f"  {start:06x}  {row.hex(' '):<{_ROW_BYTES * 3}} {text}"
