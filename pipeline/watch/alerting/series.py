"""The series that rules pick from: a name and labels, as Prometheus spells them; pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

__all__ = ["CASCADE", "picked", "read_series"]

CASCADE = "cascade"
"""What a series is about that has no label to say so."""

_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')


@lru_cache(maxsize=4096)
def read_series(spelled: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return name and labels of a series as `NAME{LABEL="VALUE",...}` has them."""
    name, _, rest = spelled.partition("{")
    return name, tuple((key, _plain(value)) for key, value in _LABEL.findall(rest))


def picked(
    series: Iterable[str], metric: str, where: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield (system, series) for each series of a metric whose labels are as `where` says.

    The system is what the other labels say, with commas between; the whole cascade without any.
    """
    for spelled in series:
        name, labels = read_series(spelled)
        if name == metric and where.items() <= dict(labels).items():
            others = [value for key, value in labels if key not in where]
            yield ",".join(others) or CASCADE, spelled


def _plain(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)
