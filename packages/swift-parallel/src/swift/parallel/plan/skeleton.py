"""The model of a run without its weights: every parameter on the meta device, with its dtype and its role."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from swift.core.config.run import RunConfig
from swift.core.errors import ConfigError
from swift.core.models.load import is_multimodal, load_config
from swift.core.protocols import Tuner
from swift.core.registry import tuners
from swift.core.train.arguments import compute_dtype, weight_dtype


def skeleton(run: RunConfig, device: torch.device) -> nn.Module:
    """The model as it would train: dtypes, adapters and requires_grad set, no memory used.

    Args:
        device: kind of device the ranks have; decides the precision that "auto" means.

    Raises:
        ConfigError: the weights would be quantised, which the meta device cannot show.
        ModelError: the configuration of the model is not found.
    """
    tuner = None
    if run.loop.tuner_strategy is not None:
        tuner = cast("Tuner", tuners.build(run.loop.tuner_strategy, run.tuner))
    if tuner is not None and tuner.load_options():
        raise ConfigError(
            f"train.tuner_strategy {run.loop.tuner_strategy!r} quantises weights: not planned yet",
            "plan with train.tuner_strategy=lora and subtract what the quantisation saves",
        )
    architecture = load_config(run.model)
    auto_class = AutoModelForImageTextToText if is_multimodal(architecture) else AutoModelForCausalLM
    with torch.device("meta"):
        model: nn.Module = auto_class.from_config(
            architecture,
            dtype=weight_dtype(run, compute_dtype(run, device)),
            trust_remote_code=run.model.trust_remote_code,
        )
        return tuner.apply(model) if tuner is not None else model.requires_grad_(True)
