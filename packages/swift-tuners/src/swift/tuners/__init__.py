"""Which parameters train: LoRA and its family, freezing, merging.

Importing this package loads no torch; the functions do when they are called.
"""

from swift.tuners.api import apply_tuner, load_tuner, merge_tuner

__all__ = ["apply_tuner", "load_tuner", "merge_tuner"]
