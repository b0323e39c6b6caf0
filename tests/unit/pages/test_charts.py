import itertools
from xml.etree import ElementTree as ET

import pytest

from pipeline.pages.charts import Bars, Chart, Line, Mark, Rule, draw, thinned, ticks


def drawing(svg: str) -> ET.Element:
    """Return the SVG element, parsed: it must be well-formed."""
    return ET.fromstring(svg[: svg.index("</svg>") + 6])  # noqa: S314  # our own text


def test_draws_what_it_is_given() -> None:
    """Lines, columns, marks and rules are in the picture, values at their places."""
    chart = Chart(
        "All & more",
        "s",
        "ms",
        lines=(Line("p50", [(0.0, 1.0), (1.0, 2.0)]), Line("p99", [(0.0, 3.0), (1.0, 4.0)], "s2")),
        bars=(Bars("flows", [(0.0, 1.0, 2.0)]),),
        marks=(Mark((0.5, 1.0), up=True, title="bought <1>"),),
        rules=(Rule(100.0, "target", across=True), Rule(0.5, "risk killed")),
    )
    svg = draw(chart)
    root = drawing(svg)
    assert 2 == len(root.findall("polyline"))
    assert 1 == len(root.findall("rect"))
    assert "bought <1>" == root.find("path/title").text  # type: ignore[union-attr]
    texts = [each.text for each in root.findall("text")]
    assert {"target", "risk killed", "ms"} <= set(texts)
    first, second = (
        pair.split(",") for pair in root.findall("polyline")[0].get("points", "").split()
    )
    assert float(first[0]) < float(second[0])
    assert float(first[1]) > float(second[1])  # higher values lie higher up
    assert "p99" in svg[svg.index("</svg>") :]  # in the legend


def test_says_that_there_is_no_data() -> None:
    """An empty chart is a sentence, not an empty frame."""
    assert "No data" in draw(Chart("Nothing", "s", "ms", lines=(Line("p50", []),)))


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e9])
def test_draws_a_single_point(value: float) -> None:
    """One value makes a frame too, whatever it is."""
    drawing(draw(Chart("One", "s", "ms", lines=(Line("a", [(0.0, value)]),), from_zero=False)))


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (0.0, 97.0), (-3.0, 12.5), (0.0, 0.0007), (999_000.0, 1_001_000.0)],
)
def test_ticks_are_few_and_round(low: float, high: float) -> None:
    """Between two and seven ticks, inside the axis, at equal steps of 1, 2, 2.5 or 5."""
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert low <= found[0]
    assert found[-1] <= high
    steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
    assert 1 == len(steps)


def test_thinning_keeps_the_extremes() -> None:
    """Whatever is left out, the highest and the lowest point stay."""
    points = [(float(n), float((n * 7919) % 10_007)) for n in range(10_000)]
    kept = thinned(points, 300)
    assert len(kept) <= 330
    assert sorted(kept) == kept
    assert max(p[1] for p in points) == max(p[1] for p in kept)
    assert min(p[1] for p in points) == min(p[1] for p in kept)
