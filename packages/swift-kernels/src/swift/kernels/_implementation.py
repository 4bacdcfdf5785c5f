"""The choice between the compiled module and the Python references: explicit, logged, once for all."""

import functools
import importlib
import logging
from types import ModuleType
from typing import Literal, get_args

Implementation = Literal["auto", "native", "reference"]
"""`auto`: native if it can be imported, else the reference; `native`, `reference`: that one or an error."""

logger = logging.getLogger("swift.kernels")


@functools.cache
def _load() -> ModuleType | ImportError:
    """The compiled module, or why it cannot be imported."""
    try:
        return importlib.import_module("swift.kernels._native")
    except ImportError as error:
        return error


def native_available() -> bool:
    """Whether the compiled module can be imported in this process."""
    return isinstance(_load(), ModuleType)


def use_native(operation: str, implementation: str) -> bool:
    """Whether `operation` runs the compiled code under the `implementation` that the caller asked for.

    Raises:
        ValueError: `implementation` is not one of `auto`, `native`, `reference`.
        RuntimeError: `native` was asked for and the compiled module cannot be imported.
    """
    if implementation not in get_args(Implementation):
        raise ValueError(
            f"implementation is {implementation!r}, it must be one of 'auto', 'native', 'reference': "
            "'auto' takes the compiled code where it is installed"
        )
    if implementation == "auto":
        return _choose(operation)
    loaded = _load()
    if implementation == "native" and isinstance(loaded, ImportError):
        raise RuntimeError(
            f"{operation}: implementation is 'native', but the compiled module swift.kernels._native cannot "
            f"be imported ({loaded}); reinstall swift-kernels with a C++17 compiler present, or pass "
            "implementation='reference'"
        ) from loaded
    return implementation == "native"


@functools.cache
def _choose(operation: str) -> bool:
    """The choice of `auto`. Cached, so that the choice is logged once for each operation."""
    loaded = _load()
    if isinstance(loaded, ImportError):
        logger.info(
            "%s: Python reference (slow), the compiled module cannot be imported: %s", operation, loaded
        )
        return False
    logger.info("%s: native (%s)", operation, loaded.__file__)
    return True
