"""Position sizing and stop/target."""

import numpy as np
import pytest

from pipeline.errors import ConfigurationError
from pipeline.policies.risk import RiskSettings, SizingBatch, size
from tests.unit.policies.risk_reference import size_one

FIELDS = ("stop", "target", "stop_distance", "volatility_share", "kelly_share", "share")
DAY_US = 86_400_000_000


def columns(count: int, seed: int = 7) -> dict[str, np.ndarray]:
    """Return random signals, some without volatility or true range."""
    rng = np.random.default_rng(seed)
    price = rng.uniform(1.0, 900.0, count)
    return {
        "price": price,
        "atr": price * rng.choice([0.0, 0.0005, 0.002, 0.02, 0.6], count) * rng.random(count),
        "probability": rng.random(count),
        "volatility": rng.choice([0.0, 1e-4, 1e-3, 1e-2], count) * rng.random(count),
        "direction": rng.choice([-1, 1], count),
        "high_volatility": rng.random(count) < 0.3,
        "event_time_us": rng.integers(0, 400 * DAY_US, count),
    }


def rows(batch: SizingBatch) -> list[bytes]:
    """Return each row of a batch as bytes."""
    stacked = np.stack([getattr(batch, name) for name in FIELDS], axis=1)
    return [row.tobytes() for row in stacked]


def test_sizes_equal_the_reference_on_random_signals() -> None:
    """Every size, stop and target equals that of the plain reference on 1,000 signals."""
    limits = RiskSettings()
    given = columns(1000)
    batch = size(**given, settings=limits)
    second = (given["event_time_us"] % DAY_US) // 1_000_000
    for row in range(1000):
        expected = size_one(
            float(given["price"][row]),
            float(given["atr"][row]),
            float(given["probability"][row]),
            float(given["volatility"][row]),
            int(given["direction"][row]),
            bool(given["high_volatility"][row]),
            int(second[row]),
            limits,
        )
        actual = {name: float(getattr(batch, name)[row]) for name in FIELDS}
        assert expected == pytest.approx(actual, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("length", [1, 7, 64, 333])
def test_a_row_is_the_same_to_the_last_bit_in_any_round(length: int) -> None:
    """Cutting a round differently changes no bit of any row."""
    given = columns(1000)
    whole = rows(size(**given, settings=RiskSettings()))
    pieces: list[bytes] = []
    for start in range(0, 1000, length):
        part = {name: column[start : start + length] for name, column in given.items()}
        pieces += rows(size(**part, settings=RiskSettings()))
    assert whole == pieces


def test_the_reference_case_by_hand() -> None:
    """A signal worked out on paper: 2 % by volatility, 2.0833 % by Kelly, so 2 %."""
    batch = size(
        price=np.array([100.0]),
        atr=np.array([0.2]),
        probability=np.array([0.5]),
        volatility=np.array([0.001]),
        direction=np.array([1]),
        high_volatility=np.array([False]),
        event_time_us=np.array([0]),
        settings=RiskSettings(),
    )
    assert batch.stop[0] == pytest.approx(99.6)
    assert batch.target[0] == pytest.approx(100.6)
    assert batch.volatility_share[0] == pytest.approx(0.02)
    assert batch.kelly_share[0] == pytest.approx(5e-4 * (0.5 - 0.5 / 1.5) / 0.004)
    assert batch.share[0] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("maximum_gross", 0.0),
        ("maximum_gross", float("nan")),
        ("maximum_symbol", -0.1),
        ("lot_size", float("inf")),
        ("drawdown_warning", 0.5),
        ("accounts", ()),
        ("accounts", (("main", 1.0), ("main", 2.0))),
    ],
)
def test_limits_that_are_none_are_refused(field: str, value: object) -> None:
    """A limit that is zero, negative, infinite or NaN cannot be set."""
    with pytest.raises(ConfigurationError):
        RiskSettings(**{field: value})  # type: ignore[arg-type]  # that is the point
