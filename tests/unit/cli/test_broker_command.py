"""`cascade broker`: what it prints and how it exits."""

import json
from pathlib import Path

from click.testing import CliRunner

from pipeline.cli import main


def run(*arguments: str, home: Path, broker: str = "") -> tuple[int, str]:
    """Run `cascade broker` with an environment of its own; return exit code and stdout."""
    environment = {"CASCADE_HOME": str(home), "CASCADE_BROKER": broker}
    done = CliRunner().invoke(main, ["broker", *arguments], env=environment)
    return done.exit_code, done.output


def test_status_without_broker_is_exit_code_1(tmp_path: Path) -> None:
    """Where none runs, status says so, in both forms, and exits with 1."""
    code, said = run("status", home=tmp_path)
    json_code, json_said = run("status", "--json", home=tmp_path)

    assert (1, 1) == (code, json_code)
    assert "No broker runs" in said
    assert {"answers": False, "detail": said.strip()} == json.loads(json_said)


def test_down_without_broker_is_no_error(tmp_path: Path) -> None:
    """Stopping what does not run succeeds and says so."""
    assert (0, "No broker was running.\n") == run("down", home=tmp_path)
    assert (0, {"stopped": False}) == (0, json.loads(run("down", "--json", home=tmp_path)[1]))


def test_set_broker_that_is_silent_is_exit_code_2(tmp_path: Path) -> None:
    """`up` with a CASCADE_BROKER where nothing listens is one sentence and exit code 2."""
    code, said = run("up", home=tmp_path, broker="127.0.0.1:1")

    assert 2 == code
    assert said.startswith("cascade: Expected a Kafka broker at 127.0.0.1:1")
