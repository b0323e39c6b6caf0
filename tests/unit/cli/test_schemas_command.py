"""`cascade schemas`: history, registry, and the breaking change that stops `scripts/check`."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.packets import codec
from pipeline.registry.codec import subject_of
from pipeline.resources import resource
from tests.registry import FakeRegistry, running_registry

ROOT = Path(__file__).resolve().parents[3]
SUBJECT = subject_of("cascade.market", "MarketData")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """Return a registry on loopback."""
    with running_registry() as running:
        yield running
    codec.read_also(None)


def _run(*arguments: str, url: str = "") -> Result:
    env = {"CASCADE_REGISTRY_URL": url} if url else {}
    return CliRunner().invoke(main, ["schemas", *arguments], env=env)


def _changed(folder: Path, change: dict[str, object]) -> Path:
    """Return a copy of the schemas, one field of Bar changed."""
    copy = folder / "schemas"
    shutil.copytree(resource("schemas"), copy)
    path = copy / "cascade.Bar.avsc"
    schema = json.loads(path.read_text())
    schema["fields"][0] |= change
    path.write_text(json.dumps(schema))
    return copy


@pytest.mark.parametrize(
    "change", [{"name": "renamed"}, {"type": "string"}, {"type": ["null", "string"]}]
)
def test_a_breaking_change_stops_scripts_check(tmp_path: Path, change: dict[str, object]) -> None:
    """The command that `scripts/check` runs, and that ends it, fails and names the record."""
    script = (ROOT / "scripts" / "check").read_text()
    assert "set -euo pipefail" in script
    assert "\ncascade schemas check\n" in script

    result = _run("check", "--folder", str(_changed(tmp_path, change)), "--json")
    found = json.loads(result.stdout)
    assert (1, False) == (result.exit_code, found["compatible"])
    assert any(fault.startswith("MarketData: ") for fault in found["faults"])


def test_the_schemas_as_they_are_pass() -> None:
    """All is well without a change, or the test above would show nothing."""
    result = _run("check", "--json")
    assert (0, {"compatible": True, "faults": []}) == (
        result.exit_code, json.loads(result.stdout),
    )  # fmt: skip


def test_history_lists_each_schema_and_what_has_changed_since() -> None:
    """Superseded schemas say which fields came later; one of each name is the current one."""
    rows = json.loads(_run("history", "--json").stdout)
    files = {path.stem for path in resource("schemas").glob("history/*/*.avsc")}
    assert files == {row["fingerprint"] for row in rows}
    assert all(row["readable"] for row in rows)
    plans = [row for row in rows if row["name"] == "ExecutionPlan"]
    assert [True] == [row["current"] for row in plans if row["current"]]
    assert plans[-1]["current"]
    assert "current" in _run("history", "ExecutionPlan").stdout


def test_a_name_that_is_not_there_is_said_to_be() -> None:
    """A misspelt record type is no empty history."""
    result = _run("history", "ExecutionPlam")
    assert 1 == result.exit_code
    assert "ExecutionPlam" in result.stderr


def test_register_registers_once_and_says_what_it_did(registry: FakeRegistry) -> None:
    """A dry run does nothing, then all is registered, then nothing is left to do."""
    dry = _run("register", "--dry-run", "--json", url=registry.url)
    assert (1, {}) == (dry.exit_code, registry.subjects)
    done = _run("register", "--json", url=registry.url)
    rows = json.loads(done.stdout)
    assert 0 == done.exit_code
    assert all(row["done"] for row in rows)
    assert {row["subject"] for row in rows} == set(registry.subjects)
    again = _run("register", "--json", url=registry.url)
    assert {False} == {row["done"] for row in json.loads(again.stdout)}
    assert 0 == _run("check", url=registry.url).exit_code


def test_check_holds_schemas_against_the_registry_too(registry: FakeRegistry) -> None:
    """A version of the registry that the current schema cannot read is a fault."""
    other = {"type": "record", "name": "cascade.MarketData", "fields": []}
    registry.add(SUBJECT, json.dumps(other))
    result = _run("check", "--json", url=registry.url)
    assert 1 == result.exit_code
    assert any(SUBJECT in fault for fault in json.loads(result.stdout)["faults"])


def test_without_a_registry_nothing_can_be_registered() -> None:
    """It says which variable to set, and exits 2; so does a registry that is silent."""
    result = _run("register")
    assert 2 == result.exit_code
    assert "CASCADE_REGISTRY_URL" in result.stderr
    assert 2 == _run("register", url="http://127.0.0.1:9").exit_code
