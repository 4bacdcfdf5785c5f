"""Which of a model's parameters are hidden matrices: what low-rank and orthogonal updates are made for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from transformers.pytorch_utils import Conv1D

from swift.core.console import say
from swift.core.errors import ConfigError
from swift.core.models.heads import classifier_layers
from swift.tuners.target_config import ALL_LINEAR

Names = Sequence[str]


def hidden_matrices(model: nn.Module | None, params: Sequence[Tensor]) -> dict[str, Tensor]:
    """Weights of linear layers but the head, and stacks of experts' matrices, by name.

    Layers of adapters count. Embeddings and heads do not: their gradients are sparse or of full rank. A name
    is that of the module, or of a stack's parameter. Without a model, every tensor of two or three dimensions
    counts.
    """
    if model is None:
        return {str(index): each for index, each in enumerate(params) if each.ndim in (2, 3)}
    trained = {id(parameter) for parameter in params}
    head, classifier = _head(model), classifier_layers(model)
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        for key, parameter in module.named_parameters(name, recurse=False):
            stack = parameter.ndim == 3 and not isinstance(module, _ConvNd)
            matrix = isinstance(module, nn.Linear | Conv1D) and parameter.ndim == 2 and module is not head
            if id(parameter) in trained and (stack or matrix) and name.partition(".")[0] not in classifier:
                found[key.removesuffix(".weight")] = parameter
    return found


def chosen_matrices(
    matrices: Mapping[str, Tensor], targets: Names | str, rank: int, optimizer: str
) -> dict[str, Tensor]:
    """Those that targets name and whose smaller dimension the rank is below.

    With all-linear, matrices that are too small for the rank are left to plain Adam, and that is said.

    Raises:
        ConfigError: a target matches nothing, or a matrix named by one is too small for the rank.
    """
    names = [targets] if isinstance(targets, str) else list(targets)
    if ALL_LINEAR not in names:
        named = {
            name: matrix
            for target in names
            for name, matrix in _matching(matrices, target, optimizer).items()
        }
        for name, matrix in named.items():
            if rank >= _smaller(matrix):
                raise _too_large(optimizer, rank, name, matrix)
        return named
    fitting = {name: matrix for name, matrix in matrices.items() if rank < _smaller(matrix)}
    if matrices and not fitting:
        raise _too_large(optimizer, rank, *max(matrices.items(), key=lambda item: _smaller(item[1])))
    if not fitting:
        raise ConfigError(
            f"the optimizer {optimizer} works on matrices of linear layers, and none of them trains",
            "set train.tuner_strategy=full, or another train.optim",
        )
    if len(fitting) < len(matrices):
        small = sorted({name.rpartition(".")[2] for name in matrices.keys() - fitting.keys()})
        left = len(matrices) - len(fitting)
        say(f"{optimizer}: plain Adam for {left} matrices too small for rank {rank} ({', '.join(small)})")
    return fitting


def low_rank_groups(
    params: Iterable[Tensor], chosen: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The chosen matrices with their settings, the other parameters, and the vectors, which do not decay."""
    low = list(chosen.values())
    known = {id(matrix) for matrix in low}
    rest = [parameter for parameter in params if id(parameter) not in known]
    return [group for group in ({"params": low, **settings}, *plain_groups(rest)) if group["params"]]


def plain_groups(params: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Tensors of more than one dimension, and vectors (biases, norms), which do not decay."""
    return [
        {"params": [each for each in params if each.ndim > 1]},
        {"params": [each for each in params if each.ndim <= 1], "weight_decay": 0.0},
    ]


def _head(model: nn.Module) -> nn.Module | None:
    """What makes logits, where the model says so."""
    find_head = getattr(model, "get_output_embeddings", None)
    head: nn.Module | None = find_head() if find_head is not None else None
    return head


def _matching(matrices: Mapping[str, Tensor], target: str, optimizer: str) -> dict[str, Tensor]:
    found = {
        name: matrix
        for name, matrix in matrices.items()
        if name == target or name.endswith(f".{target}") or f".{target}." in name
    }
    if not found:
        there = ", ".join(sorted({name.rpartition(".")[2] for name in matrices})) or "none"
        raise ConfigError(
            f"target_modules of {optimizer}: {target!r} matches no matrix that trains",
            f"there are: {there}; or write {ALL_LINEAR}",
        )
    return found


def _smaller(matrix: Tensor) -> int:
    return min(matrix.shape[-2:])


def _too_large(optimizer: str, rank: int, name: str, matrix: Tensor) -> ConfigError:
    most = _smaller(matrix) - 1
    return ConfigError(
        f"rank {rank} of {optimizer} is not below the smaller dimension of {name!r} "
        f"({' x '.join(map(str, matrix.shape))}), so it would save nothing",
        f"use rank <= {most}" if most > 0 else "choose other target_modules",
    )
