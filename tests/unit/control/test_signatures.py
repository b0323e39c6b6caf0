"""Commands and their signatures: an unsigned one is worth nothing, a halt among them."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pipeline.control.log import Entry
from pipeline.control.signatures import CommandCheck, Forgery, sign_command
from pipeline.control.state import TradingState, TradingStateMachine
from pipeline.errors import SignatureRefused
from pipeline.keys import Purpose, Signer
from pipeline.keys.signing import Headers
from pipeline.packets.codec import encode
from pipeline.packets.events import ControlCommand, ControlKind
from tests.unit.control.memory_log import BOOTSTRAP, HALT, command, resume
from tests.unit.keys.key_factories import START_US, Keys

_TOPIC = "desk.cascade.control"
_SECOND = 1_000_000


class _Log:
    """A control log whose records are checked, and the machine that folds it."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.machine = TradingStateMachine(("operator", "mary"))
        self.check = CommandCheck(keys.verifier(), _TOPIC)
        self.epoch = 0

    def append(
        self, given: ControlCommand, headers: Headers | None, *, appended_at: int = START_US
    ) -> Forgery | None:
        """Take one record; return why it does not count."""
        return self.append_bytes(encode(given), given, headers, appended_at=appended_at)

    def append_bytes(
        self,
        value: bytes,
        given: ControlCommand | None,
        headers: Headers | None,
        *,
        appended_at: int = START_US,
    ) -> Forgery | None:
        """Take the bytes of one record; return why they do not count."""
        forgery = self.check.forgery(value, headers, given, appended_at)
        counted = None if forgery else given
        self.machine.take(Entry(self.epoch, counted, appended_at, forgery))
        self.epoch += 1
        return forgery

    def signed(self, given: ControlCommand, key_id: str = "ops") -> Forgery | None:
        """Take one record with a proper signature."""
        signer = self.keys.signer(key_id)
        return self.append(given, sign_command(signer, _TOPIC, given, encode(given)))

    def state(self) -> str:
        """The trading state."""
        return self.machine.trading_state


@pytest.fixture
def log(tmp_path: Path) -> _Log:
    """A log with the keys `ops` and `gate`, on which trading is allowed."""
    keys = Keys(tmp_path)
    keys.new("ops", Purpose.CONTROL, "operator")
    keys.new("gate", Purpose.RESTRICT)
    keys.new("desk", Purpose.PLANS)
    log = _Log(keys)
    assert log.signed(BOOTSTRAP) is None
    assert log.state() == TradingState.ACTIVE
    return log


def test_signed_commands_count(log: _Log) -> None:
    """A halt by a key that may restrict, its lifting by one for control."""
    assert log.signed(HALT, "gate") is None
    assert log.state() == TradingState.HALTED
    assert log.signed(resume(1)) is None
    assert log.state() == TradingState.ACTIVE


def test_an_unsigned_halt_does_not_halt(log: _Log) -> None:
    """Who may only write to the topic cannot stop trading; it is known why, and what it was."""
    forgery = log.append(HALT, None)
    assert log.state() == TradingState.ACTIVE
    assert forgery is not None
    assert (forgery.claimed, forgery.alarming) == (HALT, True)
    assert "was none" in log.machine.refused[1]


def test_an_unsigned_unreadable_record_does_not_halt_and_a_signed_one_does(log: _Log) -> None:
    """One of us may know commands that we do not know."""
    assert log.append_bytes(b"junk", None, None) is not None
    assert log.state() == TradingState.ACTIVE
    headers = log.keys.signer("ops").sign(_TOPIC, b"newer", Purpose.CONTROL)
    assert log.append_bytes(b"newer", None, headers) is None
    assert log.state() == TradingState.HALTED


def test_a_signature_is_no_other_command_s(log: _Log) -> None:
    """Neither a changed command nor one of another namespace counts."""
    headers = sign_command(log.keys.signer("ops"), _TOPIC, HALT, encode(HALT))
    assert log.append(replace(HALT, reason="other"), headers) is not None
    elsewhere = sign_command(log.keys.signer("ops"), "x.cascade.control", HALT, encode(HALT))
    assert log.append(HALT, elsewhere) is not None
    assert log.state() == TradingState.ACTIVE


def test_a_signed_command_counts_once(log: _Log) -> None:
    """A halt that was lifted cannot be played again; a writer's own repetition is no alarm."""
    headers = sign_command(log.keys.signer("ops"), _TOPIC, HALT, encode(HALT))
    assert log.append(HALT, headers) is None
    again = log.append(HALT, headers, appended_at=START_US + _SECOND)
    assert again is not None
    assert not again.alarming
    log.signed(resume(1))
    replayed = log.append(HALT, headers, appended_at=START_US + 3600 * _SECOND)
    assert replayed is not None
    assert replayed.alarming
    assert log.state() == TradingState.ACTIVE


@pytest.mark.parametrize("key_id", ["gate", "desk"])
def test_only_a_key_for_control_lifts(log: _Log, key_id: str) -> None:
    """Whoever may restrict or plan cannot resume, nor sign it by the back door."""
    log.signed(HALT)
    with pytest.raises(SignatureRefused, match="for control"):
        log.signed(resume(1), key_id)
    signer, lifting = log.keys.signer(key_id), resume(1)
    purposes = (Purpose.RESTRICT, Purpose.PLANS)
    assert log.append(lifting, signer.sign(_TOPIC, encode(lifting), *purposes)) is not None
    assert log.state() == TradingState.HALTED


def test_a_key_lifts_in_the_name_of_its_authors_only(log: _Log) -> None:
    """`mary` may resume, but not with the operator's key."""
    log.signed(HALT)
    lifting = command(ControlKind.RESUME, author="mary", lifts_epoch=1)
    with pytest.raises(SignatureRefused, match=r"may speak for \(operator\)"):
        log.signed(lifting)
    headers = log.keys.signer("ops").sign(_TOPIC, encode(lifting), Purpose.CONTROL)
    assert log.append(lifting, headers) is not None
    assert log.state() == TradingState.HALTED


def test_what_is_older_than_the_ring_counts_unsigned(log: _Log) -> None:
    """Fences and halts stand when signing begins; who writes now cannot write of then."""
    before = log.check._verifier.required_from - 1
    assert log.append(HALT, None, appended_at=before) is None
    assert log.state() == TradingState.HALTED
    assert log.append(command(ControlKind.HALT), None, appended_at=before + 1) is not None


def test_a_record_without_the_broker_s_time_does_not_count(log: _Log) -> None:
    """Only that time cannot be chosen by who writes."""
    headers = sign_command(log.keys.signer("ops"), _TOPIC, HALT, encode(HALT))
    assert log.append(HALT, headers, appended_at=0) is not None


def test_revoking_a_key_lifts_no_halt_of_it(log: _Log) -> None:
    """A fresh reading of the log comes to the same state."""
    headers = sign_command(log.keys.signer("gate"), _TOPIC, HALT, encode(HALT))
    log.keys.clock.us += _SECOND
    log.keys.maker.revoke("gate")
    assert log.append(HALT, headers) is None
    other = command(ControlKind.HALT)
    late = log.append(other, headers, appended_at=START_US + 2 * _SECOND)
    assert late is not None
    assert log.state() == TradingState.HALTED


def test_without_a_ring_nothing_is_signed() -> None:
    """As before there were keys."""
    signer: Signer | None = None
    assert sign_command(signer, _TOPIC, HALT, encode(HALT)) == []
