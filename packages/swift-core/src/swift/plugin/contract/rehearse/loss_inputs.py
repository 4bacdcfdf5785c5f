"""Synthetic values that a loss is called with.

Shapes: B rows, T tokens, N items, V vocabulary, C classes, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from swift.core.types import IGNORE_INDEX

ROWS, TOKENS, VOCABULARY, HIDDEN, PAIRS = 3, 6, 13, 8, 7


@dataclass(frozen=True)
class LossInputs:
    """What a loss is called with.

    Attributes:
        inputs: logits, part of a graph.
        targets: as the layout says.
        extras: all of kinds.LOSS_EXTRAS.
        leaves: what a gradient can reach: the model's logits and hidden states.
    """

    inputs: Tensor
    targets: Tensor
    extras: dict[str, Any] = field(default_factory=dict)
    leaves: tuple[Tensor, ...] = ()


def loss_inputs(
    layout: str, *, classes: int = 4, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> LossInputs:
    """Synthetic values in one of kinds.LAYOUTS, the same at every call.

    Args:
        classes: C of the classification layouts.
        dtype: of logits and hidden states.
    """
    generator = torch.Generator().manual_seed(0)
    labels_BT = torch.randint(VOCABULARY, (ROWS, TOKENS), generator=generator)
    labels_BT[:, :2] = IGNORE_INDEX
    labels_BT[-1, -1] = IGNORE_INDEX
    mask_BT = torch.ones_like(labels_BT)
    mask_BT[-1, -1] = 0
    logits = _logits(layout, classes, generator).to(device, dtype).requires_grad_()
    hidden_BTH = torch.randn((ROWS, TOKENS, HIDDEN), generator=generator).to(device, dtype).requires_grad_()
    inputs = (
        logits[:, :-1][labels_BT[:, 1:].to(device) != IGNORE_INDEX] if layout == "tokens" else logits * 1.0
    )
    targets = _targets(layout, labels_BT, classes, generator).to(device)
    weights_N = torch.linspace(0.5, 1.5, len(inputs), device=device)
    batch = {"input_ids": labels_BT.clamp(min=0), "attention_mask": mask_BT}
    batch["labels"] = labels_BT if layout == "tokens" else targets
    batch = {name: value.to(device) for name, value in batch.items()}
    extras = {
        "weights": weights_N,
        "attention_mask": batch["attention_mask"],
        "batch": batch,
        "num_items_in_batch": torch.tensor(float(len(inputs)), device=device),
        "model_outputs": _Outputs(logits=logits, hidden_states=(hidden_BTH,), last_hidden_state=hidden_BTH),
    }
    return LossInputs(inputs, targets, extras, (logits, hidden_BTH))


def _logits(layout: str, classes: int, generator: torch.Generator) -> Tensor:
    if layout == "pairs":
        return torch.linspace(0.9, -0.9, PAIRS)  # similarities that disagree with some of the targets
    shapes = {"tokens": (ROWS, TOKENS, VOCABULARY), "regression": (ROWS,)}
    return torch.randn(shapes.get(layout, (ROWS, classes)), generator=generator)


class _Outputs(dict[str, Any]):
    """A model's outputs, by key and by attribute as transformers has them."""

    __getattr__ = dict.__getitem__


def _targets(layout: str, labels_BT: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    if layout == "tokens":
        targets_BT = labels_BT[:, 1:]
        return targets_BT[targets_BT != IGNORE_INDEX]
    if layout in ("classes", "candidates"):
        return torch.arange(ROWS) % classes
    if layout in ("multi_label", "lists"):
        return (torch.arange(ROWS * classes).reshape(ROWS, classes) % 2).float()
    if layout == "pairs":
        return torch.arange(PAIRS) % 2.0
    return torch.randn(ROWS, generator=generator)
