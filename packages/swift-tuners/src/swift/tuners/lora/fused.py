"""LoRA layers of peft that compute by swift.kernels.lora, put in place by peft's own extension point.

Only the forward pass differs. Names, saving, loading, merging and switching stay peft's.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, cast

import peft
import torch
from peft.tuners.lora.layer import Linear
from torch import nn

from swift.core.errors import ModelError


class FusedLinear(Linear):  # type: ignore[misc]
    """A linear layer and its adapters; one active adapter without dropout runs fused, all else as in peft."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """[..., I] -> [..., O]."""
        adapter = fusible(self) if not (args or kwargs) else None
        if adapter is None:
            return cast(torch.Tensor, super().forward(x, *args, **kwargs))
        base = self.get_base_layer()
        if type(base) is not nn.Linear or type(base.weight) is not nn.Parameter:  # quantised since
            return cast(torch.Tensor, super().forward(x, *args, **kwargs))
        return run_fused(self, adapter, x, base.weight, base.bias)


def fusible(layer: Any) -> str | None:
    """The adapter that is to run fused, or None where peft's own forward pass has to."""
    if layer.disable_adapters or layer.merged:
        return None
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(active) != 1:
        return None
    (name,) = active
    plain = name not in layer.lora_variant and layer.lora_B[name].bias is None
    dropout = layer.lora_dropout[name]
    drops = layer.training and not isinstance(dropout, nn.Identity)
    base = layer.get_base_layer()
    trains = any(parameter.requires_grad for parameter in base.parameters())
    watched = any(hooked(module) for module in (base, layer.lora_A[name], layer.lora_B[name]))
    return name if plain and not drops and not trains and not watched else None


def hooked(module: nn.Module) -> bool:
    """Whether a module does more than multiply when it is called, which would be passed by."""
    watchers = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    return any(watchers) or hasattr(module, "_hf_hook")  # accelerate moves weights to and fro


def run_fused(layer: Any, adapter: str, x: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
    """One call of swift.kernels.lora."""
    from swift.kernels.lora import lora_linear

    a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    result: torch.Tensor = lora_linear(x, weight, bias, a, b, layer.scaling[adapter])
    return result


@functools.cache
def fused_4bit() -> type[nn.Module]:
    """The same beside weights of bitsandbytes in 4 bits, which are dequantised anew in each pass."""
    from bitsandbytes.functional import dequantize_4bit
    from peft.tuners.lora.bnb import Linear4bit

    class FusedLinear4bit(Linear4bit):  # type: ignore[misc]
        """As FusedLinear."""

        def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            """[..., I] -> [..., O]."""
            adapter = fusible(self) if not (args or kwargs) else None
            base = self.get_base_layer()
            state = getattr(base.weight, "quant_state", None)
            if adapter is None or state is None or getattr(state, "packing_format_for_cpu", False):
                return cast(torch.Tensor, super().forward(x, *args, **kwargs))
            dense = functools.partial(dequantize_4bit, base.weight.data, state)
            return run_fused(self, adapter, x, dense, base.bias)

    return FusedLinear4bit


def kernels_installed() -> bool:
    """Whether this environment has swift-kernels."""
    return importlib.util.find_spec("swift.kernels") is not None


def use_fused(config: peft.LoraConfig, model: nn.Module) -> None:
    """Have peft make fused layers where it would make Linear or Linear4bit.

    Raises:
        ModelError: swift-kernels is not installed.
    """
    if not kernels_installed():
        raise ModelError(
            "fused_lora needs swift-kernels, which is not installed", "pip install swift-kernels"
        )
    config._register_custom_module(layer_classes(model))


def layer_classes(model: nn.Module) -> dict[type[nn.Module], Any]:
    """Layer -> its class with adapters, for exactly the kinds in the model that can run fused.

    peft asks isinstance, and quantised layers are Linear too: kinds that are not listed here keep peft's own.
    """
    kinds = {type(module) for module in model.modules()}
    quantised = {kind for kind in kinds if issubclass(kind, nn.Linear) and kind is not nn.Linear}
    if not quantised:
        return {nn.Linear: FusedLinear} if nn.Linear in kinds else {}
    if {kind.__name__ for kind in quantised} == {"Linear4bit"}:
        return dict.fromkeys(quantised, fused_4bit())
    return {}
