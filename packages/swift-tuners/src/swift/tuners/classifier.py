"""A classification head beside an adapter: new, so it trains as a whole, in float32."""

from __future__ import annotations

from typing import Any

import peft
import torch
from peft.utils import ModulesToSaveWrapper
from torch import nn

from swift.core.models.heads import classifier_layers


def keep_classifier_whole(adapted: peft.PeftModel) -> None:
    """Train the head in float32 beside a base of lower precision, where small updates would be lost.

    It takes the base's activations as they come.
    """
    model = adapted.get_base_model()
    for name in classifier_layers(model):
        wrapper = getattr(model, name)
        copies = wrapper.modules_to_save.values() if isinstance(wrapper, ModulesToSaveWrapper) else ()
        for copy in copies:
            if all(weight.dtype == torch.float32 for weight in copy.parameters()):
                continue
            copy.float()
            copy.register_forward_pre_hook(_to_float32)


def _to_float32(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([value.float() if isinstance(value, torch.Tensor) else value for value in inputs])
