"""The HTML report of a demo: one file, no scripts, nothing from elsewhere."""

import json
from collections import Counter
from collections.abc import Sequence
from html import escape

from pipeline.demo.runner import DemoRun
from pipeline.demo.summary import Summary, Target
from pipeline.pages import series
from pipeline.pages.charts import Bars, Chart, Line, Rule, draw, thinned
from pipeline.pages.page import page, table, tiles
from pipeline.watch.observations import FlowEnd

__all__ = ["write_report"]

_MOST_SYMBOLS = 6
_MOST_REASONS = 15
_BINS = 60
_DECADES = range(-2, 7)
_VERDICTS = {"pass": "✓ pass", "fail": "✗ fail", "no_data": "not measured"}


def write_report(run: DemoRun, summary: Summary) -> str:
    """Return the report of a run as a whole HTML page."""
    view = _View(run, summary)
    title = f"{run.plan.source} at {run.plan.rate:g}/s"
    sections = (
        ("", view.tiles()),
        ("Targets", view.targets()),
        ("Latency over time", draw(view.latency())),
        ("How latencies are spread", draw(view.spread())),
        ("Throughput", draw(view.throughput())),
        ("Outcomes", view.outcomes()),
        ("Latency by stage", view.stages()),
        ("Prices and orders", view.prices()),
        ("Equity as risk saw it", draw(view.equity())),
        ("All figures", view.figures()),
    )
    return page(title, view.head(), sections)


class _View:
    """The parts of the report."""

    def __init__(self, run: DemoRun, summary: Summary) -> None:
        self._run = run
        self._summary = summary
        self._ends = [end for end in run.ends if end.flow_id not in run.warm_up]
        self._due = {flow.flow_id: flow.intended_us for flow in run.sent}
        self._first_us = min(self._due.values())
        self._bin_s = max(0.25, run.plan.seconds / _BINS)

    def head(self) -> str:
        content, about = self._summary.to_dict(), self._summary.about
        verdict = (
            '<p class="verdict bad">✗ Checks failed</p>'
            if self._summary.failed
            else '<p class="verdict good">✓ Every record accounted for, no order sent twice</p>'
        )
        faults = "".join(f"<li>{escape(fault)}</li>" for fault in self._summary.faults)
        machine = about.get("machine", {})
        text = (
            f"{about.get('source')} data, {self._run.plan.seconds:g} s, namespace"
            f" {about.get('namespace')}; Kafka {content.get('kafka_version') or ''} at"
            f" {content.get('broker')}; {machine.get('cpus')} CPUs, load"
            f" {machine.get('load_1_min')}, Python {machine.get('python')}."
            f" {about.get('warm_up_records')} records before these warmed everything up and do not"
            " count. Latencies run from the moment a record was due, so a late publisher counts"
            " as latency too."
        )
        return f'{verdict}<ul>{faults}</ul><p class="muted">{escape(text)}</p>'

    def tiles(self) -> str:
        accounts, content = self._summary.accounts, self._summary.to_dict()
        latency = content["latency_ms"]
        figures = (
            ("records in", f"{accounts.packets_in:,}"),
            ("unaccounted", str(accounts.unaccounted)),
            ("order plans", f"{accounts.order_plans:,}"),
            ("fills", f"{accounts.fills:,}"),
            ("duplicate orders", str(len(accounts.duplicate_orders))),
            ("records/s through", f"{content['packets_per_second'] or 0:,.0f}"),
            ("p99 end to end", f"{latency['p99']:.1f} ms" if latency else "none"),
            ("error rate", f"{(content['error_rate'] or 0) * 100:.2f} %"),
        )
        return tiles(figures)

    def targets(self) -> str:
        rows = [
            (name, f"{target.limit:g}", _value(target), _VERDICTS[target.verdict])
            for name, target in self._summary.targets.items()
        ]
        return table(("target", "limit", "measured", "verdict"), rows)

    def latency(self) -> Chart:
        found = series.latency_over_time(self._latencies(), self._first_us, self._bin_s)
        return Chart(
            "Latency over time",
            "s after the first record",
            "ms, every flow",
            lines=(
                Line("p50", [(each.at_s, each.p50) for each in found], "s1"),
                Line("p99", [(each.at_s, each.p99) for each in found], "s2"),
            ),
            rules=(Rule(100.0, "target p99 100 ms", across=True), *self._kills()),
        )

    def spread(self) -> Chart:
        columns = series.histogram([latency for _, latency in self._latencies()])
        figures = self._summary.latencies.every_flow.figures()
        rules = [] if figures is None else [("p50", figures.p50), ("p99", figures.p99)]
        decades = [(float(each), f"{10.0**each:g}") for each in _DECADES]
        inside = [
            each for each in decades if columns and columns[0][0] <= each[0] <= columns[-1][1]
        ]
        return Chart(
            "How latencies are spread",
            "ms, each column a twentieth of a decade",
            "flows",
            bars=(Bars("flows", columns),),
            rules=[Rule(series.log10_ms(value), name) for name, value in rules],
            x_ticks=inside,
        )

    def throughput(self) -> Chart:
        sent = series.per_second(
            (flow.intended_us for flow in self._run.sent), self._first_us, self._bin_s
        )
        ended = series.per_second(
            (end.finished for end in self._ends if end.trace), self._first_us, self._bin_s
        )
        return Chart(
            "Throughput",
            "s after the first record",
            "records/s",
            lines=(Line("due", sent, "s3"), Line("ended", ended, "s1")),
            rules=self._kills(),
        )

    def outcomes(self) -> str:
        total = max(1, self._summary.accounts.packets_in)
        rows = [
            (name, f"{count:,}", f"{count / total:.1%}", _bar(count / total))
            for name, count in self._summary.accounts.outcomes.items()
        ]
        reasons: Counter[tuple[str, str, str]] = Counter(
            (end.kind.value, end.stage, ", ".join(end.reasons)) for end in self._ends if end.reasons
        )
        why = [
            (kind, stage, reason, f"{count:,}")
            for (kind, stage, reason), count in reasons.most_common(_MOST_REASONS)
        ]
        first = table(("outcome", "flows", "share", ""), rows, raw=3)
        return first + "<h3>Why</h3>" + table(("outcome", "sealed by", "reasons", "flows"), why)

    def stages(self) -> str:
        recorders = {
            **self._summary.latencies.stages,
            "all four decided": self._summary.latencies.end_to_end,
            "every flow": self._summary.latencies.every_flow,
            "due to fill": self._summary.latencies.to_fill,
        }
        rows = []
        for name, recorder in recorders.items():
            if figures := recorder.figures():
                numbers = (figures.mean, figures.p50, figures.p95, figures.p99, figures.max)
                cells = (f"{number:.1f}" for number in numbers)
                rows.append((name, f"{figures.count:,}", *cells))
        note = (
            '<p class="muted">A stage\'s share runs from the decision before it to its own:'
            " transport is included, and the shares of a flow add up.</p>"
        )
        columns = ("ms", "flows", "mean", "p50", "p95", "p99", "max")
        return table(columns, rows) + note

    def prices(self) -> str:
        lines = series.prices(self._ends, self._first_us)
        accepted = {end.flow_id: end.accepted_at for end in self._ends}
        marks = series.fill_marks(self._run.fills, accepted, self._first_us)
        # Symbols with orders first: those are what one looks for.
        chosen = sorted(lines, key=lambda name: (-len(marks.get(name, ())), name))[:_MOST_SYMBOLS]
        parts = []
        for symbol in sorted(chosen):
            chart = Chart(
                f"Prices of {symbol} with the orders filled",
                "s after the first record",
                "price",
                lines=(Line("close", thinned(lines[symbol]), "s1"),),
                marks=marks.get(symbol, ()),
                from_zero=False,
            )
            parts.append(f"<h3>{escape(symbol)}</h3>{draw(chart)}")
        left_out = len(lines) - len(chosen)
        note = f'<p class="muted">{left_out} more symbols are not drawn.</p>' if left_out else ""
        return "".join(parts) + note

    def equity(self) -> Chart:
        points = [
            ((end.accepted_at - self._first_us) / 1e6, end.equity)
            for end in self._ends
            if end.equity is not None
        ]
        return Chart(
            "Equity as risk saw it",
            "s after the first record",
            "currency",
            lines=(Line("equity", thinned(sorted(points)), "s1"),),
            from_zero=False,
        )

    def figures(self) -> str:
        content = escape(json.dumps(self._summary.to_dict(), indent=2))
        return f"<details><summary>as JSON</summary><pre>{content}</pre></details>"

    def _kills(self) -> list[Rule]:
        return [Rule(kill.at_s, f"{kill.stage} killed") for kill in self._summary.kills]

    def _latencies(self) -> list[tuple[int, int]]:
        return [
            (self._due[end.flow_id], end.finished - self._due[end.flow_id]) for end in self._in()
        ]

    def _in(self) -> Sequence[FlowEnd]:
        return [end for end in self._ends if end.trace and end.flow_id in self._due]


def _value(target: Target) -> str:
    return "" if target.value is None else f"{target.value:g}"


def _bar(share: float) -> str:
    return f'<div class="share"><i style="width:{share * 100:.1f}%"></i></div>'
