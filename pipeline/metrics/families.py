"""Short ways to write metric families down."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["counter", "gauge", "state_gauge"]

Labelled = Iterable[tuple[Sequence[str], float | None]]


def gauge(name: str, text: str, labels: Sequence[str], found: Labelled) -> Metric:
    """Return a gauge; numbers that are None have no sample.

    Args:
        name: Its name, with its unit at the end.
        text: What it says.
        labels: Names of the labels.
        found: (Values of the labels, number).
    """
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in found:
        if number is not None:
            family.add_metric(values, number)
    return family


def counter(name: str, text: str, labels: Sequence[str], found: Labelled) -> Metric:
    """Return a counter, its name with `_total`; see `gauge`."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in found:
        if number is not None:
            family.add_metric(values, number)
    return family


def state_gauge(
    name: str, text: str, labels: Mapping[str, str], states: Iterable[str], current: str
) -> Metric:
    """Return a gauge that is 1 for the state that something is in, and 0 for the others.

    Args:
        name: Its name, which ends in `_state`.
        text: What it says.
        labels: Labels beside `state`.
        states: All states.
        current: The one that it is in.
    """
    found = (((*labels.values(), each), float(each == current)) for each in states)
    return gauge(name, text, (*labels, "state"), found)
