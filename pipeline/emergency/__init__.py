"""Emergencies: how they are detected, what is done about them at once, and how they end.

One implementation, used by the component `pipeline.cascade.emergency`, by `cascade control` and by
the emergency worker: `faust -A pipeline.emergency worker -l info` finds its app here, which is made
when it is asked for.
"""

from functools import lru_cache
from typing import Any

__all__ = ["app"]


@lru_cache(maxsize=1)
def _app() -> Any:
    from pipeline.emergency.application import emergency_app  # only for workers

    return emergency_app()


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
