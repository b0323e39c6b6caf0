"""Charts as inline SVG: small, without scripts, coloured by the page's own style sheet."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["Bars", "Chart", "Line", "Mark", "Rule", "draw", "thinned", "ticks"]

_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 34
_MOST_TICKS = 6
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined by a line.

    Attributes:
        name: For the legend.
        points: (x, y), by x.
        style: Class that colours it: s1, s2, s3.
    """

    name: str
    points: Sequence[Point]
    style: str = "s1"


@dataclass(frozen=True, slots=True)
class Bars:
    """Columns that stand side by side.

    Attributes:
        name: For the legend.
        columns: (left, right, height).
        style: Class that colours them.
    """

    name: str
    columns: Sequence[tuple[float, float, float]]
    style: str = "s1"


@dataclass(frozen=True, slots=True)
class Mark:
    """A triangle at a point: pointing up to buy, down to sell.

    Attributes:
        point: Where.
        up: Which way it points.
        title: Shown when the pointer rests on it.
    """

    point: Point
    up: bool
    title: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A dashed line across the chart, with a word beside it.

    Attributes:
        at: Where, on the axis that it crosses.
        label: The word.
        across: Whether it goes from left to right, at a height.
    """

    at: float
    label: str
    across: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw.

    Attributes:
        title: Said to who cannot see it.
        x_label: Unit of the x axis.
        y_label: Unit of the y axis.
        lines: Lines.
        bars: Columns.
        marks: Triangles.
        rules: Dashed lines.
        from_zero: Whether the y axis begins at 0.
        x_ticks: (x, text) of the x axis; chosen where None.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line] = ()
    bars: Sequence[Bars] = ()
    marks: Sequence[Mark] = ()
    rules: Sequence[Rule] = ()
    from_zero: bool = True
    x_ticks: Sequence[tuple[float, str]] | None = None


@dataclass(slots=True)
class _Frame:
    """Where the values of a chart lie on the paper."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1.0)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def text(self, x: float, y: float, text: str, style: str) -> None:
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{style}">{escape(text)}</text>')

    def line(self, start: Point, end: Point, style: str) -> None:
        (x1, y1), (x2, y2) = start, end
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{style}"/>'
        )


def draw(chart: Chart) -> str:
    """Return a chart as an SVG element, with its legend; a sentence where there is no data."""
    xs, ys = _values(chart)
    if not xs:
        return '<p class="muted">No data.</p>'
    frame = _frame(chart, xs, ys)
    _axes(frame, chart)
    for bars in chart.bars:
        _draw_bars(frame, bars)
    for line in chart.lines:
        path = " ".join(f"{frame.x(x):g},{frame.y(y):g}" for x, y in line.points)
        frame.parts.append(f'<polyline points="{path}" class="line {line.style}"/>')
    for rule in chart.rules:
        _draw_rule(frame, rule)
    for mark in chart.marks:
        _draw_mark(frame, mark)
    body = "".join(frame.parts)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.title)}">'
        f"{body}</svg>{_legend(chart)}"
    )


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`, at most seven."""
    span = high - low
    if span <= 0.0:
        return [low]
    magnitude = 10.0 ** math.floor(math.log10(span / _MOST_TICKS))
    step = next(s * magnitude for s in _STEPS if span / (s * magnitude) <= _MOST_TICKS)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def thinned(points: Sequence[Point], most: int = 600) -> list[Point]:
    """Return at most about `most` points: of each stretch its first, lowest and highest."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most / 3))
    kept: list[Point] = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        chosen = {part[0], min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept.extend(sorted(chosen))
    return kept


def _values(chart: Chart) -> tuple[list[float], list[float]]:
    points: list[Point] = [point for line in chart.lines for point in line.points]
    points.extend(mark.point for mark in chart.marks)
    for bars in chart.bars:
        for left, right, height in bars.columns:
            points.extend(((left, height), (right, height)))
    return [x for x, _ in points], [y for _, y in points]


def _frame(chart: Chart, xs: Sequence[float], ys: Sequence[float]) -> _Frame:
    levels = [rule.at for rule in chart.rules if rule.across]
    low, high = min([*ys, *levels]), max([*ys, *levels])
    if chart.from_zero:
        low = min(0.0, low)
    margin = (high - low) * 0.06 or abs(high) * 0.01 or 1.0
    return _Frame(min(xs), max(xs), low if chart.from_zero else low - margin, high + margin)


def _axes(frame: _Frame, chart: Chart) -> None:
    for value in ticks(frame.y_low, frame.y_high):
        y = frame.y(value)
        frame.line((_LEFT, y), (_WIDTH - _RIGHT, y), "grid")
        frame.text(_LEFT - 6, y + 3.5, _number(value), "tick end")
    marked = chart.x_ticks
    if marked is None:
        marked = [(value, _number(value)) for value in ticks(frame.x_low, frame.x_high)]
    for value, text in marked:
        frame.text(frame.x(value), _HEIGHT - _BOTTOM + 15, text, "tick middle")
    bottom = _HEIGHT - _BOTTOM
    frame.line((_LEFT, bottom), (_WIDTH - _RIGHT, bottom), "axis")
    frame.text(_WIDTH - _RIGHT, _HEIGHT - 4, chart.x_label, "tick end")
    frame.text(4, _TOP - 3, chart.y_label, "tick")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"  # noqa: PLR2004  # thousands


def _draw_bars(frame: _Frame, bars: Bars) -> None:
    bottom = frame.y(0.0)
    for left, right, height in bars.columns:
        x, y = frame.x(left), frame.y(height)
        width = max(0.5, frame.x(right) - x - 1.0)
        frame.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{max(0.0, bottom - y):g}"'
            f' class="bar {bars.style}"><title>{_number(left)} to {_number(right)}:'
            f" {_number(height)}</title></rect>"
        )


def _draw_rule(frame: _Frame, rule: Rule) -> None:
    if rule.across:
        y = frame.y(rule.at)
        frame.line((_LEFT, y), (_WIDTH - _RIGHT, y), "rule")
        frame.text(_WIDTH - _RIGHT, y - 4, rule.label, "tick end")
        return
    x = frame.x(rule.at)
    frame.line((x, _TOP), (x, _HEIGHT - _BOTTOM), "rule")
    frame.text(x + 3, _TOP + 9, rule.label, "tick")


def _draw_mark(frame: _Frame, mark: Mark) -> None:
    x, y = frame.x(mark.point[0]), frame.y(mark.point[1])
    tip, foot = (y + 3, y + 11) if mark.up else (y - 3, y - 11)
    style = "buy" if mark.up else "sell"
    frame.parts.append(
        f'<path d="M{x:g},{tip:g} L{x - 5:g},{foot:g} L{x + 5:g},{foot:g} Z" class="{style}">'
        f"<title>{escape(mark.title)}</title></path>"
    )


def _legend(chart: Chart) -> str:
    named: Iterable[Line | Bars] = [*chart.lines, *chart.bars]
    items = [f'<span class="key {each.style}"></span>{escape(each.name)}' for each in named]
    if chart.marks:
        items.append('<span class="buy-key">▲</span>bought <span class="sell-key">▼</span>sold')
    if len(items) < 2:  # noqa: PLR2004  # one series needs no legend: the heading names it
        return ""
    return f'<p class="legend">{" ".join(f"<span>{item}</span>" for item in items)}</p>'
