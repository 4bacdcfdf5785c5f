"""Several LoRA adapters as one, by peft's add_weighted_adapter, without their base.

Each layer of the base is only known by the shape that an adapter's tensors give it, and takes no memory. With
weights w_i and delta_i = scaling_i B_i A_i the methods give

* cat: sum_i w_i delta_i, exactly; the rank is the sum of the ranks.
* svd: the best approximation of that sum at a rank, by default the largest one.
* linear: (sum_i sqrt(w_i s_i) B_i) (sum_i sqrt(w_i s_i) A_i): cheap, but with products between the adapters.
* ties (arXiv 2306.01708), dare_linear and dare_ties (arXiv 2311.03099): linear, after factors are pruned to a
  density; ties also settles conflicts of sign. DARE draws what it prunes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import peft
import torch
from peft.utils.other import get_pattern_key
from safetensors.torch import save_file
from torch import nn

from swift.core.errors import ConfigError
from swift.core.new_folder import new_folder
from swift.tuners.adapters import ADAPTER_WEIGHTS, find_adapter
from swift.tuners.compatible import refuse_incompatible
from swift.tuners.peft_tuner import saved_config, saved_weights

METHODS = ("linear", "ties", "dare_linear", "dare_ties", "cat", "svd")
PRUNING = ("ties", "dare_linear", "dare_ties")
Tensors = Mapping[str, torch.Tensor]
COMBINED = "combined"
PREFIX = "base_model.model."


def combine_adapters(
    sources: Sequence[Path],
    output: Path,
    weights: Sequence[float],
    method: str = "linear",
    *,
    density: float | None = None,
    rank: int | None = None,
    seed: int = 42,
) -> Path:
    """Write the weighted combination of LoRA adapters as an adapter in peft's format.

    Args:
        sources: adapters, or output folders of runs; two or more.
        output: new or empty folder; it appears complete or not at all.
        weights: one for each source, of either sign.
        method: one of METHODS.
        density: share of the numbers that ties, dare_linear and dare_ties keep; they need it.
        rank: of the result of svd; default: the largest of the sources.
        seed: of what DARE prunes.

    Raises:
        ConfigError: weights, density or rank do not fit the sources or the method.
        ModelError: an adapter cannot be read, or they do not go together (the differences are listed).
        CheckpointError: output holds something already, or cannot be written.
    """
    check_settings(len(sources), weights, method, density, rank)
    folders = [find_adapter(Path(source)) for source in sources]
    configs = [saved_config(folder) for folder in folders]
    tensors = [saved_weights(folder) for folder in folders]
    names = [str(source) for source in sources]
    refuse_incompatible(names, configs, tensors, same_rank=method not in ("cat", "svd"))
    check_rank(rank, tensors)
    with new_folder(output) as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = side_by_side([scaled(*pair) for pair in zip(configs, tensors, strict=True)])
        adapted.base_model.add_weighted_adapter(
            list(adapted.peft_config), list(weights), COMBINED, method,
            svd_rank=rank, svd_full_matrices=False, density=density,
        )  # fmt: skip
        write(adapted, configs[0], widest(tensors), folder)
    return output


def check_rank(rank: int | None, tensors: Sequence[Mapping[str, torch.Tensor]]) -> None:
    """Refuse a rank above the smaller dimension of the narrowest layer.

    Raises:
        ConfigError: it is, so that it would add parameters but no freedom.
    """
    narrowest = min(max(value.shape) for each in tensors for name, value in each.items() if ".lora_" in name)
    if rank is not None and rank > narrowest:
        raise ConfigError(
            f"rank is {rank}, and the narrowest layer of these adapters is {narrowest} wide",
            f"use a rank of at most {narrowest}, or leave it out",
        )


def check_settings(
    count: int, weights: Sequence[float], method: str, density: float | None, rank: int | None
) -> None:
    """Refuse settings that do not fit each other.

    Raises:
        ConfigError: they do not.
    """
    if method not in METHODS:
        raise ConfigError(f"method is {method!r}", f"choose {', '.join(METHODS)}")
    if count < 2:
        raise ConfigError(f"{count} adapter is given, and a combination needs two", "name at least two")
    if len(weights) != count or not all(map(math.isfinite, weights)) or not any(weights):
        raise ConfigError(
            f"weights are {list(weights)} for {count} adapters",
            "give each adapter one finite number, not all of them 0",
        )
    if (density is not None) != (method in PRUNING):
        raise ConfigError(
            f"density is {density} and method {method!r}",
            f"{', '.join(PRUNING)} need a density, the share of numbers to keep; the others take none",
        )
    if density is not None and not 0 < density <= 1:
        raise ConfigError(f"density is {density}", "choose a share above 0, and 1 at most")
    if rank is not None and (method != "svd" or rank < 1):
        raise ConfigError(f"rank is {rank} and method {method!r}", "only svd takes a rank, of 1 or more")


@dataclass(frozen=True)
class Product:
    """What an adapter adds to one layer: scaling * b @ a.

    Attributes:
        a: float32 [r, in].
        b: float32 [out, r].
    """

    a: torch.Tensor
    b: torch.Tensor
    scaling: float


def scaled(config: peft.LoraConfig, tensors: Tensors) -> dict[str, Product]:
    """Full name of a layer -> what the adapter adds to it."""
    found = {}
    for name, a in tensors.items():
        place, part, _ = name.removeprefix(PREFIX).partition(".lora_A.")
        if part:
            b = tensors[name.replace(".lora_A.", ".lora_B.")]
            alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, place), config.lora_alpha)
            scaling = alpha / (math.sqrt(len(a)) if config.use_rslora else len(a))
            found[place] = Product(a.float(), b.float(), scaling)
    return found


def side_by_side(adapters: Sequence[dict[str, Product]]) -> peft.PeftModel:
    """All adapters, named "source0", "source1", ..., on a model of empty layers under the base's names."""
    host = skeleton({place: (one.a.shape[1], one.b.shape[0]) for place, one in adapters[0].items()})
    adapted: Any = None
    for number, products in enumerate(adapters):
        name = f"source{number}"
        config = peft.LoraConfig(
            r=max(len(one.a) for one in products.values()),
            target_modules=list(products),
            rank_pattern={exactly(place): len(one.a) for place, one in products.items()},
            alpha_pattern={exactly(place): one.scaling * len(one.a) for place, one in products.items()},
        )
        if adapted is None:
            adapted = peft.get_peft_model(host, config, adapter_name=name)
        else:
            adapted.add_adapter(name, config)
        for place, one in products.items():
            layer = adapted.base_model.model.get_submodule(place)
            layer.lora_A[name].weight = nn.Parameter(one.a, requires_grad=False)
            layer.lora_B[name].weight = nn.Parameter(one.b, requires_grad=False)
    return cast(peft.PeftModel, adapted)


def skeleton(sizes: Mapping[str, tuple[int, int]]) -> nn.Module:
    """Linear layers without memory, by full name -> (in, out)."""
    root = nn.Module()
    for place, (inputs, outputs) in sizes.items():
        *path, last = place.split(".")
        parent = root
        for step in path:
            if not hasattr(parent, step):
                parent.add_module(step, nn.Module())
            parent = cast(nn.Module, getattr(parent, step))
        layer = nn.Linear(inputs, outputs, bias=False, device="meta")
        # One number seen everywhere: peft puts what it adds on the device of the weight, so meta will not do.
        layer.weight = nn.Parameter(torch.zeros(()).expand(outputs, inputs), requires_grad=False)
        parent.add_module(last, layer)
    return root


def exactly(place: str) -> str:
    """A layer's name as peft's patterns write it: as a regular expression."""
    return "^" + re.escape(place)


def widest(tensors: Sequence[Tensors]) -> torch.dtype:
    """The precision that holds every source's numbers."""
    kinds = [value.dtype for one in tensors for value in one.values()]
    return functools.reduce(torch.promote_types, kinds)


def write(adapted: peft.PeftModel, first: peft.LoraConfig, dtype: torch.dtype, folder: Path) -> None:
    """The combined adapter: its factors hold all scalings, so that its own is 1."""
    found = peft.get_peft_model_state_dict(adapted, adapter_name=COMBINED, save_embedding_layers=False)
    ranks = {
        name.removeprefix(PREFIX).partition(".lora_A.")[0]: len(value)
        for name, value in found.items()
        if ".lora_A." in name
    }
    rank = max(ranks.values())
    others = {exactly(place): own for place, own in ranks.items() if own != rank}
    config = dataclasses.replace(
        first, r=rank, lora_alpha=rank, rank_pattern=others, alpha_pattern=others, use_rslora=False,
        init_lora_weights=True, loftq_config={}, eva_config=None, inference_mode=True,
    )  # fmt: skip
    config.save_pretrained(str(folder))
    saved = {name: value.to(dtype).contiguous() for name, value in found.items()}
    save_file(saved, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
