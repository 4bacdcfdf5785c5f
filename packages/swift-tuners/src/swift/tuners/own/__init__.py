"""Adapters of our own: modules in the place of layers, several by name, one active at a time.

What the methods share, and what acts on whatever such adapters a model carries. Importing this loads torch.
"""

from swift.tuners.own.carried import (
    active_adapter,
    adapter_names,
    carries_own,
    own_layers,
    remove,
    switch,
)
from swift.tuners.own.layer import CopiedLayer, OwnAdapterLayer
from swift.tuners.own.tuner import OwnTuner, load_own, own_tuner

__all__ = [
    "CopiedLayer",
    "OwnAdapterLayer",
    "OwnTuner",
    "active_adapter",
    "adapter_names",
    "carries_own",
    "load_own",
    "own_layers",
    "own_tuner",
    "remove",
    "switch",
]
