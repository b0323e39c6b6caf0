"""`cascade publish`: send market data to the pipeline."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import click
import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from pipeline.cli.connection import connected_settings
from pipeline.errors import BrokerUnavailable
from pipeline.market import FaultPlan, Feed, Publisher, PublishReport, open_feed
from pipeline.market.faults import FAULTS
from pipeline.packets import codec
from pipeline.packets.lanes import INGEST_TOPIC
from pipeline.packets.models import MarketData
from pipeline.registry import Registry, RegistryCodec
from pipeline.settings import Settings

__all__ = ["command"]

_DEFAULT_RATE = 200.0
_INTERRUPTED = 130


@click.command("publish")
@click.option(
    "--source",
    default="sample",
    show_default=True,
    help="sample, synthetic, or a .csv, .csv.gz or .parquet file with columns time, symbol, open,"
    " high, low, close, volume.",
)
@click.option("--symbols", type=click.IntRange(1, 10_000), help="How many symbols.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.0),
    help=f"Records a second, {_DEFAULT_RATE:g} by default; 0: as fast as can be.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0.0, min_open=True),
    help="Instead of a rate: market seconds per second.",
)
@click.option("--bars", type=click.IntRange(min=1), help="Stop after so many bars of the source.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.0, min_open=True), help="Send what is due within this."
)
@click.option(
    "--faults",
    metavar="NAME[=SHARE],...",
    default="",
    help=f"Spoil some of it: {', '.join(FAULTS)}; a share is 0.01 unless given.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of all that is made up.")
@click.option("--interval", "interval_s", type=click.IntRange(min=1), help="Seconds of a bar.")
@click.option(
    "--start-sequence",
    type=click.IntRange(min=0),
    help="Number of each symbol's first bar; by default from the time of day, 0 under the event"
    " clock.",
)
@click.option(
    "--registry", is_flag=True, help="In the framing of the schema registry: CASCADE_REGISTRY_URL."
)
@click.option("--strict", is_flag=True, help="Exit code 1 if the source had rows that are no bars.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(  # click passes options by name
    source: str,
    symbols: int | None,
    rate: float | None,
    speed: float | None,
    bars: int | None,
    seconds: float | None,
    faults: str,
    seed: int,
    interval_s: int | None,
    start_sequence: int | None,
    registry: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Publish market data.

    Records go out on a fixed schedule: one that is late is sent at once, none is skipped. Ctrl-C
    stops after what is under way.
    """
    plan = FaultPlan.parse(faults)
    feed = open_feed(source, symbols=symbols, seed=seed, interval_s=interval_s)
    settings = connected_settings()
    publisher = Publisher(settings, encode=_framing(settings, registry=registry))
    with _stop_on_signals() as stop, _progress(feed, bars, hidden=as_json) as progress:
        task = progress.task_ids[0]
        report = publisher.publish(
            feed,
            rate=_DEFAULT_RATE if rate is None and speed is None else rate,
            speed=speed,
            bars=bars,
            seconds=seconds,
            faults=plan,
            seed=seed,
            start_sequence=start_sequence,
            on_progress=lambda taken, sent: progress.update(task, completed=taken, sent=sent),
            stop=stop,
        )
    click.echo(_json(report) if as_json else _summary(report))
    _end(report, strict=strict)


def _framing(settings: Settings, *, registry: bool) -> Callable[[MarketData], bytes]:
    """Return what gives packets their bytes."""
    if not registry:
        return codec.encode
    registered = RegistryCodec(settings, Registry(settings))
    return partial(registered.encode, topic=INGEST_TOPIC)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        stop.set()

    before = {name: signal.signal(name, handle) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _progress(feed: Feed, bars: int | None, *, hidden: bool) -> Progress:
    """Return a progress bar on stderr, with its one task; shown on a terminal only."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("bars, {task.fields[sent]} records"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
    )
    known = [count for count in (feed.expected_bars, bars) if count is not None]
    progress.add_task(f"Publishing {feed.label}", total=min(known, default=None), sent=0)
    return progress


def _json(report: PublishReport) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def _summary(report: PublishReport) -> str:
    what = f"{report.source}: {report.bars} bars, {report.sent} records sent"
    pace = f"in {report.duration_s:.1f} s ({report.records_per_second:.0f}/s)"
    lines = [
        f"{what}, {report.delivered} delivered, {pace}",
        f"late: p99 {report.late_ms_p99:.1f} ms, max {report.late_ms_max:.1f} ms",
    ]
    spoilt = {kind: count for kind, count in report.kinds.items() if count and kind != "bar"}
    if report.gaps:
        spoilt["gap"] = report.gaps
    if spoilt:
        lines.append("faults: " + ", ".join(f"{count} {kind}" for kind, count in spoilt.items()))
    return "\n".join(lines)


def _end(report: PublishReport, *, strict: bool) -> None:
    """Warn and set the exit code by what went wrong."""
    if report.rejected_rows:
        click.echo(f"warning: {report.rejected_rows} rows left out", err=True)
        for message in report.rejected:
            click.echo(f"  {message}", err=True)
        if report.rejected_rows > len(report.rejected):
            click.echo(f"  and {report.rejected_rows - len(report.rejected)} more", err=True)
    if report.failed:
        raise BrokerUnavailable(
            f"Expected {report.sent} records to be delivered, was {report.delivered}: "
            f"{report.first_error or 'no answer in time'}"
        )
    if report.stopped:
        sys.exit(_INTERRUPTED)
    if strict and report.rejected_rows:
        sys.exit(1)
