"""The policies' compiled kernels.

They are compiled when the package is installed. Where no C compiler was found a policy decides by
whole arrays: the same to the last bit (`tests/unit/policies/test_kernels.py`), but a round of a few
packets costs thirty times as much, nearly all of it in the calls of a hundred array functions.
"""

import logging
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["compiled_module"]

_logger = logging.getLogger(__name__)


@cache
def compiled_module(name: str) -> Any | None:
    """Return a compiled module of the policies; None, with a warning, where it is not compiled.

    Args:
        name: As `strategic.kernel`, below `pipeline.policies`.
    """
    try:
        return import_module(f"pipeline.policies.{name}")
    except ImportError:
        _logger.warning(
            "pipeline.policies.%s is not compiled, so decisions take several times as long. Install"
            " a C compiler and run scripts/install again.",
            name,
        )
        return None
