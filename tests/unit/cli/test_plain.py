"""What components return, as JSON and as text."""

from dataclasses import dataclass
from enum import Enum

from msgspec import Struct

from pipeline.cli.plain import lines, plain


class _Level(Enum):
    HIGH = "HIGH"


class _Item(Struct):
    name: str
    share: float | None = None


@dataclass
class _Report:
    level: _Level
    items: tuple[_Item, ...]
    counts: dict[int, int]


def test_structs_dataclasses_and_enums_become_plain_data() -> None:
    """JSON gets names and numbers, keys as text, and null for what it has no number for."""
    report = _Report(_Level.HIGH, (_Item("a", float("nan")), _Item("b", 0.5)), {1: 2})
    expected = {
        "level": "HIGH",
        "items": [{"name": "a", "share": None}, {"name": "b", "share": 0.5}],
        "counts": {"1": 2},
    }
    assert expected == plain(report)


def test_people_get_a_line_for_each_value() -> None:
    """Nested values stand under their name, missing ones are a dash."""
    content = {
        "state": "READY",
        "metrics": {"rate": 0.25, "last": None},
        "items": [{"a": 1, "b": True}],
    }
    assert [
        "state    READY",
        "metrics",
        "  rate  0.25",
        "  last  -",
        "items",
        "  - a  1",
        "    b  yes",
    ] == list(lines(content))
