"""A channel of its own thread: told, tried again, and nobody waits for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pipeline.packets.events import PerformanceAlert
from pipeline.settings import AlertChannel
from pipeline.watch.alerting.couriers import Courier
from pipeline.watch.alerting.entry import AlertState, Entry
from pipeline.watch.alerting.notices import Notice
from pipeline.watch.channels import Message
from tests.unit.control.memory_log import eventually
from tests.unit.watch.alerting.factories import NOW_US

_CHANNEL = AlertChannel(name="ops", contact="x")
_ENTRY = Entry.new(
    AlertState(subject="latency/risk", state="raised", rule="latency", system="risk"),
    PerformanceAlert.WARNING,
    "slow",
    NOW_US,
)
_NOTICE = Notice("latency", (_ENTRY,))


class _Desk:
    """Has one notice for a channel until it was told."""

    def __init__(self) -> None:
        self.waiting = [_NOTICE]
        self.asked = 0

    def ask(self, channel: AlertChannel) -> list[Notice]:
        self.asked += 1
        return list(self.waiting)

    def note(self, channel: AlertChannel, notice: Notice) -> None:
        self.waiting.remove(notice)


@contextmanager
def _courier(desk: _Desk, way: Callable[[Message], bool]) -> Iterator[Courier]:
    courier = Courier(_CHANNEL, "trading", desk.ask, desk.note, way=lambda _: way)
    courier.start()
    try:
        yield courier
    finally:
        courier.close()


def test_what_is_due_is_told_once() -> None:
    """It goes on asking, and has nothing more to tell."""
    desk, told = _Desk(), list[Message]()

    def way(message: Message) -> bool:
        told.append(message)
        return True

    with _courier(desk, way):
        eventually(lambda: desk.asked >= 4)
    assert ["[WARNING] trading: latency/risk"] == [each.title for each in told]


def test_a_channel_that_fails_is_tried_again() -> None:
    """Whether it refuses or raises; the failures are counted until it works."""
    desk, attempts = _Desk(), list[int]()

    def way(message: Message) -> bool:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("no route")
        return len(attempts) > 2

    with _courier(desk, way) as courier:
        eventually(lambda: not desk.waiting)
        eventually(lambda: courier.failures == 0)
    assert 3 == len(attempts)


def test_a_channel_that_hangs_holds_up_no_other() -> None:
    """Each has a thread of its own."""
    stuck, free, release = _Desk(), _Desk(), threading.Event()
    with (
        _courier(stuck, lambda _: release.wait(60.0)),
        _courier(free, lambda _: True),
    ):
        eventually(lambda: not free.waiting)
        assert stuck.waiting
        release.set()


def test_a_channel_without_a_way_is_refused() -> None:
    """At once, not at the first alert."""
    from pipeline.errors import UsageError

    channel = AlertChannel(name="ops", contact="nowhere", type="pigeon")
    with pytest.raises(UsageError, match="ops"):
        Courier(channel, "trading", _Desk().ask, _Desk().note)
