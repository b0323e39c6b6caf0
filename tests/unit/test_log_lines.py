"""Log lines: fields from the arguments, and nothing secret."""

import json
import logging
import sys
from typing import Any

import pytest

from pipeline.log_lines import JsonLines, Redacting, configure
from pipeline.settings import Settings, load_settings

_SECRET = 'hunter2-"quoted"'  # noqa: S105  # of nobody


def record(text: str, *args: Any, exc_info: Any = None) -> logging.LogRecord:
    """Return a record as a logger makes it."""
    return logging.LogRecord("pipeline.x", logging.WARNING, __file__, 1, text, args, exc_info)


@pytest.mark.parametrize(
    ("text", "args", "fields"),
    [
        ("flow_failed flow_id=%s", ("f-1",), {"event": "flow_failed", "flow_id": "f-1"}),
        ("took_over stage=%s partitions=%s folded=%d", ("risk", [0], 7),
         {"event": "took_over", "stage": "risk", "partitions": "[0]", "folded": 7}),
        ("trading state %s at epoch %d", ("HALTED", 3), {}),
        ("done 100%% stage=%s ratio=%.2f", ("risk", 0.5), {"stage": "risk", "ratio": 0.5}),
        ("bad level=%s", ("x",), {"level": "WARNING"}),
    ],
)  # fmt: skip
def test_named_arguments_are_fields(text: str, args: tuple[Any, ...], fields: Any) -> None:
    """Taken from the arguments, whatever they hold; the line's own fields stay what they are."""
    line = json.loads(JsonLines().format(record(text, *args)))

    assert fields.items() <= line.items()
    assert text % args == line["message"]
    assert ("WARNING", "pipeline.x") == (line["level"], line["logger"])
    assert line["time"].endswith("Z")


def test_an_exception_is_part_of_its_line() -> None:
    """One line an event, however long its traceback."""
    try:
        raise ValueError("broken")
    except ValueError:
        text = JsonLines().format(record("round_failed", exc_info=sys.exc_info()))

    assert "\n" not in text
    assert "ValueError: broken" in json.loads(text)["exception"]


@pytest.fixture
def settings() -> Settings:
    """Settings with a secret."""
    return load_settings(broker="x:1", kafka={"sasl.password": _SECRET}, log_format="json")


@pytest.mark.parametrize("inner", [JsonLines(), logging.Formatter()])
def test_no_line_holds_a_secret(settings: Settings, inner: logging.Formatter) -> None:
    """Neither in the message, nor in an argument, nor in a traceback, quoted or not."""
    formatter = Redacting(inner, settings.secrets())
    try:
        raise ValueError(_SECRET)
    except ValueError:
        text = formatter.format(record("login with=%s", _SECRET, exc_info=sys.exc_info()))

    assert "hunter2" not in text
    assert "***" in text


def test_a_worker_logs_in_the_format_of_its_settings(settings: Settings) -> None:
    """However often it is configured."""
    root = logging.getLogger()
    handler, before = logging.StreamHandler(), (root.handlers[:], root.level)
    root.handlers[:] = [handler]
    try:
        configure(settings)
        configure(settings)
        assert handler.formatter is not None
        line = json.loads(handler.formatter.format(record("a_b password=%s", _SECRET)))
        assert "***" == line["password"]
        assert logging.INFO == root.level
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])
