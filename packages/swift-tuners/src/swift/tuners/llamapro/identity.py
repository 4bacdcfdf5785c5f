"""Making a block start as the identity, and proving that it does."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from swift.core.errors import ModelError
from swift.core.models.layers import decoder_layers

OUTPUTS = (
    "o_proj", "out_proj", "c_proj", "dense", "wo", "attn_out",  # of attention
    "down_proj", "fc2", "fc_out", "dense_4h_to_h", "w2", "ff_out",  # of the MLP or its experts
)  # fmt: skip
"""What the last projection of a sub-block is called; where it is zero, only the residual goes on."""

PROBE_TOKENS = 8
TOLERANCE = 1e-4  # of the largest output; renumbered layers may be computed by another kernel

SWITCHES = ("training", "gradient_checkpointing")  # what a module is set to, not what it is


def silence(block: nn.Module) -> int:
    """Zero the last projections of a block; how many tensors that were.

    Experts hold theirs as one parameter, others as the weight and bias of a layer.
    """
    zeroed = 0
    for name, value in block.named_parameters():
        parts = [part.removesuffix("_bias") for part in name.split(".")[-2:]]
        if any(part in OUTPUTS for part in parts):
            nn.init.zeros_(value)
            zeroed += 1
    return zeroed


@torch.no_grad()
def probe(model: PreTrainedModel) -> torch.Tensor:
    """The model's output for a few tokens."""
    was_training = model.training
    size = model.config.get_text_config().vocab_size
    tokens = torch.arange(1, PROBE_TOKENS + 1, device=model.device)[None] * 7 % size
    output: torch.Tensor = model.eval()(input_ids=tokens)[0]
    model.train(was_training)
    return output


def check_same_function(model: PreTrainedModel, before: torch.Tensor) -> None:
    """Compare the output with what it was without the new blocks.

    Raises:
        ModelError: it differs: the architecture adds something else to its residual stream.
    """
    difference = float((probe(model) - before).abs().max())
    if not difference <= TOLERANCE * float(before.abs().max()):
        raise ModelError(
            f"new blocks change what {type(model).__name__} computes (by {difference:.3g}) although "
            f"their last projections are zero ({', '.join(OUTPUTS)})",
            "its layers are not residual, or depend on their number: choose another tuner_strategy",
        )


def check_rebuilds(model: PreTrainedModel) -> None:
    """Compare the layers with those of a model that is built from the new configuration.

    Raises:
        ModelError: a saved folder would be loaded as another model.
    """
    config = type(model.config).from_dict(model.config.to_dict())
    with torch.device("meta"):
        rebuilt = type(model)(config)
    ours, theirs = ([_facts(layer) for layer in decoder_layers(each)[1]] for each in (model, rebuilt))
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        different = sorted(key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key))
        if different:
            key = different[0]
            raise ModelError(
                f"{type(model).__name__} decides by a layer's number what layer {number} is: {key} would be "
                f"{other.get(key)!r} in the saved model and is {mine.get(key)!r}",
                "choose num_new_blocks and num_groups that keep the pattern, or another tuner_strategy",
            )


def _facts(layer: nn.Module) -> dict[str, Any]:
    """Shapes of a layer's weights and the plain values of its modules."""
    facts: dict[str, Any] = {name: tuple(value.shape) for name, value in layer.named_parameters()}
    for name, module in layer.named_modules():
        for key, value in vars(module).items():
            plain = isinstance(value, bool | int | float | str) or value is None
            if plain and not key.startswith("_") and key not in SWITCHES:
                facts[f"{name}.{key}".lstrip(".")] = value
    return facts
