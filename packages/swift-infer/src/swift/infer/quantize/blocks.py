"""A model block by block: only one block at a time is on the device and has statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from swift.core.errors import ModelError
from swift.core.models.layers import decoder_layers
from swift.infer.quantize.statistics import InputStatistics, Observer


@dataclass(frozen=True)
class Block:
    """One decoder layer in the middle of calibration.

    Attributes:
        name: path in the model.
        module: its weights as they are so far.
        linears: the layers to quantise, by their names inside the block.
        statistics: of their inputs, by the same names.
        run: (calibration row) -> its output [1, T, d] with the present weights.
    """

    name: str
    module: nn.Module
    linears: Mapping[str, nn.Linear]
    statistics: Mapping[str, InputStatistics]
    run: Callable[[int], Tensor]


@dataclass
class _Inputs:
    """What one row brings to each block: hidden states [1, T, d] that change, keyword arguments that stay."""

    hidden: Tensor
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]]


def linear_layers(module: nn.Module, ignore: Sequence[str], prefix: str = "") -> dict[str, nn.Linear]:
    """Linear layers below a module whose full names do not end in one of `ignore`."""
    found = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    return {name: layer for name, layer in found.items() if not ignored(f"{prefix}{name}", ignore)}


def ignored(name: str, ignore: Sequence[str]) -> bool:
    """Whether the last parts of a dotted name are one of these."""
    return any(name == end or name.endswith(f".{end}") for end in ignore)


def check_blocks(model: nn.Module) -> None:
    """The weights of the blocks are linear layers.

    Raises:
        ModelError: experts are stacked in one parameter, which would stay as they are.
    """
    path, layers = decoder_layers(model)
    for name, parameter in layers.named_parameters():
        if parameter.ndim > 2:
            raise ModelError(
                f"{path}.{name} holds stacked experts, shape {tuple(parameter.shape)}: no linear layers",
                "use export.backend=llmcompressor (gptq, awq, fp8, int8), which takes experts apart",
            )


def each_linear(model: nn.Module, ignore: Sequence[str]) -> Iterator[tuple[str, nn.Linear]]:
    """Full name and layer of everything that is quantised: the linear layers of the decoder.

    Raises:
        ModelError: there is no decoder of linear layers.
    """
    check_blocks(model)
    path, layers = decoder_layers(model)
    for name, layer in linear_layers(layers, ignore, f"{path}.").items():
        yield f"{path}.{name}", layer


@torch.no_grad()
def calibrate(
    model: nn.Module,
    rows: Sequence[Tensor],
    ignore: Sequence[str],
    device: torch.device,
    visit: Callable[[Block], None],
) -> None:
    """Show each block what it is given, once those before it have their final weights.

    Args:
        rows: token ids [T] each.
        visit: changes the weights of a block in place.

    Raises:
        ModelError: the model has no list of blocks of linear layers.
    """
    check_blocks(model)
    path, layers = decoder_layers(model)
    inputs = [_first_inputs(model, layers, row) for row in rows]
    for index, layer in enumerate(layers):
        layer.to(device)
        run = partial(_run, layer, index, inputs, device)
        linears = linear_layers(layer, ignore, f"{path}.{index}.")
        observer = Observer()
        with observer.watching(linears):
            for number in range(len(rows)):
                run(number)
        visit(Block(f"{path}.{index}", layer, linears, observer.statistics, run))
        for number, one in enumerate(inputs):
            one.hidden = run(number).cpu()
        layer.cpu()


def _first_inputs(model: nn.Module, layers: nn.ModuleList, row: Tensor) -> _Inputs:
    """Run the model once; every block's arguments are kept, of the hidden states only the first ones."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    first: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not first:
            first.append(args[0] if args else kwargs["hidden_states"])
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        seen.append((args[1:], rest))

    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    try:
        model(row[None], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return _Inputs(first[0], seen)


def _run(
    layer: nn.Module, index: int, inputs: Sequence[_Inputs], device: torch.device, number: int
) -> Tensor:
    args, kwargs = _moved(inputs[number].arguments[index], device)
    output = layer(inputs[number].hidden.to(device), *args, **kwargs)
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple | list):
        return type(value)(_moved(one, device) for one in value)
    if isinstance(value, dict):
        return {name: _moved(one, device) for name, one in value.items()}
    return value
