"""The event bus where there is no Kafka."""

import time
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.broker import ThisMachine
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.events import EventBus, Subscription
from pipeline.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings without a broker, with a home of the test's own."""
    return load_settings(broker=None, home=tmp_path / "home")


def silent_address() -> str:
    """Return an address where nothing listens."""
    return f"127.0.0.1:{ThisMachine().free_port(0)}"


def test_making_a_bus_connects_to_nothing(settings: Settings) -> None:
    """A bus without a broker is made, and says that it is not connected."""
    bus = EventBus(silent_address(), settings)

    assert not bus.connected
    assert not settings.home.exists()


def test_a_broker_given_comes_before_that_of_the_settings(settings: Settings) -> None:
    """The constructor's broker wins; without one the settings' counts."""
    set_in_settings = settings.model_copy(update={"broker": "one:1"})

    assert "two:2" == EventBus("two:2", set_in_settings).settings.broker
    assert "one:1" == EventBus(settings=set_in_settings).settings.broker


def test_a_silent_broker_is_an_error_within_the_time_limit(settings: Settings) -> None:
    """The error names the address; nothing is started in its place."""
    address = silent_address()
    bus = EventBus(address, settings, connect_timeout_s=1.0)
    started = time.monotonic()

    with pytest.raises(BrokerUnavailable, match=address), bus:
        pass

    assert time.monotonic() - started < 20.0
    assert not settings.home.exists()


def test_no_broker_at_all_names_the_ways_to_one(settings: Settings) -> None:
    """Without any broker the error says how to get one, and none is started."""
    with pytest.raises(BrokerUnavailable, match="cascade broker up"):
        EventBus(settings=settings, connect_timeout_s=1.0).connect()

    assert not settings.home.exists()


def test_a_closed_bus_stays_closed(settings: Settings) -> None:
    """Closing twice is fine, using it afterwards is not."""
    bus = EventBus(settings=settings)
    bus.close()
    bus.close()

    with pytest.raises(UsageError, match="closed"):
        bus.connect()


def test_a_moment_without_a_time_zone_is_refused(settings: Settings) -> None:
    """Whose noon it is decides what is read, so it must be said."""
    moment = datetime.fromisoformat("2026-01-01T12:00:00")

    with pytest.raises(ValueError, match="time zone"):
        Subscription(settings, ["cascade.alerts"], print, moment)
