"""Log lines: structured where wanted, and without what is secret in any case.

Every line of ours is one event: a name in snake_case, and `key=value` pairs in a format string,
`took_over stage=%s partitions=%s`. As JSON the pairs are fields of their own, taken from the
arguments, not parsed from the text; `flow_id` is among them wherever a line concerns a flow.
"""

import json
import logging
import re
import time
from collections.abc import Iterable

from pipeline.settings import Settings

__all__ = ["JsonLines", "Redacting", "configure", "set_level"]

_SPECIFIER = re.compile(r"(?:(\w+)=)?%[-+ #0]*\d*(?:\.\d+)?([sdrfgx%])")
_EVENT = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
_HIDDEN = "***"
_LEAST_SECRET = 4
_OWN = frozenset({"time", "level", "logger", "message", "event", "process", "exception"})
_PLAIN = (str, int, float, bool, type(None))


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, process, event, message, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        message = record.getMessage()
        content = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            **_fields(record),
            "message": message,
        }
        if event := _EVENT.match(message):
            content["event"] = event[0]
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the arguments of a record that its format string names."""
    if not isinstance(record.args, tuple):
        return {}
    found = [each for each in _SPECIFIER.finditer(str(record.msg)) if each[2] != "%"]
    return {
        each[1]: value if isinstance(value, _PLAIN) else str(value)
        for each, value in zip(found, record.args, strict=False)
        if each[1] and each[1] not in _OWN
    }


class Redacting(logging.Formatter):
    """Another formatter's lines, with secrets hidden wherever they stand in them.

    Args:
        inner: The other formatter.
        secrets: What is hidden; of less than 4 characters it is not looked for.
    """

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str]) -> None:
        super().__init__()
        self.inner = inner
        # The longest first: one may be part of another.
        self._secrets = sorted(
            {each for each in secrets if len(each) >= _LEAST_SECRET}, key=len, reverse=True
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = self.inner.format(record)
        for each in self._secrets:
            for spelled in (each, json.dumps(each)[1:-1]):
                line = line.replace(spelled, _HIDDEN)
        return line


def set_level(level: str) -> None:
    """Log from a level on; handlers have one of their own, which would keep lines back."""
    root = logging.getLogger()
    root.setLevel(level)
    for handler in root.handlers:
        handler.setLevel(level)


def configure(settings: Settings) -> None:
    """Give the root logger and its handlers the level and format of the settings.

    Safe to call again, as handlers come.

    Args:
        settings: `log_level`, `log_format`, and the secrets that no line may hold.
    """
    set_level(settings.log_level)
    for handler in logging.getLogger().handlers:
        known = handler.formatter
        inner = known.inner if isinstance(known, Redacting) else known or logging.Formatter()
        if settings.log_format == "json":
            inner = JsonLines()
        handler.setFormatter(Redacting(inner, settings.secrets()))
