"""A short run of the fuzzing; `scripts/test fuzz` is the long one."""

import pytest

from tests.fuzz.report import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", list(TARGETS))
def test_nothing_invalid_is_accepted(name: str) -> None:
    """Nor does anything crash or hang; each of them accepts some and refuses some."""
    result = fuzz(name, 1000 // TARGETS[name][1], seed=20_261_127)
    assert result.first == []
    assert len(result.seen) > 1


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that reads careless Avro is caught."""
    monkeypatch.setattr("pipeline.packets.strict.faults", lambda *_: None)
    assert fuzz("packets", 2000, seed=1).faults > 0
