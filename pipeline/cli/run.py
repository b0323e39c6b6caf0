"""`cascade run`: the workers of this machine, supervised, in the foreground."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType

import click

from pipeline.cli.connection import connected_settings
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.run import STAGES, EventKind, Owned, WorkerEvent, worker_specs
from pipeline.run.autoscale import Autoscaler
from pipeline.run.session import LocalRun, log_folder
from pipeline.settings import Settings

__all__ = ["command"]

_POLL_S = 0.2
_STOP_S = 10.0


@click.command("run")
@click.argument("stages", nargs=-1, metavar="[STAGE]...")
@click.option("--single", is_flag=True, help="The four stages in one process: fewer wake-ups.")
@click.option("--paired", is_flag=True, help="The four stages in two processes.")
@click.option(
    "--workers",
    multiple=True,
    metavar="STAGE=N",
    help="So many workers of a stage, which share its partitions; may be repeated.",
)
@click.option("--standby", is_flag=True, help="One more worker of each stage, to take over.")
@click.option(
    "--emergency/--no-emergency",
    default=None,
    help="The emergency worker too, or not; where no stages are named, it runs.",
)
@click.option(
    "--watch/--no-watch",
    default=None,
    help="The workers that watch, too, or not; where no stages are named, they run.",
)
@click.option(
    "--autoscale",
    is_flag=True,
    help="Add and end workers of the stages as the monitor recommends; on one machine only.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def command(
    stages: tuple[str, ...],
    single: bool,
    paired: bool,
    workers: tuple[str, ...],
    standby: bool,
    emergency: bool | None,
    watch: bool | None,
    autoscale: bool,
    as_json: bool,
) -> None:
    """Run workers until Ctrl-C: strategic, tactical, risk, execution, gateway, or those named.

    Where none are named, the emergency worker runs beside them: it detects emergencies, and has
    this supervisor restart workers where a recovery plan says so. So do the workers that watch the
    path: the monitor measures it.

    A worker that ends is started again. Ctrl-C ends them in order; a second one at once. Each has
    its log file under CASCADE_HOME/logs/NAMESPACE.
    """
    if autoscale and (single or paired):
        raise UsageError("Expected --autoscale without --single and --paired: they share processes")
    settings = connected_settings()
    specs = worker_specs(
        stages,
        single=single,
        paired=paired,
        workers=_counts(workers),
        standby=standby,
        emergency=not stages if emergency is None else emergency,
        watch=not stages if watch is None else watch,
        log_level=settings.log_level,
    )
    printer = _Printer(as_json=as_json)
    run = LocalRun(
        settings, specs, coordinated=True, on_event=printer.event, on_owned=printer.owned
    )
    printer.line(f"logs go to {log_folder(settings)}; Ctrl-C ends the run")
    with _stop_on_signals() as stop:
        try:
            with run, _scaling(settings, run, printer, asked=autoscale):
                _wait(run, stop, printer)
                printer.line("stopping")
                stopper = threading.Thread(target=run.supervisor.stop, args=(_STOP_S,))
                stopper.start()
                while stopper.is_alive():
                    if stop.count > 1:
                        run.supervisor.stop(0.0)
                    stopper.join(_POLL_S)
        finally:
            printer.line(f"all workers ended, {run.supervisor.restarts} restarts")


@contextmanager
def _scaling(
    settings: Settings, run: LocalRun, printer: "_Printer", *, asked: bool
) -> Iterator[None]:
    if not asked:
        yield
        return
    autoscaler = Autoscaler(settings, run.supervisor, run.stages, printer.line)
    autoscaler.start()
    try:
        yield
    finally:
        autoscaler.close()


def _wait(run: LocalRun, stop: "_Stop", printer: "_Printer") -> None:
    waiting = True
    while not stop.count:
        try:
            missing = run.watch()
        except BrokerUnavailable as error:
            printer.line(f"the broker does not answer: {error}")
            time.sleep(1.0)
            continue
        if waiting and not missing:
            printer.line("all stages own their logs")
        waiting = bool(missing)
        if not waiting:
            stop.event.wait(_POLL_S)


def _counts(workers: tuple[str, ...]) -> dict[str, int]:
    counts = {}
    for text in workers:
        stage, separator, number = text.partition("=")
        if not separator or not number.isdecimal() or stage not in STAGES:
            raise UsageError(
                f"Expected --workers STAGE=N with a stage of {', '.join(STAGES)}, was {text!r}"
            )
        counts[stage] = int(number)
    return counts


class _Printer:
    """Prints one line per change of state.

    Args:
        as_json: Each as an object with time, text and what it is about.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def line(self, text: str, **about: object) -> None:
        """Print a line with the time of day."""
        now = datetime.now().astimezone()
        if self._as_json:
            said = {"time": now.isoformat(timespec="milliseconds"), "text": text, **about}
            click.echo(json.dumps(said))
        else:
            click.echo(f"{now.strftime('%H:%M:%S.%f')[:-3]} {text}")

    def event(self, event: WorkerEvent) -> None:
        """Print what happened to a worker."""
        about = {"worker": event.worker, "event": event.kind.name.lower(), "pid": event.pid}
        if event.kind is EventKind.STARTED:
            self.line(f"{event.worker}: started, process {event.pid}", **about)
        elif event.kind is EventKind.EXITED:
            again = f"starts again in {event.pause_s:g} s"
            self.line(f"{event.worker}: ended with {_ending(event.exit_code)}, {again}", **about)
        elif event.kind is EventKind.STOPPED:
            self.line(f"{event.worker}: stopped with {_ending(event.exit_code)}", **about)

    def owned(self, owned: Owned) -> None:
        """Print that a log partition has an owner."""
        where = f"partition {owned.partition} of its log from epoch {owned.epoch}"
        about = {"stage": owned.stage, "partition": owned.partition, "epoch": owned.epoch}
        self.line(f"{owned.stage}: owns {where} ({owned.owner})", event="owned", **about)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


class _Stop:
    """How often the user asked to stop."""

    def __init__(self) -> None:
        self.count = 0
        self.event = threading.Event()


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    stop = _Stop()

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        stop.count += 1
        stop.event.set()

    names = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if os.name == "posix" else [])]
    before = {name: signal.signal(name, handle) for name in names}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
