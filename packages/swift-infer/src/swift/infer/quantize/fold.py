"""Moving scales between layers without changing what a block computes.

    y = W (x / s * s) = (W diag(s)) (x / s)

The factor 1 / s goes into what makes x: the weight of a norm, or the rows of a linear layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from swift.core.errors import ModelError
from swift.infer.quantize.blocks import Block
from swift.infer.quantize.rounding import relative_change

CHAINS = (
    ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    ("input_layernorm", ("self_attn.qkv_proj",)),
    ("self_attn.v_proj", ("self_attn.o_proj",)),
    ("pre_feedforward_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
    ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
    ("post_attention_layernorm", ("mlp.gate_up_proj",)),
    ("mlp.up_proj", ("mlp.down_proj",)),
)
"""(what makes the inputs, all layers that read them) in the blocks of Llama's kin."""

TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest relative change of a block's output that rounding explains."""


@dataclass(frozen=True)
class Chain:
    """A source of inputs and the linear layers that read them, by their names in the block."""

    source: nn.Module
    names: tuple[str, ...]


def chains(block: Block) -> Iterator[Chain]:
    """Those of CHAINS that are in a block; each layer reads from one source."""
    modules = dict(block.module.named_modules())
    taken: set[str] = set()
    for source, names in CHAINS:
        present = source in modules and all(name in modules for name in names)
        if not present or taken.intersection(names) or not _fits(modules[source], modules[names[0]]):
            continue
        if all(name in block.linears and name in block.statistics for name in names):
            taken.update(names)
            yield Chain(modules[source], names)


def _fits(source: nn.Module, reader: nn.Module) -> bool:
    """Whether outputs and inputs are the same channels: grouped-query attention repeats those of values."""
    if isinstance(source, nn.Linear):
        return source.out_features == reader.in_features
    return getattr(source, "weight", None) is not None


def fold(block: Block, chain: Chain, factor: Tensor) -> Block:
    """Divide the inputs of a chain's layers by factor [C], and multiply their columns; statistics follow."""
    if isinstance(chain.source, nn.Linear):
        chain.source.weight.data.div_(factor[:, None])
        if chain.source.bias is not None:
            chain.source.bias.data.div_(factor)
    else:
        _fold_norm(chain.source, factor)
    statistics = dict(block.statistics)
    for name in chain.names:
        block.linears[name].weight.data.mul_(factor)
        statistics[name] = statistics[name].divided(factor)
    return replace(block, statistics=statistics)


def _fold_norm(norm: nn.Module, factor: Tensor) -> None:
    """Some norms multiply by their weight, some (Gemma's) by 1 + weight: those show it at weight 0."""
    weight = norm.get_parameter("weight")
    kept = weight.data.clone()
    weight.data.zero_()
    probe = torch.ones(1, 1, len(kept), dtype=kept.dtype, device=kept.device)
    offset = 1.0 if bool(norm(probe).any()) and getattr(norm, "bias", None) is None else 0.0
    weight.data.copy_((kept + offset) / factor - offset)
    bias: Tensor | None = getattr(norm, "bias", None)
    if bias is not None:
        bias.data.div_(factor)


def check_same(block: Block, before: list[Tensor]) -> None:
    """A block still computes what it did.

    Raises:
        ModelError: its layers are connected in another way than CHAINS says.
    """
    change = relative_change(before, [block.run(number) for number in range(len(before))])
    allowed = TOLERANCE.get(before[0].dtype, 5e-2)
    if not change <= allowed:
        raise ModelError(
            f"{block.name}: moving scales between its layers changed its output by {change:.1%}",
            "its layers are connected in an unknown way: use export.method=gptq, or int8 with "
            "export.smoothing=0",
        )
