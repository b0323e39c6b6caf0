import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main

DEAD_BROKER = "127.0.0.1:1"


def _run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(
        main, ["publish", *arguments], env={"CASCADE_BROKER": DEAD_BROKER, **environment}
    )


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--faults", "rain"], "Expected faults of gaps", 1),
        (["--source", "prices.txt"], "Expected sample, synthetic, or a file", 1),
        (["--source", "absent.csv"], "absent.csv", 2),
        (["--symbols", "6"], "Expected 1 to 5 symbols", 1),
        (["--interval", "7"], "divides", 1),
    ],
)
def test_what_cannot_work_ends_in_one_sentence(arguments: list[str], words: str, code: int) -> None:
    """Faulty sources and faults end in a message and an exit code, before any broker is asked."""
    result = _run(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--rate", "-1"], ["--speed", "0"], ["--bars", "0"], ["--rate", "many"]]
)
def test_options_out_of_range_are_refused(arguments: list[str]) -> None:
    """Click refuses numbers out of range with exit code 2."""
    assert _run(*arguments).exit_code == 2


def test_help_names_every_fault() -> None:
    """`--help` says what can be spoilt."""
    result = _run("--help")
    assert result.exit_code == 0
    for fault in ("gaps", "duplicates", "out_of_order", "nan", "stale", "poison"):
        assert fault in result.stdout
