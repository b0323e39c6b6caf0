import pytest

from pipeline.control.scope import Scope, ScopeKind
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", Scope(ScopeKind.EVERYTHING)),
        ("stage:tactical", Scope(ScopeKind.STAGE, "tactical")),
        ("stage:gateway", Scope(ScopeKind.STAGE, "gateway")),
        ("symbol:BRK:B", Scope(ScopeKind.SYMBOL, "BRK:B")),
        ("policy:risk", Scope(ScopeKind.POLICY, "risk")),
        ("source:market", Scope(ScopeKind.SOURCE, "market")),
    ],
)
def test_a_scope_is_read_and_spelled_the_same(text: str, expected: Scope) -> None:
    """Reading and spelling a scope are inverse."""
    assert expected == Scope.parse(text)
    assert text == str(expected)


@pytest.mark.parametrize(
    "text", ["", "tactical", "stage:", "stage:tactics", "policy:gateway", "planet:mars", "*:all"]
)
def test_what_names_no_part_is_refused(text: str) -> None:
    """A fence around nothing would only look like one."""
    with pytest.raises(UsageError, match="Expected"):
        Scope.parse(text)
