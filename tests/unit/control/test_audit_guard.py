"""No trading blind: the guard lets trading go on for as long as the auditor says it keeps up."""

import pytest

from pipeline.control.audit_guard import AuditGuard
from pipeline.packets.events import AuditProgress
from pipeline.settings import Settings, load_settings

_LIMIT_S = 10.0


class Clocks:
    """A monotonic and a wall clock to set."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.wall_us = 1_000_000_000

    def pass_time(self, seconds: float) -> None:
        """Let both run on."""
        self.seconds += seconds
        self.wall_us += int(seconds * 1e6)


def _settings(limit_s: float = _LIMIT_S) -> Settings:
    return load_settings(broker="127.0.0.1:1", audit_max_lag_s=limit_s)


def _guard(clocks: Clocks) -> AuditGuard:
    return AuditGuard(_settings(), lambda: clocks.seconds, lambda: clocks.wall_us)


def _word(clocks: Clocks, *, lag_s: float = 0.0, age_s: float = 0.0) -> AuditProgress:
    until_us = clocks.wall_us - int(age_s * 1e6)
    return AuditProgress("a", clocks.wall_us, until_us, lag_s, 3, "00", 5, 0)


def test_before_the_first_word_nothing_goes_out() -> None:
    """Silence is lag."""
    assert "auditor" in _guard(Clocks()).refusal()


def test_a_word_lets_trading_go_on_for_the_limit_and_silence_ends_it() -> None:
    """Each word prolongs, none of them more than the limit."""
    clocks = Clocks()
    guard = _guard(clocks)
    guard.take(_word(clocks))
    said = [guard.refusal()]
    clocks.pass_time(_LIMIT_S - 0.1)
    said.append(guard.refusal())
    clocks.pass_time(0.2)

    assert ["", ""] == said
    assert guard.refusal()
    guard.take(_word(clocks))
    assert "" == guard.refusal()


@pytest.mark.parametrize(("lag_s", "age_s"), [(8.0, 0.0), (0.0, 8.0)])
def test_what_the_auditor_is_behind_counts_against_it(lag_s: float, age_s: float) -> None:
    """By its own clock, or by the age of its word: whichever is worse."""
    clocks = Clocks()
    guard = _guard(clocks)
    guard.take(_word(clocks, lag_s=lag_s, age_s=age_s))
    clocks.pass_time(1.9)
    said = guard.refusal()
    clocks.pass_time(0.2)

    assert "" == said
    assert guard.refusal()


def test_a_late_word_takes_nothing_back() -> None:
    """An older word that comes behind a newer one changes nothing."""
    clocks = Clocks()
    guard = _guard(clocks)
    guard.take(_word(clocks))
    guard.take(_word(clocks, age_s=9.0))
    clocks.pass_time(5.0)

    assert "" == guard.refusal()


def test_a_guard_that_is_stopped_lets_nothing_out() -> None:
    """As the control reader, it fails closed."""
    clocks = Clocks()
    guard = _guard(clocks)
    guard.take(_word(clocks))
    guard.stop()

    assert guard.refusal()


@pytest.mark.parametrize(
    ("stage", "limit_s", "guarded"),
    [
        ("execution", 10.0, True),
        ("gateway", 10.0, True),
        ("strategic", 10.0, False),
        ("risk", 10.0, False),
        ("gateway", 0.0, False),
    ],
)
def test_only_who_sends_out_minds_the_auditor(stage: str, limit_s: float, *, guarded: bool) -> None:
    """And nobody where no limit is set."""
    assert guarded == (AuditGuard.of(_settings(limit_s), stage) is not None)
