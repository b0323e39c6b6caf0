from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import pytest

from pipeline.errors import UsageError
from pipeline.market.faults import FaultPlan, Injector, ItemKind, SendItem
from pipeline.market.feed import MarketBar
from pipeline.packets.models import Bar

BAR = Bar(10.0, 11.0, 9.0, 10.5, 100.0, 60)


def _bars(count: int, symbols: tuple[str, ...] = ("A", "B", "C")) -> list[MarketBar]:
    return [MarketBar(symbols[i % len(symbols)], i * 60_000_000, BAR) for i in range(count)]


def _injected(
    text: str, feed: Iterable[MarketBar], seed: int = 1, start: int = 0
) -> tuple[list[SendItem], Injector]:
    injector = Injector(FaultPlan.parse(text), seed, start)
    return list(injector.items(feed)), injector


def _counted(items: Iterable[SendItem], kind: ItemKind) -> int:
    return sum(item.kind is kind for item in items)


def test_without_faults_all_bars_come_in_order() -> None:
    """An empty plan numbers the bars per symbol and changes nothing."""
    feed = _bars(9)
    items, injector = _injected("", feed, start=5)
    assert [item.market_bar for item in items] == feed
    assert [item.sequence for item in items] == [5, 5, 5, 6, 6, 6, 7, 7, 7]
    assert {item.kind for item in items} == {ItemKind.BAR}
    assert (injector.bars, injector.gaps) == (9, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("gaps", {"gaps": 0.01}),
        ("poison=0.05, gaps", {"poison": 0.05, "gaps": 0.01}),
        ("stale=1", {"stale": 1.0}),
    ],
)
def test_plans_are_read(text: str, expected: dict[str, float]) -> None:
    """A plan names faults and shares; the share is 1 % unless given."""
    assert FaultPlan.parse(text).shares == expected


@pytest.mark.parametrize(
    "text", ["rain", "gaps,gaps", "gaps=0", "gaps=1.5", "gaps=-1", "gaps=x", "gaps=nan"]
)
def test_faulty_plans_are_refused(text: str) -> None:
    """An unknown fault, one named twice, or a share out of range is an error."""
    with pytest.raises(UsageError, match="Expected"):
        FaultPlan.parse(text)


@pytest.mark.parametrize("fault", ["duplicates", "out_of_order", "nan", "stale", "poison", "gaps"])
def test_share_is_what_was_asked_for(fault: str) -> None:
    """Of 20,000 bars about the share asked for is hit, and the counters say how many."""
    items, injector = _injected(f"{fault}=0.1", _bars(20_000))
    kinds = {"duplicates": ItemKind.DUPLICATE, "gaps": None}
    kind = kinds.get(fault, ItemKind(fault) if fault not in kinds else None)
    hit = injector.gaps if kind is None else _counted(items, kind)
    assert 1800 < hit < 2200
    added = {"duplicates": hit, "poison": hit, "gaps": -hit}.get(fault, 0)
    assert len(items) == 20_000 + added


def test_same_seed_strikes_alike() -> None:
    """The items depend on feed, plan and seed alone."""
    text = "gaps,duplicates,out_of_order,nan,stale,poison"
    first, _ = _injected(text, _bars(3000))
    assert first == _injected(text, _bars(3000))[0]
    assert first != _injected(text, _bars(3000), seed=2)[0]


def test_one_more_fault_does_not_move_the_others() -> None:
    """Poison hits the same bars with the same bytes whether or not duplicates are on."""
    alone = [i for i in _injected("poison=0.1", _bars(2000))[0] if i.kind is ItemKind.POISON]
    both = _injected("poison=0.1,duplicates=0.3", _bars(2000))[0]
    assert alone == [item for item in both if item.kind is ItemKind.POISON]


def test_gaps_leave_sequence_numbers_unused() -> None:
    """A bar left out takes its sequence number with it."""
    items, injector = _injected("gaps=0.2", _bars(1000, ("A",)))
    sequences = [item.sequence for item in items]
    assert len(sequences) == 1000 - injector.gaps
    assert sequences == sorted(set(sequences))
    assert any(later - earlier > 1 for earlier, later in pairwise(sequences))


def test_duplicates_follow_what_they_repeat() -> None:
    """A duplicate comes right after the packet of the same bar and sequence."""
    items, _ = _injected("duplicates=0.2,nan=0.2,stale=0.2", _bars(1000))
    for before, item in pairwise(items):
        if item.kind is ItemKind.DUPLICATE:
            assert (before.market_bar, before.sequence) == (item.market_bar, item.sequence)
            assert before.kind is not ItemKind.DUPLICATE


def test_out_of_order_swaps_neighbours_of_a_symbol() -> None:
    """A late bar comes right after the next one of its symbol, and none is lost."""
    items, _ = _injected("out_of_order=0.1", _bars(3000))
    sequences: dict[str, list[int]] = defaultdict(list)
    for before, item in pairwise(items):
        if item.kind is ItemKind.OUT_OF_ORDER:
            assert before.market_bar.symbol == item.market_bar.symbol
            assert before.sequence > item.sequence
    for item in items:
        sequences[item.market_bar.symbol].append(item.sequence)
    assert all(sorted(found) == list(range(1000)) for found in sequences.values())
    assert all(found != sorted(found) for found in sequences.values())


def test_what_nothing_overtook_is_in_order() -> None:
    """The last bar of a symbol cannot be late, so it counts as an ordinary one."""
    items, _ = _injected("out_of_order=1", _bars(3))
    assert [item.kind for item in items] == [ItemKind.BAR] * 3


def test_poison_leaves_the_bar_alone() -> None:
    """Poison goes ahead of a bar that follows unspoilt."""
    items, _ = _injected("poison=0.2", _bars(1000))
    assert [item for item in items if item.kind is ItemKind.BAR] == _injected("", _bars(1000))[0]
    for item, after in pairwise(items):
        if item.kind is ItemKind.POISON:
            assert after == SendItem(ItemKind.BAR, item.market_bar, item.sequence)


def test_all_faults_together_lose_nothing_else() -> None:
    """With every fault on, each bar is left out, or sent once besides duplicates and poison."""
    text = "gaps=0.1,duplicates=0.1,out_of_order=0.1,nan=0.1,stale=0.1,poison=0.1"
    items, injector = _injected(text, _bars(5000))
    extra = (ItemKind.DUPLICATE, ItemKind.POISON)
    sent = [(i.market_bar.symbol, i.sequence) for i in items if i.kind not in extra]
    assert len(set(sent)) == len(sent) == 5000 - injector.gaps
    assert {item.kind for item in items} == set(ItemKind)
