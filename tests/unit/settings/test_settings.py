import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

import pipeline.policies
from pipeline.cli import main
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings, build_hash, describe, load_settings, sources_in


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, so that no `.env` of the checkout is found."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _yaml(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    path = folder / "cascade.yaml"
    path.write_text(text)
    monkeypatch.setenv("CASCADE_CONFIG", str(path))
    return path


def test_defaults_are_those_of_the_specification() -> None:
    """Without any source the specification's figures hold."""
    settings = load_settings()
    assert (settings.cascade_timeout_ms, settings.max_concurrent_flows) == (100, 100)
    assert (settings.breaker_failures, settings.breaker_open_s, settings.backoff_base_ms) == (
        5,
        30,
        1,
    )
    stages = settings.stages
    names = ("strategic", "tactical", "risk", "execution")
    assert [stages.of(name).budget_ms for name in names] == [30, 20, 25, 25]
    assert [stages.of(name).retries for name in names] == [2, 2, 3, 2]


def test_the_stronger_source_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constructor before environment before .env before the YAML file before the default."""
    _yaml(folder, monkeypatch, "account: yaml\n")
    assert load_settings().account == "yaml"
    (folder / ".env").write_text("CASCADE_ACCOUNT=envfile\nOTHER_PROGRAM=1\n")
    assert load_settings().account == "envfile"
    monkeypatch.setenv("CASCADE_ACCOUNT", "environment")
    assert load_settings().account == "environment"
    assert load_settings(account="constructor").account == "constructor"


def test_sources_mix_within_a_nested_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One limit of a stage can be set without the others, each from another source."""
    _yaml(folder, monkeypatch, "stages:\n  risk:\n    budget_ms: 40\n    retries: 7\n")
    monkeypatch.setenv("CASCADE_STAGES__RISK__RETRIES", "5")
    risk = load_settings().stages.risk
    assert (risk.budget_ms, risk.retries) == (40, 5)
    assert load_settings().stages.tactical.budget_ms == 20


def test_the_specification_s_names_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CASCADE_TIMEOUT_MS and the section `cascade:` of a file are understood."""
    _yaml(folder, monkeypatch, "cascade:\n  timeout_ms: 150\n  max_concurrent_flows: 7\n")
    assert load_settings().cascade_timeout_ms == 150
    assert load_settings().max_concurrent_flows == 7
    monkeypatch.setenv("CASCADE_TIMEOUT_MS", "200")
    assert load_settings().cascade_timeout_ms == 200


@pytest.mark.parametrize(
    "text",
    ["acount: x\n", "cascade:\n  acount: x\n", "stages:\n  risk:\n    acount: 1\n"],
)
def test_an_unknown_key_of_the_file_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A misspelt key is an error that names it, at the top and nested."""
    _yaml(folder, monkeypatch, text)
    with pytest.raises(ConfigurationError, match="acount"):
        load_settings()


@pytest.mark.parametrize("name", ["CASCADE_ACOUNT", "CASCADE_STAGES__RISKS__RETRIES"])
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A misspelt variable is an error, at the top and nested."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=r"(?i)acount|risks"):
        load_settings()


def test_an_unknown_key_of_the_env_file_is_refused(folder: Path) -> None:
    """A misspelt key in .env is an error that names the file."""
    (folder / ".env").write_text("CASCADE_ACOUNT=x\n")
    with pytest.raises(ConfigurationError, match=r"CASCADE_ACOUNT, at \.env"):
        load_settings()


def test_an_unknown_argument_is_refused() -> None:
    """A misspelt override is an error."""
    with pytest.raises(ConfigurationError, match="was acount, at constructor"):
        load_settings(acount="x")


def test_a_key_given_twice_is_refused_with_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """YAML would keep the last of two equal keys in silence."""
    _yaml(folder, monkeypatch, "account: a\nnamespace: n\naccount: b\n")
    with pytest.raises(ConfigurationError, match=r"'account' again, at .*cascade\.yaml:3"):
        load_settings()


def test_a_missing_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings file that is named must be there."""
    monkeypatch.setenv("CASCADE_CONFIG", "nowhere.yaml")
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        load_settings()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"cascade_timeout_ms": 0}, "cascade_timeout_ms"),
        ({"cascade_timeout_ms": 10}, "transport_reserve_ms below cascade_timeout_ms"),
        ({"heartbeat_interval_ms": 2001}, "a third of session_timeout_ms"),
        ({"broker": "localhost"}, "host:port"),
        ({"namespace": "a b"}, "namespace"),
        ({"clock": "sundial"}, "clock"),
        ({"initial_equity": float("nan")}, "initial_equity"),
        ({"kafka": {"acks": "1"}}, "the engine sets them itself"),
    ],
)
def test_values_that_cannot_work_are_refused(overrides: dict[str, Any], sentence: str) -> None:
    """An impossible value is an error that names the setting."""
    with pytest.raises(ConfigurationError, match=sentence):
        load_settings(**overrides)


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen."""
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.account = "other"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(("namespace", "expected"), [("", "cascade.risk"), ("a", "a.cascade.risk")])
def test_the_namespace_goes_before_topics_and_groups(namespace: str, expected: str) -> None:
    """Real names carry the namespace, and it can be taken off again."""
    settings = load_settings(namespace=namespace)
    assert settings.topic("cascade.risk") == expected
    assert settings.group("cascade.risk") == expected
    assert settings.plain_topic(expected) == "cascade.risk"


def test_budgets_share_what_transport_leaves() -> None:
    """Scaled budgets are shares of the timeout less the reserve."""
    settings = load_settings(cascade_timeout_ms=110, transport_reserve_ms=10)
    assert settings.scaled_budget_ms("strategic") == pytest.approx(30.0)
    names = type(settings.stages).model_fields
    assert sum(settings.scaled_budget_ms(name) for name in names) == pytest.approx(100.0)


def test_kafka_properties_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Underscores stand for the dots that shells refuse, and clients get the properties."""
    ours = load_settings(broker="b:1").client()
    monkeypatch.setenv("CASCADE_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CASCADE_KAFKA__RECONNECT_BACKOFF_MS", "70")
    client = load_settings(broker="b:1").client(linger_ms=5)
    changed = {
        "security.protocol": "SASL_SSL",
        "reconnect.backoff.ms": "70",
        "bootstrap.servers": "b:1",
        "linger.ms": 5,
    }
    assert client == {**ours, **changed}


def test_a_client_needs_a_broker() -> None:
    """Without a broker the error says how to get one."""
    with pytest.raises(ConfigurationError, match="cascade broker up"):
        load_settings().client()


def test_each_value_is_shown_with_its_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`describe` names the source that won."""
    path = _yaml(folder, monkeypatch, "account: yaml\ncascade:\n  timeout_ms: 150\n")
    (folder / ".env").write_text("CASCADE_NAMESPACE=n\n")
    monkeypatch.setenv("CASCADE_STAGES__RISK__RETRIES", "5")
    described = describe(load_settings(broker="b:1"), broker="b:1")
    assert described["account"] == ("yaml", str(path))
    assert described["cascade_timeout_ms"] == (150, str(path))
    assert described["namespace"] == ("n", ".env")
    assert described["stages.risk.retries"] == (5, "environment")
    assert described["broker"] == ("b:1", "constructor")
    assert described["stages.risk.budget_ms"] == (25, "default")


@pytest.mark.parametrize("name", ["SASL_PASSWORD", "SSL_KEY_PASSWORD", "SSL_KEY_PEM"])
def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Neither the command, its JSON, nor the object's own text shows a secret."""
    monkeypatch.setenv(f"CASCADE_KAFKA__{name}", "hunter2")
    shown = CliRunner().invoke(main, ["config", "show"])
    as_json = CliRunner().invoke(main, ["config", "show", "--json"])
    key = f"kafka.{name.lower().replace('_', '.')}"
    assert json.loads(as_json.output)[key] == {"value": "********", "source": "environment"}
    assert "hunter2" not in shown.output + as_json.output + repr(load_settings())


def test_secrets_are_not_in_errors() -> None:
    """An error about Kafka properties does not repeat them."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(kafka={"acks": "1", "sasl.password": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_every_setting_is_shown() -> None:
    """`cascade config show --json` lists each field, nested ones by dotted names."""
    shown = json.loads(CliRunner().invoke(main, ["config", "show", "--json"]).output)
    tops = {name.split(".")[0] for name in shown}
    assert tops == Settings.model_fields.keys() - {"kafka"}


def test_the_build_hash_changes_with_what_decides() -> None:
    """It depends on stage and decisive settings, and on nothing else."""
    plain = build_hash(load_settings(), "risk")
    assert len(plain) == 16
    assert int(plain, 16) >= 0
    assert (
        build_hash(load_settings(broker="b:1", namespace="n", log_level="DEBUG"), "risk") == plain
    )
    assert build_hash(load_settings(), "tactical") != plain
    for change in ({"cascade_timeout_ms": 99}, {"account": "a"}, {"initial_equity": 5.0}):
        assert build_hash(load_settings(**change), "risk") != plain


def test_what_is_compiled_counts_as_source() -> None:
    """The hashes of builds and policies change with every source, not with what compilers make."""
    policies = Path(pipeline.policies.__file__).parent
    found = {path.relative_to(policies).as_posix() for path in sources_in(policies)}
    assert {"strategic/kernel.pyx", "strategic/mlmi.py", "arithmetic.pxd"} <= found
    assert not {Path(name).suffix for name in found} & {".c", ".so", ".pyc", ".pyi"}


def test_rounds_gather_for_a_share_of_the_deadline_at_most() -> None:
    """A shorter deadline shortens the wait for more records; a longer one does not lengthen it."""
    assert 0.006 == pytest.approx(load_settings(cascade_timeout_ms=20).gather_s)
    assert 0.03 == pytest.approx(load_settings(cascade_timeout_ms=1000).gather_s)
    assert 0.0 == load_settings(gather_ms=0).gather_s
