"""The bench's results as a table, as JSON and as a page with charts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from pipeline.bench.lab import Check, Lab
from pipeline.bench.measurement import Measurement
from pipeline.demo.figures import machine
from pipeline.pages.charts import Bars, Chart, Line, Rule, draw
from pipeline.pages.page import page as whole_page

__all__ = ["checks_text", "page", "table", "to_json"]

_CAP_MS = 500.0
_STYLES = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8")
_MORE_STYLE = """
:root { --s4: #2f9e6e; --s5: #b0408f; --s6: #b58a00; --s7: #5b6ee1; --s8: #c0322b; }
.line.s4 { stroke: var(--s4); } .line.s5 { stroke: var(--s5); } .line.s6 { stroke: var(--s6); }
.line.s7 { stroke: var(--s7); } .line.s8 { stroke: var(--s8); }
.key.s4 { background: var(--s4); } .key.s5 { background: var(--s5); }
.key.s6 { background: var(--s6); } .key.s7 { background: var(--s7); }
.key.s8 { background: var(--s8); } .legend { flex-wrap: wrap; }
"""
_COLUMNS = (
    "contender", "offered/s", "s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "worker us",
    "broker us", "RSS MB", "bytes", "errors", "lost", "twice", "order", "sustained",
)  # fmt: skip


def table(measurements: Sequence[Measurement]) -> str:
    """Return the measurements as text in columns."""
    labels = sorted({name for each in measurements for name in each.labels})
    lines = [[*labels, *_COLUMNS]]
    for each in measurements:
        shown = [str(each.labels.get(name, "")) for name in labels]
        lines.append([*shown, *_cells(each)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cells(each: Measurement) -> list[str]:
    latency = each.latency
    percentiles = (
        [f"{value:.1f}" for value in (latency.p50, latency.p95, latency.p99, latency.p999)]
        if latency
        else ["-"] * 4
    )
    return [
        each.contender, f"{each.rate:g}", f"{each.seconds:.0f}", *percentiles,
        f"{each.cpu_us.get('worker', 0.0):.0f}", f"{each.cpu_us.get('broker', 0.0):.0f}",
        f"{each.rss_mb.get('worker', 0.0):.0f}", f"{each.record_bytes:.0f}",
        f"{each.error_rate:.4f}", str(each.lost), str(each.duplicates), str(each.misordered),
        "yes" if each.sustained else "no",
    ]  # fmt: skip


def checks_text(checks: Sequence[Check]) -> str:
    """Return a line a check."""
    return "\n".join(
        f"{'pass' if check.passed else 'FAIL'}  {check.name}:"
        f" {_number(check.value)} ({'at least' if check.at_least else 'at most'}"
        f" {check.limit:g})"
        for check in checks
    )


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def to_json(lab: Lab, command: str, checks: Sequence[Check], extra: Mapping[str, Any]) -> str:
    """Return everything as JSON.

    Args:
        lab: The bench, with its measurements.
        command: Which scenario.
        checks: Its checks.
        extra: More of it.
    """
    content = {
        "command": command,
        "passed": all(check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
        "sustained": lab.sustained,
        "measurements": [each.to_dict() for each in lab.measurements],
        "pace": asdict(lab.pace),
        "symbols": lab.ground.symbols,
        "partitions": lab.ground.partitions,
        "broker": f"{lab.ground.broker.kind} {lab.ground.broker.kafka_version or ''}".strip(),
        "machine": machine(),
        **extra,
    }
    return json.dumps(content, indent=2)


def page(lab: Lab, command: str, checks: Sequence[Check]) -> str:
    """Return the results as a whole HTML page.

    Args:
        lab: The bench, with its measurements.
        command: Which scenario.
        checks: Its checks.
    """
    title = f"cascade bench {command}"
    sections = (
        ("Checks", f"<pre>{escape(checks_text(checks)) or 'none'}</pre>"),
        ("Latency against offered load", draw(_latency(lab.measurements))),
        ("Worker CPU a packet against offered load", draw(_cpu(lab.measurements))),
        ("Highest sustained rate", draw(_sustained(lab))),
        ("All phases", f'<pre class="wide">{escape(table(lab.measurements))}</pre>'),
    )
    about = machine()
    head = (
        f"{about['system']}, {about['cpus']} CPUs that also run broker and load, Python"
        f" {about['python']}. Open loop: latency runs from the moment a packet was due to the"
        " moment the broker appended it to the last topic. Warm-up packets do not count."
    )
    return whole_page(title, f'<p class="muted">{escape(head)}</p>', sections, _MORE_STYLE)


def _by_contender(
    measurements: Sequence[Measurement],
) -> dict[str, list[Measurement]]:
    found: dict[str, list[Measurement]] = {}
    for each in sorted(measurements, key=lambda each: each.rate):
        if each.latency is not None:
            found.setdefault(each.contender, []).append(each)
    return found


def _latency(measurements: Sequence[Measurement]) -> Chart:
    lines = [
        Line(
            name,
            [(each.rate, min(_CAP_MS, each.latency.p99)) for each in runs if each.latency],
            _STYLES[index % len(_STYLES)],
        )
        for index, (name, runs) in enumerate(_by_contender(measurements).items())
    ]
    label = f"p99 ms, cut off at {_CAP_MS:g}"
    return Chart("p99 against offered load", "packets/s", label, lines, rules=_RULES)


_RULES = (Rule(100.0, "100 ms", across=True),)


def _cpu(measurements: Sequence[Measurement]) -> Chart:
    lines = [
        Line(
            name,
            [(each.rate, each.cpu_us["worker"]) for each in runs],
            _STYLES[index % len(_STYLES)],
        )
        for index, (name, runs) in enumerate(_by_contender(measurements).items())
    ]
    return Chart("CPU a packet against offered load", "packets/s", "us a packet", lines)


def _sustained(lab: Lab) -> Chart:
    found = {
        name: max(rate for rate in rates if rate is not None)
        for name, rates in lab.sustained.items()
        if any(rate is not None for rate in rates)
    }
    columns = [(index + 0.15, index + 0.85, rate) for index, rate in enumerate(found.values())]
    ticks = [(index + 0.5, name) for index, name in enumerate(found)]
    bars = [Bars("packets/s", columns)] if columns else []
    return Chart("Highest sustained rate", "", "packets/s", bars=bars, x_ticks=ticks)
