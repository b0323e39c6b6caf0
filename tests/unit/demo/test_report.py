import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.broker import Broker
from pipeline.demo.accounting import account, decisions_sha256
from pipeline.demo.conclusion import describe
from pipeline.demo.latency import Latencies
from pipeline.demo.plan import DemoPlan, Kill
from pipeline.demo.report import write_report
from pipeline.demo.rig import Rig
from pipeline.demo.runner import DemoRun
from pipeline.demo.summary import KillSeen, Summary, summarise
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import load_settings
from pipeline.watch.observations import FlowEnd
from tests.unit.demo.factories import START_US, end, executed, fill, sent

_VOID = {"meta"}


class Balance(HTMLParser):
    """Finds tags that are not closed, and what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count nothing: it is closed."""

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()


def run_of(ends: list[FlowEnd], folder: Path) -> tuple[DemoRun, Summary]:
    """Return a run and its figures."""
    settings = load_settings(broker="localhost:1", namespace="demo-1", home=folder)
    rig = Rig(settings, Broker("localhost:1", "external"), started_broker=False, folder=folder)
    run = DemoRun(DemoPlan(source="<file>.csv", kills=(Kill(1.0, "risk"),)), rig)
    run.sent = [sent(number) for number in range(len(ends))]
    run.ends = ends
    run.fills = [fill(each.sequence) for each in ends if each.orders]
    due = {record.flow_id: record.intended_us for record in run.sent}
    summary = summarise(
        account(run.sent, (), ends, run.fills, []),
        Latencies.of(ends, {each.flow_id: each.appended_ms for each in run.fills}, due.get),
        ends,
        due_us=(START_US, run.sent[-1].intended_us),
        offered_per_second=200.0,
        decisions=decisions_sha256(ends),
        kills=[KillSeen("risk", 1.0, 4.25, "record")],
        about={"restarts": 1, "kafka_version": "4.1", "broker": "external localhost:1"},
    )
    return run, summary


def checked(page: str) -> str:
    """Return a page that is well-formed and needs nothing from elsewhere."""
    parser = Balance()
    parser.feed(page)
    assert ([], []) == (parser.open, parser.fetched)
    assert "<script" not in page
    assert "url(" not in page
    return page


def test_the_report_shows_the_run(tmp_path: Path) -> None:
    """All charts and tables are there, each order filled is marked, the kill is drawn."""
    ends = [executed(n) if n % 10 == 0 else end(n, reasons=("CALM",)) for n in range(400)]
    run, summary = run_of(ends, tmp_path)

    page = checked(write_report(run, summary))

    headings = re.findall("<h2>(.*?)</h2>", page)
    assert [
        "Targets", "Latency over time", "How latencies are spread", "Throughput", "Outcomes",
        "Latency by stage", "Prices and orders", "Equity as risk saw it", "All figures",
    ] == headings  # fmt: skip
    assert 40 == page.count('class="buy"')
    assert "risk killed" in page
    assert "CALM" in page
    assert "Every record accounted for" in page
    assert "&lt;file&gt;.csv" in page
    assert "prefers-color-scheme: dark" in page


def test_the_report_says_what_failed(tmp_path: Path) -> None:
    """A run with a lost flow says so at the top, in words."""
    run, summary = run_of([end(0), end(0)], tmp_path)
    page = checked(write_report(run, summary))
    assert "Checks failed" in page
    assert "1 without a record in the execution log" in page


@pytest.mark.parametrize("kind", [OutcomeKind.DEAD_LETTERED, OutcomeKind.EXPIRED])
def test_the_report_needs_no_trade(tmp_path: Path, kind: OutcomeKind) -> None:
    """A run in which nothing got through has a report too."""
    ends = [
        end(n, kind, stage="strategic")._replace(price=None, equity=None, trace=())
        for n in range(5)
    ]
    run, summary = run_of(ends, tmp_path)
    page = checked(write_report(run, summary))
    assert "No data." in page
    assert "not measured" in page


def test_the_summary_is_printed_in_words(tmp_path: Path) -> None:
    """The lines name counts, latencies, targets, the kill and the hash; faults stand out."""
    _, summary = run_of([executed(0), end(1), end(2), end(2)], tmp_path)
    text = "\n".join(describe(summary))
    assert "4 records in: 1 executed, 3 held" in text
    assert "risk killed at 1 s: 4.25 s to its next record" in text
    assert "target packets_per_second 1000: not measured: no_data" in text
    assert f"decisions_sha256 {summary.decisions_sha256}" in text
    assert "FAULT: 1 without a record" in text
    json.dumps(summary.to_dict())
