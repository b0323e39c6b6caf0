from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import pytest

from pipeline.demo.accounting import decisions_sha256
from pipeline.demo.reference import Reference
from pipeline.errors import PipelineError
from pipeline.gateway.paper import PaperBehaviour, PaperVenue
from pipeline.market import MarketBar, SampleFeed
from pipeline.settings import load_settings
from pipeline.watch.observations import FlowEnd

_BARS = 600


@lru_cache(maxsize=1)
def sample() -> Sequence[MarketBar]:
    """Return bars of the sample."""
    return list(islice(SampleFeed(), _BARS))


def folded(path: Path, round_cut: int, behaviour: str = "") -> list[FlowEnd]:
    """Return the ends of the sample's flows."""
    settings = load_settings(clock="event", broker=None)
    with PaperVenue(path, PaperBehaviour.parse(behaviour)) as venue:
        return Reference(settings, venue).run(sample(), round_cut)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> list[FlowEnd]:
    """The ends, decided one bar a round."""
    return folded(tmp_path_factory.mktemp("reference") / "paper.sqlite", 1)


def test_every_bar_ends_once_and_some_trade(one_by_one: list[FlowEnd]) -> None:
    """Each bar has its end, and the run is worth comparing: some are executed, some rejected."""
    assert _BARS == len({each.flow_id for each in one_by_one}) == len(one_by_one)
    kinds = {each.kind.value for each in one_by_one}
    assert {"executed", "held", "rejected"} <= kinds


@pytest.mark.parametrize("round_cut", [7, 64, _BARS])
def test_decisions_do_not_depend_on_how_rounds_are_cut(
    tmp_path: Path, one_by_one: list[FlowEnd], round_cut: int
) -> None:
    """One bar a round, seven, or all at once: the same decisions, bit by bit."""
    cut = folded(tmp_path / "paper.sqlite", round_cut)
    assert decisions_sha256(one_by_one) == decisions_sha256(cut)


def test_fills_have_a_say_in_later_decisions(tmp_path: Path, one_by_one: list[FlowEnd]) -> None:
    """A venue that refuses everything leads to other decisions: the account is part of the loop."""
    refused = folded(tmp_path / "paper.sqlite", 64, "reject=1")
    assert decisions_sha256(one_by_one) != decisions_sha256(refused)


def test_needs_the_event_clock(tmp_path: Path) -> None:
    """With the wall clock two runs cannot be compared, so it is refused."""
    with (
        PaperVenue(tmp_path / "paper.sqlite") as venue,
        pytest.raises(PipelineError, match="clock"),
    ):
        Reference(load_settings(clock="wall", broker=None), venue)
