"""The callbacks of swift-core, declared without loading torch."""

from __future__ import annotations

from swift.core.registry import Component

_HERE = "swift.core.train.callbacks"

EARLY_STOPPING = Component(
    "early_stopping",
    f"{_HERE}.early_stopping:EarlyStopping",
    summary="stop when a figure of the evaluation no longer improves",
)
EMA = Component(
    "ema", f"{_HERE}.ema:EMA", summary="evaluate and keep an exponential moving average of the weights"
)
LISA = Component(
    "lisa", f"{_HERE}.lisa:LISA", summary="train a few layers at a time, drawn anew every so often"
)
PROFILER = Component(
    "profiler", f"{_HERE}.profiler:Profiler", summary="write a trace of some steps to OUT/profile"
)
ACTIVATION_OFFLOAD = Component(
    "activation_offload",
    f"{_HERE}.activation_offload:ActivationOffload",
    summary="keep activations in main memory until the backward pass",
)
TIME_LIMIT = Component(
    "time_limit",
    f"{_HERE}.time_limit:TimeLimit",
    summary="save and stop in order before a wall-clock limit",
)
