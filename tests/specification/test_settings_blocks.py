"""The specification's environment variables and settings file, as they stand there."""

from pathlib import Path

import pytest

from pipeline.settings import SPECIFIED, EmergencyContact, Settings, describe, load_settings
from tests.specification.blocks import block

ADMINISTRATOR = EmergencyContact(
    name="System Administrator", contact="admin@example.com", type="email"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, so that no `.env` of the checkout is found."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def variables() -> dict[str, str]:
    """Return the variables of the specification."""
    lines = block("Environment Variables", "bash").splitlines()
    return dict(line.split("=") for line in lines if line and not line.startswith("#"))


def sources(settings: Settings) -> dict[str, str]:
    """Return where each setting of the specification comes from."""
    described = describe(settings)
    return {name.setting: described[name.setting][1] for name in SPECIFIED}


def test_the_variables_are_read_and_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable of the specification is known, and its value there is the default here."""
    default = load_settings()
    for name, text in variables().items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    assert default == settings
    read = {name.setting for name in SPECIFIED if name.variable in variables()}
    assert len(variables()) == len(read)
    assert read == {name for name, source in sources(settings).items() if source == "environment"}


def test_the_file_is_read_and_holds_the_defaults(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key of the specification's file is known; but for the contact it says the defaults."""
    default = load_settings()
    path = folder / "cascade.yaml"
    path.write_text(block("Configuration Files", "yaml"))
    monkeypatch.setenv("CASCADE_CONFIG", str(path))
    settings = load_settings()
    assert (ADMINISTRATOR,) == settings.emergency.emergency_contacts
    without = settings.emergency.model_copy(update={"emergency_contacts": ()})
    assert default == settings.model_copy(update={"emergency": without})
    assert {str(path)} == set(sources(settings).values())
