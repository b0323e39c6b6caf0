import pytest

from pipeline.demo.plan import DemoPlan, Kill
from pipeline.demo.rig import demo_namespace
from pipeline.errors import UsageError


def test_a_kill_is_a_stage_and_a_second() -> None:
    """`risk@2.5` kills risk two and a half seconds after the start."""
    assert Kill(2.5, "risk") == Kill.parse("risk@2.5")


@pytest.mark.parametrize("text", ["risk", "risk@", "risk@soon", "risk@-1", "riks@2", "risk@nan"])
def test_refuses_what_is_no_kill(text: str) -> None:
    """A misspelt kill is refused rather than forgotten."""
    with pytest.raises(UsageError, match="STAGE@SECOND"):
        Kill.parse(text)


@pytest.mark.parametrize(
    "options", [{"seconds": 0.0}, {"rate": float("inf")}, {"kills": (Kill(30.0, "risk"),)}]
)
def test_refuses_what_cannot_be_done(options: dict[str, object]) -> None:
    """No time, no rate, or a kill after the end: said at once, not after a minute."""
    with pytest.raises(UsageError, match="Expected"):
        DemoPlan(**options)  # type: ignore[arg-type]  # any option


def test_two_runs_share_no_namespace() -> None:
    """The namespace names the moment, to the millisecond."""
    assert "demo-20231114-221320-000" == demo_namespace(1_700_000_000.0)
    assert demo_namespace(1_700_000_000.001) != demo_namespace(1_700_000_000.0)
