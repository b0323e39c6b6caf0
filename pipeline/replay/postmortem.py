"""The post-mortem: what happened, what was decided, and whether it comes out again; as HTML."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from math import ceil

from pipeline.errors import UsageError
from pipeline.pages.charts import Chart, Line, Rule, draw
from pipeline.pages.page import page, table, tiles
from pipeline.pages.series import latency_over_time, per_second
from pipeline.replay.flow_view import utc
from pipeline.replay.progress import Finding, Tally
from pipeline.replay.timeline import EventKind, Timeline
from pipeline.watch.observations import FlowEnd

__all__ = ["stretch", "write_postmortem"]

_BEFORE_US = 2_000_000
_AFTER_US = 10_000_000  # orders are filled after the last decision
_US = 1_000_000
_BINS = 60
_MOST_EVENTS = 1000
_MOST_FINDINGS = 200
_MOST_FIELDS = 6
_MANY = frozenset({EventKind.ORDER, EventKind.DEAD_LETTER})
_MARKED = frozenset({EventKind.CONTROL, EventKind.EMERGENCY})
_FOUND = ("decided at", "record", "flow", "then", "now", "fields", "why")


def stretch(tally: Tally, span_us: tuple[int, int] | None) -> tuple[int, int]:
    """Return the first and last time that the page tells of.

    What was replayed may be of a time in which nothing was decided for a while, as when all was
    halted: what was done then is told, too.

    Args:
        tally: What the replay found.
        span_us: First and last time that the replay is about; None: only as its decisions say.

    Returns:
        Microseconds since the Unix epoch, UTC.
    """
    first_us, last_us = tally.first_now - _BEFORE_US, tally.last_now + _AFTER_US
    if span_us is None:
        return first_us, last_us
    return min(first_us, span_us[0]), max(last_us, span_us[1])


def write_postmortem(what: str, tally: Tally, happened: Timeline, changes: str = "") -> str:
    """Return the post-mortem of a replay as a whole HTML page.

    Args:
        what: What was replayed.
        tally: What the replay found.
        happened: What happened meanwhile.
        changes: What was changed for a what-if; empty where nothing was.

    Raises:
        UsageError: If nothing was replayed, so that there is no time to tell of.
    """
    if not tally.first_now:
        raise UsageError("Expected a replay of some records for a report, was none")
    view = _View(tally, happened)
    sections = [
        ("", view.figures()),
        ("Packets over time", view.packets()),
        ("Timeline", view.timeline()),
        ("Replay, stage by stage", view.stages()),
        ("Divergences from history", view.findings(tally.divergences, tally.total.different)),
    ]
    if changes:
        sections.append(
            (f"What if: {changes}", view.findings(tally.differences, tally.total.changed))
        )
    sections.append(("How flows ended", view.outcomes()))
    return page(f"Post-mortem of {what}", view.head(), sections)


class _View:
    """The parts of the page."""

    def __init__(self, tally: Tally, happened: Timeline) -> None:
        self._tally = tally
        self._happened = happened
        span_s = (happened.last_us - happened.first_us) / _US
        self._bin_s = max(0.25, span_s / _BINS)

    def head(self) -> str:
        tally, happened = self._tally, self._happened
        first = tally.first_divergence
        if first is None:
            verdict = '<p class="verdict good">✓ History comes out again, record for record</p>'
        else:
            cause = escape(f"{first}, {first.cause}: {first.detail}")
            verdict = f'<p class="verdict bad">✗ First divergence at {cause}</p>'
        text = (
            f"{utc(tally.first_now)} to {utc(tally.last_now)}; in force when it began:"
            f" {happened.before}. Replayed in {tally.seconds:.1f} s, {tally.times_real:.1f} times"
            " as fast as it happened."
        )
        return f'{verdict}<p class="muted">{escape(text)}</p>'

    def figures(self) -> str:
        total, kinds = self._tally.total, Counter(each.kind for each in self._happened.events)
        return tiles(
            (
                ("records compared", f"{total.compared:,}"),
                ("divergences", f"{total.different:,}"),
                ("differences by changes", f"{total.changed:,}"),
                ("flows ended", f"{len(self._happened.ends):,}"),
                *((f"{kind} events", f"{kinds[kind]:,}") for kind in EventKind),
            )
        )

    def packets(self) -> str:
        first_us, ends = (
            self._happened.first_us,
            [each for each in self._happened.ends if each.trace],
        )
        latencies = [(each.accepted_at, each.finished - each.accepted_at) for each in ends]
        bins = latency_over_time(latencies, first_us, self._bin_s)
        marks = [
            Rule((each.at_us - first_us) / _US, each.text.split(":")[0])
            for each in self._happened.events
            if each.kind in _MARKED
        ]
        rate = Chart(
            "Flows that ended",
            "s after the beginning",
            "flows/s",
            lines=(
                Line(
                    "ended",
                    per_second((each.finished for each in ends), first_us, self._bin_s),
                    "s1",
                ),
            ),
            rules=marks,
        )
        latency = Chart(
            "Latency",
            "s after the beginning",
            "ms from acceptance to the end",
            lines=(
                Line("p50", [(each.at_s, each.p50) for each in bins], "s1"),
                Line("p99", [(each.at_s, each.p99) for each in bins], "s2"),
            ),
            rules=marks,
        )
        return draw(rate) + draw(latency)

    def timeline(self) -> str:
        # Commands, emergencies and alerts are few, and what the page is for: none is left out.
        few = [each for each in self._happened.events if each.kind not in _MANY]
        many = [each for each in self._happened.events if each.kind in _MANY]
        room = max(0, _MOST_EVENTS - len(few))
        events = [(each.at_us, str(each.kind), each.text) for each in (*few, *many[:room])]
        left = len(many) - room
        note = f'<p class="muted">{left:,} more events are not shown.</p>' if left > 0 else ""
        rows = sorted((*events, *self._packet_rows()))
        shown = [(utc(at_us), kind, text) for at_us, kind, text in rows]
        return table(("when", "what", ""), shown) + note

    def _packet_rows(self) -> list[tuple[int, str, str]]:
        """Return the flows that ended within each stretch of time as one row."""
        bins: dict[int, list[FlowEnd]] = {}
        stretch_us = max(1, ceil(self._bin_s)) * _US
        for end in self._happened.ends:
            if end.trace:
                at_us = (end.finished - self._happened.first_us) // stretch_us * stretch_us
                bins.setdefault(self._happened.first_us + at_us, []).append(end)
        return [(at_us, "packets", _packets(ends)) for at_us, ends in sorted(bins.items())]

    def stages(self) -> str:
        names = ("identical", "same", "restamped", "different", "gone", "changed", "unexplained")
        rows = [
            (stage, *(f"{getattr(counts, name):,}" for name in names))
            for stage, counts in self._tally.stages.items()
        ]
        checked, missed = self._tally.states_checked, self._tally.states_missed
        text = f"{checked} snapshots were met by the replayed state"
        text += f"; not met: {', '.join(missed)}." if missed else "."
        return table(("stage", *names), rows) + f'<p class="muted">{escape(text)}</p>'

    def findings(self, findings: Sequence[Finding], total: int) -> str:
        if not findings:
            return "<p>None.</p>"
        shown = sorted(findings, key=lambda each: each.now)[:_MOST_FINDINGS]
        rows = [
            (
                utc(each.now),
                str(each),
                f"{each.flow_id} {each.symbol}",
                each.before,
                each.after,
                "; ".join(f"{path}: {then} to {now}" for path, then, now in _shown(each)),
                each.detail if each.cause == "change" else f"{each.cause}: {each.detail}",
            )
            for each in shown
        ]
        left = total - len(shown)
        note = f'<p class="muted">{left:,} more are not shown.</p>' if left > 0 else ""
        return table(_FOUND, rows) + note

    def outcomes(self) -> str:
        found = Counter(
            (each.kind.value, each.stage, ", ".join(each.reasons)) for each in self._happened.ends
        )
        rows = [(*names, f"{count:,}") for names, count in found.most_common()]
        return table(("outcome", "sealed by", "reasons", "flows"), rows)


def _shown(finding: Finding) -> Sequence[tuple[str, object, object]]:
    return [each for each in finding.fields if each[0] != "views"][:_MOST_FIELDS]


def _packets(ends: Sequence[FlowEnd]) -> str:
    kinds = Counter(end.kind.value for end in ends)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    slowest_ms = max(end.finished - end.accepted_at for end in ends) / 1000
    return f"{len(ends)} flows ended: {counts}; the slowest took {slowest_ms:.1f} ms"
