"""The end of a demo: figures printed and written, the report, the verdict."""

import json
from collections.abc import Callable
from pathlib import Path

from pipeline.demo.figures import figures
from pipeline.demo.report import write_report
from pipeline.demo.runner import DemoRun
from pipeline.demo.summary import Summary
from pipeline.errors import ConfigurationError

__all__ = ["conclude", "describe"]


def conclude(run: DemoRun, say: Callable[[str], None]) -> bool:
    """Write figures and report, say how it went, and return whether all checks held.

    Raises:
        ConfigurationError: If a file cannot be written.
    """
    summary = figures(run)
    report_file = run.plan.report_file or run.rig.folder / "report.html"
    content = json.dumps(summary.to_dict(), indent=2) + "\n"
    _write(run.rig.folder / "figures.json", content)
    if run.plan.json_file is not None:
        _write(run.plan.json_file, content)
    _write(report_file, write_report(run, summary))
    for text in describe(summary):
        say(text)
    say(f"Report: {report_file}")
    for text in _closer(run):
        say(text)
    return not summary.failed


def _closer(run: DemoRun) -> list[str]:
    """Return where to look for more."""
    namespace, home = run.rig.settings.namespace, run.rig.settings.home
    stopped = run.rig.started_broker and not run.plan.keep
    first = " (`cascade broker up` first, its data stays)" if stopped else ""
    return [
        f"Dead letters: CASCADE_NAMESPACE={namespace} cascade dlq list{first}",
        f"Workers' logs: {home / 'logs' / namespace}",
    ]


def describe(summary: Summary) -> list[str]:
    """Return the figures as lines of text."""
    accounts, content = summary.accounts, summary.to_dict()
    outcomes = ", ".join(f"{count} {name}" for name, count in accounts.outcomes.items())
    plans = f"{accounts.order_plans} order plans, {accounts.plans_filled} of them filled"
    doubles = f"{len(accounts.duplicate_orders)} duplicate orders"
    lines = [
        "",
        f"{accounts.packets_in} records in: {outcomes}",
        f"{plans} ({accounts.fills} fills); {doubles}, {accounts.unaccounted} unaccounted",
    ]
    named = (
        ("end to end", content["latency_ms"]),
        ("every flow", content["latency_all_flows_ms"]),
        ("due to fill", content["latency_to_fill_ms"]),
    )
    for name, found in named:
        if found:
            parts = ", ".join(
                f"{key} {found[key]:.1f}" for key in ("mean", "p50", "p95", "p99", "max")
            )
            lines.append(f"{name}, ms: {parts} (n = {found['count']:.0f})")
    for kill in summary.kills:
        away = "not seen again" if kill.recovery_seconds is None else f"{kill.recovery_seconds} s"
        lines.append(f"{kill.stage} killed at {kill.at_s:g} s: {away} to its next {kill.sign}")
    for name, target in summary.targets.items():
        value = "not measured" if target.value is None else f"{target.value:g}"
        lines.append(f"target {name} {target.limit:g}: {value}: {target.verdict}")
    lines.append(f"decisions_sha256 {summary.decisions_sha256}")
    lines.extend(f"FAULT: {fault}" for fault in summary.faults)
    lines.append("All accounted for." if not summary.failed else "Checks failed, see above.")
    return lines


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"Expected to write {path}, was refused: {error}") from error
