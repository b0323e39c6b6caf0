"""Where the server may listen, what it does without a broker, and the commands around it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.control.latch import Latch
from pipeline.dashboard.acting import Desk
from pipeline.dashboard.guarding import is_loopback
from pipeline.dashboard.observing import Observer
from pipeline.dashboard.server import check_bind, tls_context
from pipeline.dashboard.users import Role, UserFile
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.events import EventBus
from pipeline.packets.events import ControlKind, TradingState
from pipeline.settings import Settings, load_settings
from pipeline.settings.components import DashboardSettings
from tests.kafka_workers import wait_until

NOBODY = "127.0.0.1:1"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a broker that does not answer."""
    return load_settings(broker=NOBODY, home=tmp_path)


@pytest.fixture
def bus(settings: Settings) -> Iterator[EventBus]:
    """A bus that finds no broker."""
    with_none = EventBus(settings=settings, connect_timeout_s=0.2)
    yield with_none
    with_none.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.8.8.8"])
def test_loopback_needs_nothing(host: str) -> None:
    """Only this machine reaches it."""
    assert is_loopback(host)
    assert check_bind(DashboardSettings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.evil"])
def test_what_others_reach_needs_tls_or_a_word(host: str, tmp_path: Path) -> None:
    """Without either it does not begin to listen."""
    with pytest.raises(ConfigurationError, match="Expected TLS on"):
        check_bind(DashboardSettings(host=host))
    assert not check_bind(DashboardSettings(host=host, remote_http="allow"))
    assert not check_bind(DashboardSettings(host=host, tls_certificate=tmp_path / "c.pem"))


def test_a_certificate_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """Rather than served without."""
    with pytest.raises(ConfigurationError, match="Expected a certificate and its key"):
        tls_context(DashboardSettings(tls_certificate=tmp_path / "none.pem"))
    assert tls_context(DashboardSettings()) is None


def test_a_halt_without_a_broker_halts_this_machine(bus: EventBus, settings: Settings) -> None:
    """It is latched before anything else, stays so, and the answer says how to lift it."""
    desk = Desk(bus)
    found = desk.give(
        ControlKind.HALT, author="mary", reason="wrong orders", scope="*", lifts_epoch=-1
    )
    desk.close()
    latched = Latch.of(settings).read()
    assert (TradingState.HALTED, True, "mary") == (
        latched.trading_state, latched.local, latched.author,
    )  # fmt: skip
    assert (True, False) == (found["local"], found["in_force"])
    assert f"cascade control resume --local {latched.halt_id}" in found["said"]


def test_what_lifts_does_not_happen_without_a_broker(bus: EventBus, settings: Settings) -> None:
    """A resume is an error then, and the latch as it was."""
    desk = Desk(bus)
    with pytest.raises(BrokerUnavailable):
        desk.give(ControlKind.RESUME, author="mary", reason="r", scope="*", lifts_epoch=3)
    desk.close()
    assert not Latch.of(settings).path.exists()


def test_with_nothing_running_the_page_says_so(bus: EventBus) -> None:
    """The picture is there, says what is missing, and shows no state that it does not know."""
    observer = Observer(bus, watched=lambda: True)
    observer.start()
    try:
        wait_until(lambda: NOBODY in observer.trouble, "the missing broker to be named")
        found = observer.picture()
    finally:
        observer.close()
    assert not found["connection"]["live"]
    assert NOBODY in found["connection"]["detail"]
    assert found["control"] is None
    assert {"unknown"} == {each["condition"] for each in found["stages"]}
    assert [] == found["flows"]


def cascade(home: Path, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a `cascade` command in a home of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env={"PATH": "/usr/bin:/bin", "CASCADE_HOME": str(home), "CASCADE_BROKER": NOBODY},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_users_are_kept_by_their_command(tmp_path: Path) -> None:
    """Added by standard input, listed, given a role, removed; without a broker that is said."""
    secret = "an unusual long password"  # noqa: S105  # of this test alone
    done = cascade(
        tmp_path, "users", "add", "mary", "--role", "risk-officer", "--password-stdin",
        given=f"{secret}\n",
    )  # fmt: skip
    assert 0 == done.returncode
    assert "The audit log does not know of it" in done.stderr
    assert "CASCADE_CONTROL_AUTHORS" in done.stderr
    listed = json.loads(cascade(tmp_path, "users", "list", "--json").stdout)
    assert [{"name": "mary", "role": "risk-officer"}] == listed
    users = UserFile(tmp_path / "users.json")
    assert users.verify("mary", secret) is not None
    assert secret not in users.path.read_text() + done.stdout + done.stderr
    assert 0 == cascade(tmp_path, "users", "role", "mary", "viewer").returncode
    assert Role.VIEWER is users.users()["mary"].role
    assert 0 == cascade(tmp_path, "users", "remove", "mary").returncode
    assert not users.users()


def test_what_a_user_command_cannot_do_is_one_sentence(tmp_path: Path) -> None:
    """A short password and an unknown name end with exit code 1."""
    short = cascade(tmp_path, "users", "add", "mary", "--password-stdin", given="short\n")
    assert 1 == short.returncode
    assert short.stderr.startswith("cascade: Expected a password of 12")
    nobody = cascade(tmp_path, "users", "remove", "nobody")
    assert 1 == nobody.returncode
    assert "Expected a user (nobody), was nobody" in nobody.stderr


def test_the_dashboard_refuses_to_be_reached_without_tls(tmp_path: Path) -> None:
    """The command ends with what to do, before it listens."""
    done = cascade(tmp_path, "dashboard", "--host", "0.0.0.0", "--port", "0")
    assert 2 == done.returncode
    assert "CASCADE_DASHBOARD__TLS_CERTIFICATE" in done.stderr
    assert "Nobody can log in yet" in done.stderr
