"""A round past capacity: what is shed shares records, and nothing of it is lost."""

from typing import Any

from msgspec.structs import replace

from pipeline.packets.codec import encode
from pipeline.packets.models import Bar, StrategicSignal
from pipeline.packets.runs import packets_of, run_of
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import load_settings
from pipeline.stages.coordinated import ViewedLogic
from pipeline.stages.fates import Fate
from pipeline.stages.overload import Forecast, Throughput
from pipeline.stages.strategic_logic import StrategicLogic
from pipeline.stages.tactical_logic import TacticalLogic
from pipeline.transport.journal import fold_journal
from pipeline.transport.log import InputPosition
from tests.unit.stages.engine_factories import (
    MARKET,
    NOW,
    Bench,
    FakeLogic,
    marker,
    market_data,
    messages,
    ownership_of,
    taken,
)

POISON = b"\x00poison"


class Busy(Throughput):
    """A pipeline that carries 1,000 packets/s, whatever is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_on: list[tuple[int, int, bool]] = []

    def forecast(self, now_us: int) -> Forecast:
        return Forecast(now_us, 0.0, 1000.0, 0.0)

    def let_in(self, at_us: int, decided: int, marked: int = 0, *, shed: bool = False) -> None:
        del at_us
        self.handed_on.append((decided, marked, shed))


def bench(logic: Any = None, **changes: Any) -> Bench:
    """Return an engine of the first stage that sheds."""
    made = logic or FakeLogic()
    owned = ownership_of()
    owned.state = made.initial()
    settings = load_settings(broker=None, **changes)
    return Bench(made, settings, "strategic", owned, Busy())


def late(sequence: int, symbol: str = "AAPL", **changes: Any) -> Any:
    """Return a packet with half a millisecond left."""
    times = {"accepted_at": NOW - 99_500, "deadline": NOW + 500}
    return market_data(symbol, sequence, **{**times, **changes})


def ended(records: list[Any]) -> list[tuple[str, int]]:
    """Return the reason of each record, and for how many packets it stands."""
    outcomes = [each.envelope.outcome for each in records]
    reasons = [outcome.reasons[0] if outcome else "" for outcome in outcomes]
    return list(zip(reasons, map(packets_of, records), strict=True))


async def test_a_backlog_is_shed_with_one_record() -> None:
    """It names all packets and their range; what came in time is decided one by one."""
    made = bench()
    records = await made.work_off(*(late(n) for n in range(200)), market_data(sequence=200))
    assert [(Fate.OVERLOAD, 200), ("", 1)] == ended(records)
    run = run_of(records[0])
    assert run is not None
    assert (0, 199) == (run.first_offset, run.last_offset)
    assert OutcomeKind.SHED is records[0].envelope.outcome.kind
    assert [(1, 1, True)] == made.throughput.handed_on  # type: ignore[union-attr]  # it is Busy


async def test_where_there_is_room_each_has_its_own() -> None:
    """A few late ones keep nobody from its deadline."""
    records = await bench().work_off(late(0), late(1), market_data(sequence=2))
    assert [(Fate.OVERLOAD, 1), (Fate.OVERLOAD, 1), ("", 1)] == ended(records)


async def test_the_expired_are_told_from_the_shed() -> None:
    """Packets whose deadline has passed and such as will miss it have records of their own."""
    expired = [late(n, accepted_at=NOW - 200_000, deadline=NOW - 100_000) for n in range(200)]
    records = await bench().work_off(*expired, *(late(n) for n in range(200, 400)), market_data(
        sequence=400
    ))  # fmt: skip
    assert [(Fate.DEADLINE, 200), (Fate.OVERLOAD, 200), ("", 1)] == ended(records)


async def test_what_is_broken_breaks_a_run() -> None:
    """A record that nobody can read is dead-lettered for itself, and its bytes are kept."""
    made = bench()
    half = [late(n) for n in range(100)], [late(n) for n in range(100, 200)]
    records = await made.work_off(*half[0], POISON, *half[1], market_data(sequence=200))
    assert [
        (Fate.OVERLOAD, 100), (Fate.MALFORMED, 1), (Fate.OVERLOAD, 100), ("", 1),
    ] == ended(records)  # fmt: skip
    assert [POISON] == [value for _, _, value, _ in made.host.dead]


async def test_the_urgent_go_first_and_are_decided() -> None:
    """An urgent packet in the middle of a backlog is not part of its run."""
    made = bench()
    records = await made.work_off(
        *(late(n, "AAPL") for n in range(100)), late(0, "IBM", priority=3),
        *(late(n, "AAPL") for n in range(100, 200)), market_data(sequence=200),
    )  # fmt: skip
    assert [("", 1), (Fate.OVERLOAD, 200), ("", 1)] == ended(records)
    run = run_of(records[1])
    assert run is not None
    assert (0, 200, 200) == (run.first_offset, run.last_offset, len(run.packets))
    assert 100 not in [each.offset for each in run.packets]


async def test_the_log_tells_where_to_go_on() -> None:
    """Folding the journals gives the position that the owner has: no input twice, none left out."""
    made = bench()
    records = await made.work_off(
        *(late(n) for n in range(100)), late(0, "IBM", priority=3),
        *(late(n) for n in range(100, 150)),
    )  # fmt: skip
    positions: dict[tuple[str, int], InputPosition] = {}
    for each in records:
        fold_journal(positions, each.journal)
    assert positions[MARKET, 0] == made.position
    assert (151, set()) == (made.position.position.offset, made.position.done)


async def test_a_run_has_a_longest_length() -> None:
    """It must fit the topic, so a longer backlog takes several."""
    records = await bench(record_max_bytes=51_200).work_off(
        *(late(n) for n in range(120)), market_data(sequence=120)
    )
    assert [(Fate.OVERLOAD, 50), (Fate.OVERLOAD, 50), (Fate.OVERLOAD, 20), ("", 1)] == ended(
        records
    )


async def test_a_duplicate_in_a_backlog_is_found() -> None:
    """The stage judges what is shed, too: a sequence number counts once."""
    backlog = [late(n) for n in range(100)]
    records = await bench(ViewedLogic(StrategicLogic())).work_off(
        *backlog, backlog[50], *(late(n) for n in range(100, 150)), market_data(sequence=150)
    )
    assert [
        (Fate.OVERLOAD, 100), (Fate.DUPLICATE, 1), (Fate.OVERLOAD, 50), ("", 1),
    ] == ended(records)  # fmt: skip


async def test_windows_have_no_gap() -> None:
    """Bars of packets in a run count in this stage and the next, as in records of their own."""
    backlog = [_priced(late(n), n) for n in range(200)]
    fresh = [_priced(market_data(sequence=n), n) for n in range(200, 205)]
    shed = await bench(ViewedLogic(StrategicLogic())).work_off(*backlog, *fresh)
    calm = Bench(ViewedLogic(StrategicLogic()), load_settings(broker=None))
    calm.ownership.state = calm.logic.initial()
    all_decided = await calm.work_off(*backlog, *fresh)
    assert [200] + [1] * 5 == [packets_of(each) for each in shed]
    assert [each.strategic for each in all_decided[200:]] == [each.strategic for each in shed[1:]]
    assert shed[1].strategic is not None
    assert await _tactical(all_decided) == await _tactical(shed)


def _priced(packet: Any, sequence: int) -> Any:
    close = 100.0 + sequence % 7 + sequence * 0.1
    return replace(packet, bar=Bar(close, close + 1, close - 1, close, 1000.0 + sequence, 60))


async def _tactical(signals: list[StrategicSignal]) -> list[Any]:
    """Return what the next stage decides on the last five of a log, worked off in one round."""
    log = "cascade.strategic"
    owned = ownership_of("tactical", (log, 0))
    logic = ViewedLogic(TacticalLogic())
    owned.state = logic.initial()
    made = Bench(logic, load_settings(broker=None), "tactical", owned)
    await made.engine.work_off(taken(messages(marker(), topic_=log)))
    values = [
        encode(replace(each, journal=replace(each.journal, log_sequence=n, epoch=0)))
        for n, each in enumerate(signals)
    ]
    records = await made.work_off_log(log, *values, start=1)
    assert [packets_of(each) for each in signals] == [packets_of(each) for each in records]
    return [each.tactical for each in records[-5:]]


async def test_by_the_event_clock_nothing_is_shed() -> None:
    """Then a run can be repeated, however busy the pipeline is."""
    records = await bench(clock="event").work_off(*(late(n) for n in range(3)))
    assert [("", 1)] * 3 == ended(records)
