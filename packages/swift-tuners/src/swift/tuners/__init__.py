"""Which parameters train: LoRA and its family, freezing, merging.

Importing this package loads no torch; the functions do when they are called.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swift.tuners.api import apply_tuner, load_tuner, merge_tuner

__all__ = ["apply_tuner", "load_tuner", "merge_tuner"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from swift.tuners import api  # on first use: command modules are imported through this package

    return getattr(api, name)
