"""The live view of a demo: a table that redraws itself, or plain lines where that cannot be."""

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.demo.pulse import Snapshot, StageView
from pipeline.watch.latency import LatencyFigures
from pipeline.watch.observations import FillSeen

__all__ = ["LiveView", "line", "render"]

_LINE_EVERY_S = 2.0
_GOOD = {"executed", "held", "rejected"}


class LiveView:
    """Shows snapshots; a context manager that gives the terminal back.

    Args:
        title: What is run.
        seconds: How long counted data is sent.
        console: Where to; standard output by default.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        title: str,
        seconds: float,
        console: Console | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._seconds = seconds
        self._console = console or Console(highlight=False)
        self._monotonic = monotonic
        fancy = self._console.is_terminal and not os.environ.get("NO_COLOR")
        self._live = Live(console=self._console, refresh_per_second=4) if fancy else None
        self._showing = False
        self._next_line_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def say(self, text: str) -> None:
        """Print a line of its own, above the view."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Show the state of things."""
        if self._live is not None:
            if not self._showing:
                self._live.start()
                self._showing = True
            self._live.update(render(snapshot, self._title, self._seconds))
        elif self._monotonic() >= self._next_line_s:
            self._next_line_s = self._monotonic() + _LINE_EVERY_S
            self.say(line(snapshot))

    def end(self) -> None:
        """Leave the last state standing."""
        if self._live is not None and self._showing:
            self._live.stop()
            self._showing = False


def line(snapshot: Snapshot) -> str:
    """Return a snapshot as one plain line."""
    latency = snapshot.end_to_end or snapshot.every_flow
    milliseconds = "-"
    if latency is not None:
        milliseconds = f"{latency.p50:.0f}/{latency.p95:.0f}/{latency.p99:.0f} ms"
    outcomes = ", ".join(f"{count} {name}" for name, count in snapshot.outcomes.items() if count)
    return (
        f"{snapshot.elapsed_s:5.1f} s  sent {snapshot.sent}, ended {snapshot.ended}"
        f" ({snapshot.ended_per_second:.0f}/s), p50/p95/p99 {milliseconds},"
        f" {outcomes or 'no outcome'}, {snapshot.filled} orders filled"
    )


def render(snapshot: Snapshot, title: str, seconds: float) -> RenderableType:
    """Return a snapshot as something to print."""
    head = Text(
        f"{title}   {min(snapshot.elapsed_s, seconds):.0f} of {seconds:g} s"
        f"   sent {snapshot.sent} ({snapshot.sent_per_second:.0f}/s)"
        f"   ended {snapshot.ended} ({snapshot.ended_per_second:.0f}/s)"
        f"   in flight {max(0, snapshot.sent - snapshot.ended)}"
    )
    below = Columns([_outcomes(snapshot), _orders(snapshot.last_orders)], padding=(0, 3))
    return Panel(Group(head, "", _stages(snapshot), "", below), title="cascade demo")


def _stages(snapshot: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("records", "per second", "lag", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for stage in snapshot.stages:
        table.add_row(*_stage_cells(stage))
    whole = [("end to end", snapshot.end_to_end), ("every flow", snapshot.every_flow)]
    for name, figures in whole:
        count = str(figures.count) if figures else "0"
        table.add_row(name, count, "", "", *_milliseconds(figures), style="bold")
    return table


def _stage_cells(stage: StageView) -> tuple[str, ...]:
    name = "due to fill" if stage.name == "gateway" else stage.name
    return (
        name,
        str(stage.records),
        f"{stage.per_second:.0f}",
        str(stage.lag),
        *_milliseconds(stage.latency),
    )


def _milliseconds(figures: LatencyFigures | None) -> tuple[str, str, str]:
    if figures is None:
        return "-", "-", "-"
    return f"{figures.p50:.1f}", f"{figures.p95:.1f}", f"{figures.p99:.1f}"


def _outcomes(snapshot: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("outcome")
    table.add_column("flows", justify="right")
    for name, count in snapshot.outcomes.items():
        bad = count and name not in _GOOD
        table.add_row(name, str(count), style="red" if bad else "")
    table.add_row("orders filled", str(snapshot.filled))
    equity = "-" if snapshot.equity is None else f"{snapshot.equity:,.0f}"
    table.add_row("equity", equity)
    return table


def _orders(last: tuple[FillSeen, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("last orders", "side", "filled", "price", "result"):
        table.add_column(name, justify="left" if name in ("last orders", "result") else "right")
    for each in last:
        cells = (f"{each.filled:g} of {each.quantity:g}", f"{each.price:.2f}", each.kind.value)
        table.add_row(each.symbol, each.side, *cells, style="green" if each.filled else "yellow")
    return table
