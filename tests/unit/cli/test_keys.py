"""`cascade keys`: from the first key to its end."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ring is to lie; there is none yet, and no broker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_KEYS", str(tmp_path / "keys.json"))
    return tmp_path / "keys.json"


def _run(*arguments: str) -> Any:
    result = CliRunner().invoke(main, ["keys", *arguments])
    assert "PRIVATE" not in result.output
    return result


def _states() -> dict[str, str]:
    return {each["id"]: each["state"] for each in json.loads(_run("list", "--json").output)}


def test_a_key_s_life(ring: Path) -> None:
    """Made, replaced, revoked; the list says what counts, and the ring holds no secret."""
    made = _run("new", "ops", "--purpose", "control", "--author", "mary", "--out", "ops.key")
    assert made.exit_code == 0, made.output
    assert "not audited" in made.output
    assert _states() == {"ops": "valid"}
    replaced = _run("rotate", "ops", "--out", "ops.key", "--grace-s", "0", "--json")
    assert json.loads(replaced.output)["id"] == "ops-2"
    assert _states() == {"ops": "the key ops has been replaced", "ops-2": "valid"}
    assert _run("revoke", "ops-2").exit_code == 0
    assert _states()["ops-2"] == "the key ops-2 is revoked"
    assert "PRIVATE" not in ring.read_text()
    assert "PRIVATE" in Path("ops.key").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("new", "ops", "--purpose", "control", "--out", "k"), "could lift nothing"),
        (("new", "ops", "--purpose", "plans"), "--out FILE or --role ROLE"),
        (("new", "ops", "--purpose", "plans", "--role", "execution"), "CASCADE_CREDENTIALS"),
        (("revoke", "nobody"), "was nobody"),
        (("list",), "cascade keys new"),
    ],
)
def test_what_cannot_be_done_is_said(ring: Path, arguments: tuple[str, ...], said: str) -> None:
    """In a sentence, and nothing is made."""
    result = _run(*arguments)
    assert result.exit_code != 0
    assert said in f"{result.output} {result.exception}"
    assert not ring.exists()


def test_without_a_ring_there_are_no_keys(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is named."""
    monkeypatch.delenv("CASCADE_KEYS")
    result = _run("list")
    assert result.exit_code != 0
    assert "CASCADE_KEYS" in f"{result.output} {result.exception}"
    assert not ring.exists()
