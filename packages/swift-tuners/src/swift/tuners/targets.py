"""Which layers of a model an adapter goes beside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from peft.utils.other import get_pattern_key
from torch import nn
from transformers.pytorch_utils import Conv1D

from swift.core.errors import ModelError
from swift.core.models.heads import classifier_layers
from swift.tuners.target_config import ALL_LINEAR


def base_layers(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Name and module of every layer of the base. Adapters on it are passed over, and change no name."""
    if isinstance(model, BaseTunerLayer):
        model = model.get_base_layer()
    elif isinstance(model, AuxiliaryTrainingWrapper):
        model = model.original_module
    yield prefix, model
    for name, child in model.named_children():
        yield from base_layers(child, f"{prefix}.{name}" if prefix else name)


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Full name -> layer of every linear layer except the output or classification head."""
    find_head = getattr(model, "get_output_embeddings", None)
    head = find_head() if find_head is not None else None
    head = head.original_module if isinstance(head, AuxiliaryTrainingWrapper) else head
    classifier = classifier_layers(model)
    return {
        name: module
        for name, module in base_layers(model)
        if isinstance(module, nn.Linear | Conv1D)
        and module is not head
        and name.partition(".")[0] not in classifier
    }


def resolve_targets(model: nn.Module, targets: Sequence[str]) -> list[str]:
    """Names for peft, which takes a layer when its full name is one of them or ends in "." + one of them.

    Raises:
        ModelError: a name matches no layer; the linear layers that there are get listed.
    """
    linear = linear_layers(model)
    if ALL_LINEAR in targets:
        if not linear:
            raise ModelError("the model has no linear layer for target_modules: all-linear")
        return _shortest(linear, (name for name, _ in base_layers(model)))
    names = [name for name, _ in base_layers(model)]
    for target in targets:
        if not any(_matches(name, target) for name in names):
            there = sorted({_last(name) for name in linear})
            raise ModelError(
                f"target_modules: {target!r} matches no layer of {type(model).__name__}",
                f"linear layers there are: {', '.join(there)}; or write all-linear",
            )
    return list(targets)


def check_saved(model: nn.Module, names: Sequence[str]) -> None:
    """Layers that are to train in full beside the adapter are there.

    Raises:
        ModelError: a name of modules_to_save matches no layer.
    """
    there = [name for name, _ in base_layers(model)]
    for wanted in names:
        if not any(_matches(name, wanted) for name in there):
            layers = sorted(
                {_last(name) for name, layer in base_layers(model) if list(layer.parameters(recurse=False))}
            )
            raise ModelError(
                f"modules_to_save: {wanted!r} matches no layer of {type(model).__name__}",
                f"layers with weights there are: {', '.join(layers)}",
            )


def chosen_layers(model: nn.Module, targets: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of every layer of the base that resolved targets mean."""
    for name, module in base_layers(model):
        if any(_matches(name, target) for target in targets):
            yield name, module


def check_rank(
    model: nn.Module,
    targets: Sequence[str],
    rank: int,
    rank_pattern: Mapping[str, int] = MappingProxyType({}),
    excluded: Sequence[str] = (),
    called: str = "lora_rank",
) -> None:
    """A rank above a layer's smaller dimension adds parameters but no freedom.

    Args:
        rank_pattern: other ranks by the end of a layer's name.
        excluded: layers that get no adapter after all.
        called: the key that sets the rank.

    Raises:
        ModelError: such a layer is among the targets.
    """
    for name, module in chosen_layers(model, targets):
        shape = sides(module)
        if shape is None or any(_matches(name, target) for target in excluded):
            continue
        here = rank_pattern.get(get_pattern_key(list(rank_pattern), name), rank)
        if here > min(shape):
            raise ModelError(
                f"{called} {here} exceeds the smaller dimension of {name!r} ({shape[0]} x {shape[1]})",
                f"use {called} <= {min(shape)}, or leave {_last(name)!r} out of target_modules",
            )


def _shortest(chosen: Iterable[str], every: Iterable[str]) -> list[str]:
    """Last parts of the names where they mean just the chosen layers, else the full names."""
    chosen = set(chosen)
    short = {_last(name) for name in chosen}
    meant = {name for name in every if _last(name) in short}
    return sorted(short if meant == chosen else chosen)


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def sides(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of a layer that has two such dimensions."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    return None
