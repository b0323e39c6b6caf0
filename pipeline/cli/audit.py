"""`cascade audit`: verify the audit log, export it, read it."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pipeline.audit.chain import ChainFault, ChainReader, FaultKind
from pipeline.audit.content import details_of
from pipeline.audit.reading import newest_progress, read_audit_log
from pipeline.audit.source import range_reader
from pipeline.audit.verifying import Raw, Verdict, against_topics, exported, read_exported, verify
from pipeline.cli.connection import connected_settings
from pipeline.packets.events import AuditRecord

__all__ = ["command"]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_file_option = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="An exported audit log; none: that of the broker.",
)


@click.group("audit")
def command() -> None:
    """Verify the audit log, export it, and read what it says."""


@dataclass(frozen=True, slots=True)
class _Compared:
    """What came of comparing windows with the topics."""

    ranges: int
    gone: int
    faults: list[ChainFault]


@command.command("verify")
@_file_option
@click.option(
    "--against-topics", is_flag=True, help="Compare each window with what stands in the topics now."
)
@click.option("--head", metavar="SEQUENCE:SHA256", help="A record noted before, to be there still.")
@_json_option
def verify_(file: Path | None, head: str | None, *, against_topics: bool, as_json: bool) -> None:
    """Check that the audit log is as it was written.

    Exit code 0: it is; 1: it is not, and what was changed, is missing or out of order is named;
    2: it cannot be read.
    """
    raw = list(_raw(file))
    verdict = verify(raw)
    if head is not None:
        verdict.faults += _head_faults(raw, head)
    if file is None:
        verdict.faults += _cut_off(verdict, raw)
    compared = _compare(verdict) if against_topics else None
    if as_json:
        content = verdict.as_dict()
        if compared is not None:
            content["compared"] = {"ranges": compared.ranges, "gone": compared.gone}
        click.echo(json.dumps(content, indent=2))
    else:
        click.echo("\n".join(_lines(verdict, compared)))
    sys.exit(0 if verdict.intact else 1)


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_json_option
def export(file: Path, *, as_json: bool) -> None:
    """Write the audit log to a file; `cascade audit verify --file FILE` checks it anywhere."""
    with file.open("w", encoding="utf-8") as out:
        count = exported(read_audit_log(connected_settings()), out)
    said = {"records": count, "file": str(file)}
    click.echo(json.dumps(said) if as_json else f"{count} records written to {file}")


@command.command("list")
@_file_option
@click.option(
    "--kind", type=click.Choice(["finding", "security", "window", "start"]), multiple=True,
    default=("finding", "security"), show_default=True, help="What to list.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@_json_option
def list_(file: Path | None, kind: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    """List the newest findings and security events."""
    reader = ChainReader(None)
    links = [link for offset, value in _raw(file) if (link := reader.add(offset, value))]
    chosen = [each.record for each in links if details_of(each.record).get("kind") in kind]
    rows = [_row(each) for each in chosen[-limit:]]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['sequence']:>8} {row['time']} {row['level']:8} {row['message']}")
    if not rows:
        click.echo("Nothing of the kind.")


@command.command()
@click.argument("sequence", type=click.IntRange(min=0))
@_file_option
@_json_option
def show(sequence: int, file: Path | None, *, as_json: bool) -> None:
    """Show one record of the audit log with all that it says."""
    reader = ChainReader(None)
    for offset, value in _raw(file):
        link = reader.add(offset, value)
        if link is not None and link.record.sequence == sequence:
            found = {**_row(link.record), "sha256": link.sha256, "offset": link.offset}
            details = details_of(link.record)
            if as_json:
                click.echo(json.dumps({**found, "details": details}, indent=2))
            else:
                rows = (found | details).items()
                click.echo("\n".join(f"{name:16} {value}" for name, value in rows))
            return
    raise click.ClickException(f"Expected a record {sequence} that counts, was none")


def _raw(file: Path | None) -> Iterable[Raw]:
    return read_audit_log(connected_settings()) if file is None else read_exported(file)


def _row(record: AuditRecord) -> dict[str, Any]:
    time = datetime.fromtimestamp(record.timestamp / 1e6, UTC)
    return {
        "sequence": record.sequence,
        "time": time.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "level": record.level,
        "message": record.message,
    }


def _head_faults(raw: Iterable[Raw], head: str) -> list[ChainFault]:
    """Look for a record noted before: who rewrote the whole log could not keep it."""
    sequence, _, sha256 = head.partition(":")
    reader = ChainReader(None)
    for offset, value in raw:
        link = reader.add(offset, value)
        if link is not None and (str(link.record.sequence), link.sha256) == (sequence, sha256):
            return []
    number = int(sequence) if sequence.isdigit() else -1
    return [ChainFault(FaultKind.CHANGED, number, -1, f"no record of that hash {sha256}")]


def _cut_off(verdict: Verdict, raw: Iterable[Raw]) -> list[ChainFault]:
    """Compare the end of the log with the auditor's last word: a chain cannot tell its own end."""
    progress = newest_progress(connected_settings())
    if progress is None or progress.sequence <= verdict.head[0]:
        return _head_faults(raw, f"{progress.sequence}:{progress.sha256}") if progress else []
    first = verdict.head[0] + 1
    text = f"the auditor has said to have written up to {progress.sequence}"
    return [ChainFault(FaultKind.MISSING, first, -1, text)]


def _compare(verdict: Verdict) -> _Compared:
    first, read = range_reader(connected_settings())
    try:
        compared = _Compared(*against_topics(verdict, first, read))
    finally:
        read.close()
    verdict.faults += compared.faults
    return compared


def _lines(verdict: Verdict, compared: _Compared | None) -> Iterable[str]:
    content = verdict.as_dict()
    yield (
        f"{verdict.records} records from {verdict.first} to {verdict.head[0]},"
        f" {content['windows']} windows, {content['audited_records']} records audited"
    )
    yield (
        f"{verdict.packets_in} packets in = {verdict.outcomes.total()} ended +"
        f" {verdict.packets_in - verdict.outcomes.total()} under way or lost:"
        f" {dict(verdict.outcomes)}"
    )
    yield f"findings {dict(verdict.findings)}, security events {dict(verdict.events)}"
    if verdict.lost_races:
        yield f"{verdict.lost_races} records lost a race between auditors and do not count"
    if compared is not None:
        yield f"{compared.ranges} ranges compared with the topics, {compared.gone} gone"
    yield f"head {verdict.head[0]}:{verdict.head[1]}"
    for each in verdict.faults:
        yield f"{each.kind.upper()} at sequence {each.sequence} (offset {each.offset}): {each.text}"
    yield "audit log intact" if verdict.intact else "audit log BROKEN"
