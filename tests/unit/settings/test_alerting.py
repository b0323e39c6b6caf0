"""The section `alerts`: built-in rules, what file and environment change, what is refused."""

import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from pipeline.settings import describe, load_settings, nested_variables


def _with_file(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    file = folder / "cascade.yaml"
    file.write_text(text)
    monkeypatch.setenv("CASCADE_CONFIG", str(file))


def test_the_file_changes_built_in_rules_key_by_key_and_adds_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it does not name stays as it comes."""
    text = """
        alerts:
          channels:
            - {name: desk, contact: https://desk.example.com/hook, least_level: CRITICAL}
          rules:
            latency: {warning: 0.05}
            slow_risk: {metric: cascade_stage_latency_quantile_seconds, subject: risk,
                        where: {quantile: "0.99"}, critical: 0.05}
    """
    _with_file(monkeypatch, tmp_path, text)
    alerts = load_settings().alerts
    latency = alerts.rules["latency"]
    assert (0.05, 0.25, 10.0) == (latency.warning, latency.critical, latency.hold)
    assert "risk" == alerts.rules["slow_risk"].subject
    assert "system_silent" in alerts.rules
    assert ["desk"] == [each.name for each in alerts.channels]
    assert "desk.example.com" not in repr(alerts)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("latency: {warning: 0.5}", "rising limits"),
        ("latency: {limit: 1}", "limit"),
        ("other: {metric: m}", "at least one"),
        ("other: {metric: m, warning: 1, inhibited_by: [nobody]}", "inhibited_by"),
    ],
)
def test_what_is_no_rule_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rule: str, expected: str
) -> None:
    """With what was expected."""
    _with_file(monkeypatch, tmp_path, f"alerts:\n  rules:\n    {rule}\n")
    with pytest.raises(ConfigurationError, match=expected):
        load_settings()


def test_a_worker_process_gets_the_rules_and_no_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels may hold secrets: the worker finds them where this process did."""
    channels = json.dumps([{"name": "desk", "contact": "https://x.example.com"}])
    monkeypatch.setenv("CASCADE_ALERTS__CHANNELS", channels)
    monkeypatch.setenv("CASCADE_ALERTS__RULES", json.dumps({"latency": {"warning": 0.05}}))
    settings = load_settings()
    handed_on = nested_variables(settings)
    assert "CASCADE_ALERTS__CHANNELS" not in handed_on
    for name, text in handed_on.items():
        monkeypatch.setenv(name, text)
    assert settings.alerts == load_settings().alerts


def test_addresses_of_channels_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by `cascade config show` nor in an error."""
    address = "https://x.example.com/s3cret"
    monkeypatch.setenv(
        "CASCADE_ALERTS__CHANNELS", json.dumps([{"name": "desk", "contact": address}])
    )
    settings = load_settings()
    assert "s3cret" not in str(describe(settings))
    monkeypatch.setenv("CASCADE_ALERTS__CHANNELS", json.dumps([{"name": "", "contact": address}]))
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)
