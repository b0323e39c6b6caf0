"""The specification's settings: names, places, precedence, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import ConfigurationError
from pipeline.settings import (
    SPECIFIED,
    EmergencyContact,
    SettingName,
    Settings,
    describe,
    flags_in_force,
    load_settings,
    parse_flags,
)

SPECIFICATION = {
    "CASCADE_MAX_CONCURRENT_FLOWS": "100",
    "CASCADE_TIMEOUT_MS": "100",
    "CASCADE_EMERGENCY_THRESHOLD": "0.8",
    "COORDINATION_HEARTBEAT_INTERVAL": "1.0",
    "COORDINATION_SYNC_TIMEOUT": "10.0",
    "PERFORMANCE_TARGET_LATENCY_MS": "100",
    "PERFORMANCE_SAMPLING_INTERVAL": "0.1",
    "PERFORMANCE_REPORT_INTERVAL": "5.0",
    "VALIDATION_INTERVAL": "5.0",
    "VALIDATION_DEEP_INTERVAL": "30.0",
    "EMERGENCY_RESPONSE_TIMEOUT": "30.0",
    "EMERGENCY_RECOVERY_ATTEMPTS": "3",
}

# All numbers differ from the defaults, and none of them is another's.
FILE = """
cascade:
  max_concurrent_flows: 101
  timeout_ms: 102
  emergency_threshold: 0.7

coordination:
  heartbeat_interval: 1.1
  sync_timeout: 10.1
  max_concurrent_requests: 51

performance:
  target_latency_ms: 103
  sampling_interval: 0.2
  report_interval: 5.1
  history_size: 10001

validation:
  interval: 5.2
  deep_interval: 30.1
  max_concurrent_validations: 21

emergency:
  response_timeout: 30.2
  recovery_attempts: 4
  emergency_contacts:
    - name: "System Administrator"
      contact: "admin@example.com"
      type: "email"
"""
READ = {
    "max_concurrent_flows": 101,
    "cascade_timeout_ms": 102,
    "emergency_threshold": 0.7,
    "coordination.heartbeat_interval": 1.1,
    "coordination.sync_timeout": 10.1,
    "coordination.max_concurrent_requests": 51,
    "performance.target_latency_ms": 103.0,
    "performance.sampling_interval": 0.2,
    "performance.report_interval": 5.1,
    "performance.history_size": 10001,
    "validation.interval": 5.2,
    "validation.deep_interval": 30.1,
    "validation.max_concurrent_validations": 21,
    "emergency.response_timeout": 30.2,
    "emergency.recovery_attempts": 4,
}
ADMINISTRATOR = EmergencyContact(
    name="System Administrator", contact="admin@example.com", type="email"
)
IDS = [name.setting for name in SPECIFIED]
PLAIN = [name for name in SPECIFIED if name.setting in READ]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, so that no `.env` of the checkout is found."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def value(settings: Settings, dotted: str) -> Any:
    """Return a setting by its dotted name."""
    found: Any = settings
    for part in dotted.split("."):
        found = getattr(found, part)
    return found


def yaml_file(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    """Write a settings file and have the settings read it."""
    path = folder / "cascade.yaml"
    path.write_text(text)
    monkeypatch.setenv("CASCADE_CONFIG", str(path))
    return path


def test_the_specification_s_variables_hold_its_defaults() -> None:
    """Each variable of the specification sets a setting, whose default is the figure there."""
    variables = {name.variable: name.setting for name in SPECIFIED}
    defaults = {variable: value(load_settings(), variables[variable]) for variable in SPECIFICATION}
    assert {name: float(text) for name, text in SPECIFICATION.items()} == defaults


@pytest.mark.parametrize("name", PLAIN, ids=[name.setting for name in PLAIN])
def test_each_variable_sets_its_setting(name: SettingName, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the specification changes that one setting and no other."""
    monkeypatch.setenv(name.variable, str(READ[name.setting]))
    settings = load_settings()
    changed = {other.setting: value(settings, other.setting) for other in PLAIN}
    defaults = {other.setting: value(Settings(), other.setting) for other in PLAIN}
    monkeypatch.delenv(name.variable)
    before = {other.setting: value(Settings(), other.setting) for other in PLAIN}
    assert defaults == changed
    assert {**before, name.setting: READ[name.setting]} == changed


def test_the_specification_s_file_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key of the specification's YAML file reaches its setting, contacts too."""
    yaml_file(folder, monkeypatch, FILE)
    settings = load_settings()
    assert READ == {name: value(settings, name) for name in READ}
    assert (ADMINISTRATOR,) == settings.emergency.emergency_contacts


def test_each_setting_of_the_specification_is_in_the_table() -> None:
    """The table of names lists the file's keys and nothing else, each once."""
    assert sorted((*READ, "emergency.emergency_contacts")) == sorted(IDS)
    assert len({name.variable for name in SPECIFIED}) == len(SPECIFIED)


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        (
            {"performance": {"target_end_to_end_latency_ms": 7.0}},
            "performance.target_latency_ms",
            7.0,
        ),
        ({"validation": {"validation_interval": 7.0}}, "validation.interval", 7.0),
        ({"validation": {"deep_validation_interval": 7.0}}, "validation.deep_interval", 7.0),
        (
            {
                "emergency": {
                    "emergency_contacts": [
                        {"name": "a", "contact_info": "b", "contact_type": "log"}
                    ]
                }
            },
            "emergency.emergency_contacts",
            (EmergencyContact(name="a", contact="b", type="log"),),
        ),
    ],
)
def test_a_constructor_s_name_is_understood_too(
    given: dict[str, Any], name: str, expected: object
) -> None:
    """Who knows a setting by the name of a constructor's argument may use it."""
    assert expected == value(load_settings(**given), name)


def test_one_setting_under_two_names_is_refused() -> None:
    """Of two names for one setting neither may win in silence."""
    both = {"interval": 1.0, "validation_interval": 2.0}
    with pytest.raises(ConfigurationError, match=r"validation\.interval once"):
        load_settings(validation=both)


def test_one_setting_by_two_variables_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nested form of a variable works, but not beside the specification's."""
    monkeypatch.setenv("CASCADE_VALIDATION__INTERVAL", "2")
    assert load_settings().validation.interval == 2.0
    monkeypatch.setenv("VALIDATION_INTERVAL", "3")
    with pytest.raises(ConfigurationError, match="VALIDATION_INTERVAL"):
        load_settings()


def test_precedence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constructor > flags > environment > .env > YAML > default, for one setting."""

    def found(**overrides: Any) -> tuple[float, str]:
        settings = load_settings(**overrides)
        described = describe(settings, **overrides)["coordination.sync_timeout"]
        assert described[0] == settings.coordination.sync_timeout
        return described

    assert found() == (10.0, "default")
    path = yaml_file(folder, monkeypatch, "coordination:\n  sync_timeout: 1\n")
    assert found() == (1.0, str(path))
    (folder / ".env").write_text("COORDINATION_SYNC_TIMEOUT=2\nOTHER_PROGRAM=1\n")
    assert found() == (2.0, ".env")
    monkeypatch.setenv("COORDINATION_SYNC_TIMEOUT", "3")
    assert found() == (3.0, "environment")
    with flags_in_force(parse_flags(["coordination.sync_timeout=4"])):
        assert found() == (4.0, "flags")
        assert found(coordination={"sync_timeout": 5}) == (5.0, "constructor")
    assert found() == (3.0, "environment")


def test_places_mix_within_a_section(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key of a section may come from another place."""
    yaml_file(folder, monkeypatch, "validation:\n  interval: 2\n  deep_interval: 3\n")
    monkeypatch.setenv("VALIDATION_DEEP_INTERVAL", "4")
    with flags_in_force(parse_flags(["validation.max_concurrent_validations=5"])):
        validation = load_settings().validation
    assert (2.0, 4.0, 5) == (
        validation.interval,
        validation.deep_interval,
        validation.max_concurrent_validations,
    )


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("COORDINATION_SYNC_TIMEOUTS", "1", "COORDINATION_SYNC_TIMEOUTS, at the environment"),
        ("PERFORMANCE_TARGET", "1", "PERFORMANCE_TARGET_LATENCY_MS"),
        ("VALIDATION_INTERVAL__X", "1", "VALIDATION_INTERVAL__X"),
        ("EMERGENCY_EMERGENCY_CONTACTS", "[]", "EMERGENCY_CONTACTS"),
        ("CASCADE_COORDINATION", "{}", "CASCADE_COORDINATION, at the environment"),
        ("CASCADE_COORDINATION__SYNC", "1", r"coordination\.sync_timeout"),
        (
            "COORDINATION_SYNC_TIMEOUT",
            "soon",
            r"Expected coordination\.sync_timeout to be a valid number.*was 'soon', at environment",
        ),
        ("COORDINATION_SYNC_TIMEOUT", "0", r"coordination\.sync_timeout to be greater than 0"),
        ("COORDINATION_SYNC_TIMEOUT", "nan", r"coordination\.sync_timeout"),
        (
            "COORDINATION_MAX_CONCURRENT_REQUESTS",
            "1.5",
            "max_concurrent_requests to be a valid int",
        ),
        ("CASCADE_EMERGENCY_THRESHOLD", "80", "emergency_threshold to be less than or equal to 1"),
        ("EMERGENCY_CONTACTS", "[{", "Expected JSON in EMERGENCY_CONTACTS"),
        ("EMERGENCY_CONTACTS", '[{"name": "a"}]', r"emergency\.emergency_contacts\.0\.contact"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, sentence: str
) -> None:
    """An unknown variable, or a value of the wrong type, is named with what was expected."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError, match=sentence):
        load_settings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "validation:\n  intervall: 1\n",
            r"was validation\.intervall.*Perhaps validation\.interval",
        ),
        ("validation:\n  interval: [1]\n", r"Expected validation\.interval to be a valid number"),
        ("cascade:\n  max_concurrent_flows: true\n", "max_concurrent_flows: Expected no truth"),
        ("validation: fast\n", "Expected validation to be"),
        ("cascade:\n  timeout_ms: 1\n  cascade_timeout_ms: 2\n", "timeout_ms once"),
        ("emergency:\n  emergency_contacts:\n    - {name: a, contact: b, tipe: c}\n", "tipe"),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    """A wrong key or type in the file is an error with key and file."""
    path = yaml_file(folder, monkeypatch, text)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        load_settings()
    assert str(path) in str(caught.value)


def test_an_empty_section_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section whose keys are all commented out leaves the defaults."""
    yaml_file(folder, monkeypatch, "cascade:\ncoordination:\n  # sync_timeout: 1\n")
    assert load_settings().coordination.sync_timeout == 10.0


def test_contacts_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is JSON in a variable."""
    monkeypatch.setenv("EMERGENCY_CONTACTS", '[{"name": "a", "contact": "b", "type": "log"}]')
    assert (EmergencyContact(name="a", contact="b", type="log"),) == (
        load_settings().emergency.emergency_contacts
    )


def test_a_contact_s_url_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of web hooks stay out of command, JSON and the object's own text; addresses do not."""
    contacts = [
        {"name": "hook", "contact": "https://host/hunter2", "type": "webhook"},
        {"name": "post", "contact": "admin@example.com"},
    ]
    monkeypatch.setenv("EMERGENCY_CONTACTS", json.dumps(contacts))
    shown = CliRunner().invoke(main, ["config", "show"]).output
    as_json = CliRunner().invoke(main, ["config", "show", "--json"]).output
    assert "hunter2" not in shown + as_json + repr(load_settings())
    listed = json.loads(as_json)["emergency.emergency_contacts"]["value"]
    assert ["********", "admin@example.com"] == [each["contact"] for each in listed]


def test_a_contact_s_url_is_not_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error about contacts does not repeat their URLs."""
    contact = {"name": "", "contact": "https://host/hunter2", "type": "webhook"}
    monkeypatch.setenv("EMERGENCY_CONTACTS", json.dumps([contact]))
    with pytest.raises(ConfigurationError, match=r"emergency_contacts\.0\.name") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_flags_set_settings_of_a_command() -> None:
    """`cascade --set` shows in `config show` as the place flags, and is over with the command."""
    arguments = ["--set", "cascade.timeout_ms=120", "--set", "stages.risk.retries=9"]
    shown = CliRunner().invoke(main, [*arguments, "config", "show", "--json"])
    values = json.loads(shown.output)
    assert {"value": 120, "source": "flags"} == values["cascade_timeout_ms"]
    assert {"value": 9, "source": "flags"} == values["stages.risk.retries"]
    assert load_settings().cascade_timeout_ms == 100


@pytest.mark.parametrize(
    "flag",
    ["sync_timeout", "kafka.sasl.password=x", "emergency.emergency_contacts=[]", "nothing=1"],
)
def test_flags_that_cannot_be_are_refused(flag: str) -> None:
    """No value, an unknown name, and secrets are refused on the command line."""
    done = CliRunner().invoke(main, ["--set", flag, "config", "show"])
    assert done.exit_code == 2
    assert "Expected" in done.output
    assert flag.partition("=")[0] in done.output


def test_breakers_and_retries_are_a_stage_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage may have another breaker than the others, wholly or in part."""
    monkeypatch.setenv("CASCADE_BREAKER_OPEN_S", "12")
    monkeypatch.setenv("CASCADE_STAGES__RISK__BREAKER_FAILURES", "2")
    settings = load_settings()
    assert (2, 12.0) == settings.breaker("risk")
    assert (5, 12.0) == settings.breaker("tactical")


def test_workers_get_nested_settings_from_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What flags changed reaches the workers, though the parent's environment says otherwise."""
    inherited = {"CASCADE_COORDINATION__SYNC_TIMEOUT": "1", "VALIDATION_INTERVAL": "2"}
    flags = ["coordination.sync_timeout=3", "validation.interval=4", "stages.risk.retries=9"]
    with flags_in_force(parse_flags(flags)):
        settings = load_settings(home=Path.cwd())
    from pipeline.run.workers import child_environment

    for name, text in child_environment(settings, inherited).items():
        monkeypatch.setenv(name, text)
    assert settings == load_settings()
