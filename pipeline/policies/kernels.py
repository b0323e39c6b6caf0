"""The policies' compiled kernels.

They are compiled when the package is installed. Where no C compiler was found a policy decides by
whole arrays: the same to the last bit (`tests/unit/policies/test_kernels.py`), but a round of a few
packets costs thirty times as much, nearly all of it in the calls of a hundred array functions.
"""

import logging
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["kernel_module"]

_logger = logging.getLogger(__name__)


@cache
def kernel_module(policy: str) -> Any | None:
    """Return the module with a policy's kernel; None, with a warning, where it is not compiled."""
    try:
        return import_module(f"pipeline.policies.{policy}.kernel")
    except ImportError:
        _logger.warning(
            "The %s policy is not compiled, so it takes several times as long. Install a C compiler"
            " and run scripts/install again.",
            policy,
        )
        return None
