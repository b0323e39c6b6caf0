"""From a committed order plan to the venue and back: the order gateway and its paper broker.

`faust -A pipeline.gateway worker -l info` finds its app here; it is made when it is asked for,
since making it opens the paper broker's file.
"""

from functools import lru_cache
from typing import Any

__all__ = ["app"]


@lru_cache(maxsize=1)
def _app() -> Any:
    from pipeline.gateway.application import gateway_app  # only for workers

    return gateway_app()


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
