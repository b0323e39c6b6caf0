"""Wrong values in errors: what was given is shown, unless it may hold what nobody should see."""

import json

import pytest

from pipeline.errors import ConfigurationError
from pipeline.settings import load_settings


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("CASCADE_TIMEOUT_MS", "soon", "was 'soon'"),
        ("CASCADE_TIMEOUT_MS", "x" * 60 + " password=hunter2", "was a text of 77 characters"),
        (
            "EMERGENCY_CONTACTS",
            json.dumps([{"name": "n", "sasl.password": "hunter2"}]),
            "was a dict of 2",
        ),
    ],
)
def test_what_may_hold_secrets_is_not_shown(
    variable: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short text is; a long one, a mapping and a list are named by what they are."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert shown in str(raised.value)
    assert "hunter2" not in str(raised.value)
