"""Which parameters train: LoRA and its family, freezing, merging.

Importing this package loads no torch; the functions do when they are called.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swift.tuners.api import (
        active_adapter,
        adapter_names,
        apply_tuner,
        load_tuner,
        merge_adapters,
        merge_tuner,
        save_tuner,
        switch_adapter,
        trainable_share,
        unmerge_adapters,
    )

__all__ = [
    "active_adapter",
    "adapter_names",
    "apply_tuner",
    "load_tuner",
    "merge_adapters",
    "merge_tuner",
    "save_tuner",
    "switch_adapter",
    "trainable_share",
    "unmerge_adapters",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from swift.tuners import api  # on first use: command modules are imported through this package

    return getattr(api, name)
