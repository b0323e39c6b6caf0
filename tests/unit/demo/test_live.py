import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.demo.ledger import LedgerReader
from pipeline.demo.live import LiveView, line, render
from pipeline.demo.pulse import Pulse, Snapshot
from tests.unit.demo.factories import end, executed, fill
from tests.unit.demo.test_pulse import Logs, Seen


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """A demo with two flows ended and one order filled."""
    seen, logs = Seen(), Logs()
    pulse = Pulse(seen, LedgerReader(tmp_path / "none"), logs.ends, logs.monotonic)
    seen.ends += [end(0), executed(1)]
    seen.fills.append(fill(1))
    logs.now_s = 3.0
    return pulse.take()


def shown(console: Console) -> str:
    """Return what a console wrote."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_snapshot_is_a_line_of_text(snapshot: Snapshot) -> None:
    """Where nothing can be redrawn, a line says it all."""
    text = line(snapshot)
    assert "ended 2" in text
    assert "1 executed, 1 held" in text
    assert "1 orders filled" in text


def test_a_snapshot_is_a_table(snapshot: Snapshot) -> None:
    """The view names every stage, the outcomes and the last orders."""
    console = Console(file=io.StringIO(), width=110)
    console.print(render(snapshot, "sample at 200/s", 20.0))
    text = shown(console)
    for name in ("strategic", "tactical", "risk", "execution", "due to fill", "end to end"):
        assert name in text
    assert "executed" in text
    assert "10 of 10" in text
    assert "1,000,001" in text


def test_plain_lines_where_there_is_no_terminal(snapshot: Snapshot) -> None:
    """Into a file or a pipe go lines without colours, not too many of them."""
    clock = [0.0]
    console = Console(file=io.StringIO(), width=300)
    with LiveView("sample", 20.0, console, lambda: clock[0]) as view:
        for now_s in (0.0, 0.5, 1.0, 2.5):
            clock[0] = now_s
            view.show(snapshot)
        view.say("over")
    lines = shown(console).splitlines()
    assert [line(snapshot), line(snapshot), "over"] == lines


def test_no_color_means_plain_lines(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR has a terminal get plain lines too."""
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=300, force_terminal=True)
    with LiveView("sample", 20.0, console) as view:
        view.show(snapshot)
    assert line(snapshot) == shown(console).rstrip()


def test_a_terminal_gets_a_view_that_redraws_itself(snapshot: Snapshot) -> None:
    """On a terminal the table is drawn in place, and the cursor is given back."""
    console = Console(file=io.StringIO(), width=110, force_terminal=True)
    with LiveView("sample", 20.0, console) as view:
        view.show(snapshot)
        view.say("above")
    text = shown(console)
    assert "strategic" in text
    assert "above" in text
    assert text.rstrip().endswith("\x1b[?25h")  # shows the cursor again
