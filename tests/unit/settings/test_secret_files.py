"""Secrets from files: a folder per role, closed files, nothing shown."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from pipeline.cli import main
from pipeline.errors import ConfigurationError
from pipeline.run.workers import child_environment
from pipeline.settings import load_settings


def credentials(folder: Path, **roles: dict[str, str]) -> Path:
    """Write credentials; return their folder."""
    for role, files in roles.items():
        (folder / role).mkdir(parents=True)
        for name, text in files.items():
            (folder / role / name).touch(mode=0o600)
            (folder / role / name).write_text(text)
    return folder


def login(name: str) -> dict[str, str]:
    """Return the files of a login."""
    return {"sasl.username": f"{name}\n", "sasl.password": f"{name}-hunter2\n"}


def test_files_are_properties_of_their_role(tmp_path: Path) -> None:
    """A role's folder counts, its files are named as properties, their last line ends nowhere."""
    folder = credentials(tmp_path, operator=login("mary"), risk=login("risk"))
    mine = load_settings(broker="b:1", credentials=folder).client()
    assert (mine["sasl.username"], mine["sasl.password"]) == ("mary", "mary-hunter2")
    theirs = load_settings(broker="b:1", credentials=folder, role="risk").client()
    assert theirs["sasl.password"] == "risk-hunter2"


def test_a_folder_may_be_one_role_s_own(tmp_path: Path) -> None:
    """As a secret that is mounted into a container."""
    folder = credentials(tmp_path, mounted=login("risk")) / "mounted"
    assert load_settings(credentials=folder, role="risk").principal == "risk"


def test_what_is_given_comes_before_the_files(tmp_path: Path) -> None:
    """`kafka` overrides single properties."""
    folder = credentials(tmp_path, operator=login("mary"))
    settings = load_settings(credentials=folder, kafka={"sasl_username": "john"})
    assert settings.connection() == {"sasl.username": "john", "sasl.password": "mary-hunter2"}


def test_secrets_are_secret_strings(tmp_path: Path) -> None:
    """So nothing that prints the settings, or dumps them, shows one."""
    folder = credentials(tmp_path, operator=login("mary"))
    settings = load_settings(credentials=folder)
    assert isinstance(settings.kafka["sasl.password"], SecretStr)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert "hunter2" not in shown


def test_config_show_says_where_a_secret_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not what it is."""
    folder = credentials(tmp_path, operator=login("mary"))
    monkeypatch.setenv("CASCADE_CREDENTIALS", str(folder))
    shown = CliRunner().invoke(main, ["config", "show", "--json"]).output
    password = json.loads(shown)["kafka.sasl.password"]
    assert password == {"value": "********", "source": str(folder)}
    assert "hunter2" not in shown


@pytest.mark.parametrize("mode", [0o644, 0o604])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The message names the file and what closes it, not the secret."""
    folder = credentials(tmp_path, operator=login("mary"))
    (folder / "operator" / "sasl.password").chmod(mode)
    with pytest.raises(ConfigurationError, match=r"chmod o= .*sasl\.password") as caught:
        load_settings(credentials=folder)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_text_is_refused_without_quoting_it(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 may still be a secret."""
    folder = credentials(tmp_path, operator=login("mary"))
    (folder / "operator" / "sasl.password").write_bytes(b"hunter2\xff")
    with pytest.raises(ConfigurationError, match=r"UTF-8 text at .*sasl\.password") as caught:
        load_settings(credentials=folder)
    assert "hunter2" not in str(caught.value)


def test_missing_credentials_are_named(tmp_path: Path) -> None:
    """No folder, or none for the role and nothing in the one above."""
    with pytest.raises(ConfigurationError, match="CASCADE_CREDENTIALS"):
        load_settings(credentials=tmp_path / "none")
    folder = credentials(tmp_path, risk=login("risk"))
    with pytest.raises(ConfigurationError, match="role operator"):
        load_settings(credentials=folder)


def test_a_worker_gets_its_own_credentials_and_no_other_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the starter's variables nor its signing key reach a worker that has its own."""
    folder = credentials(
        tmp_path, operator={**login("mary"), "signing.key": "key"}, risk=login("risk")
    )
    inherited = {
        "CASCADE_KAFKA__SASL_USERNAME": "mary",
        "CASCADE_KAFKA__SASL_PASSWORD": "mary-hunter2",
        "CASCADE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "CASCADE_SIGNING_KEY": "somewhere",
    }
    environment = child_environment(load_settings(credentials=folder), inherited, "risk")
    assert "hunter2" not in str(environment)
    assert environment["CASCADE_ROLE"] == "risk"
    for name, value in environment.items():
        if name.startswith("CASCADE_"):
            monkeypatch.setenv(name, value)
    worker = load_settings()
    assert (worker.principal, worker.signing_key) == ("risk", None)
    assert worker.connection()["security.protocol"] == "SASL_SSL"


def test_the_signing_key_of_a_role_is_found(tmp_path: Path) -> None:
    """It is a path, and no Kafka property."""
    folder = credentials(tmp_path, operator={**login("mary"), "signing.key": "key"})
    settings = load_settings(credentials=folder)
    assert settings.signing_key == folder / "operator" / "signing.key"
    assert "signing.key" not in settings.connection()
