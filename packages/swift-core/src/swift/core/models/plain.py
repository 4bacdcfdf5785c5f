"""A live model as the plain weights of its architecture: without wrappers, adapters added to the weights.

For engines that hold weights of their own. The model itself stays as it is, to the last bit: what an adapter
adds is computed on a copy of its layer, one layer at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.core_model_loading import revert_weight_conversion

from swift.core.errors import ModelError
from swift.core.models.load import is_multimodal

REMEDY = "use infer.engine=transformers, which generates with the live model"


def base_of(model: nn.Module) -> Any:
    """The transformers model under wrappers such as DDP and adapters."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def reads_images(model: nn.Module) -> bool:
    """Whether a live model takes images beside text, so that it goes with a processor."""
    return is_multimodal(base_of(model).config)


@torch.no_grad()
def plain_weights(model: nn.Module, *, adapted: bool = True) -> dict[str, Tensor]:
    """Every weight by its name in a checkpoint of the architecture; tied ones once.

    Weights beside which nothing was put are the live tensors themselves, not copies.

    Args:
        adapted: with what adapters add; False: the base as it was before.

    Raises:
        ModelError: quantised weights, or an adapter that is no change of weights.
    """
    inner: Any = getattr(model, "module", model)
    if adapted and getattr(inner, "virtual_tokens", None):
        raise ModelError("virtual tokens before the prompt cannot be written as weights", REMEDY)
    base = base_of(model)
    weights = dict(_Walk(adapted).weights(base, ""))
    return cast("dict[str, Tensor]", revert_weight_conversion(base, weights))


def save_plain(model: nn.Module, processor: Any, folder: Path, *, adapted: bool = True) -> None:
    """Write a transformers folder with those weights and the tokenizer or processor.

    Raises:
        ModelError: as plain_weights().
    """
    weights = plain_weights(model, adapted=adapted)
    base_of(model).save_pretrained(folder, state_dict=weights, save_original_format=False)
    processor.save_pretrained(folder)


class _Walk:
    """Names and tensors of a tree of modules; remembers which parameters it met, to know tied ones."""

    def __init__(self, adapted: bool) -> None:
        self._adapted = adapted
        self._plain: set[int] = set()
        self._changed: set[int] = set()

    def weights(self, module: Any, path: str) -> Iterator[tuple[str, Tensor]]:
        """Everything below a module, with `path` before its names."""
        inside = None if self._adapted else _unadapted(module)
        if inside is not None:
            yield from self.weights(inside, path)
        elif hasattr(module, "modules_to_save") and hasattr(module, "original_module"):
            yield from self._instead(module.original_module, lambda: _copy_in_use(module), path)
        elif hasattr(module, "merge") and hasattr(module, "get_base_layer"):
            yield from self._instead(module.get_base_layer(), lambda: _merged(module), path)
        elif hasattr(module, "base_layer"):
            raise ModelError(f"the {type(module).__name__} at {path!r} cannot be written as weights", REMEDY)
        else:
            yield from self._own(module, path)
            for name, child in module.named_children():
                yield from self.weights(child, _joined(path, name))

    def _own(self, module: nn.Module, path: str) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in self._changed:
                raise _tied(path)
            if id(parameter) not in self._plain:
                self._plain.add(id(parameter))
                yield _joined(path, name), _whole(parameter, _joined(path, name))
        for name, value in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                yield _joined(path, name), _whole(value, _joined(path, name))

    def _instead(
        self, before: nn.Module, make: Callable[[], nn.Module], path: str
    ) -> Iterator[tuple[str, Tensor]]:
        """The weights of a layer that stands for another one."""
        for name, value in before.named_parameters():
            _whole(value, _joined(path, name))
        replaced = {id(value) for value in before.parameters()}
        if replaced & self._plain:
            raise _tied(path)
        self._changed |= replaced
        for name, value in make().state_dict().items():
            yield _joined(path, name), _whole(value, _joined(path, name))


def _unadapted(module: Any) -> Any:
    """What stands inside of an adapter's wrapper; None where there is no wrapper."""
    return getattr(module, "original_module", None) or getattr(module, "base_layer", None)


def _copy_in_use(wrapper: Any) -> nn.Module:
    """What trains in the place of a module (peft's modules_to_save)."""
    (name,) = wrapper.active_adapters
    return cast(nn.Module, wrapper.modules_to_save[name])


def _merged(layer: Any) -> nn.Module:
    """A layer with its adapter added."""
    if layer.merged:
        return cast(nn.Module, layer.get_base_layer())
    changed = copy.deepcopy(layer)
    changed.merge()
    return cast(nn.Module, changed.get_base_layer())


def _whole(value: Tensor, name: str) -> Tensor:
    if not value.is_floating_point() and value.dtype != torch.bool and isinstance(value, nn.Parameter):
        raise ModelError(f"the weight {name!r} is quantised, and has no plain form without rounding", REMEDY)
    gathered = value.full_tensor() if hasattr(value, "full_tensor") else value  # spread over ranks
    return cast(Tensor, gathered.detach())


def _tied(path: str) -> ModelError:
    return ModelError(f"the adapter at {path!r} changes one of two tied weights", REMEDY)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
