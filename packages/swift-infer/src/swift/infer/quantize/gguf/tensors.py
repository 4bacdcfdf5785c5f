"""A model's weights under GGUF's names and in GGUF's order of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swift.core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""model_type of transformers -> architecture of GGUF."""

EMBEDDINGS = ("token_embd.weight", "output.weight")
ROPE_FACTORS = "rope_freqs.weight"

Array = npt.NDArray[Any]


def architecture_of(config: PreTrainedConfig) -> str:
    """GGUF's name of the architecture.

    Raises:
        ModelError: it is none that is written here.
    """
    if config.model_type not in ARCHITECTURES:
        raise ModelError(
            f"architecture {config.model_type!r} is not written as GGUF",
            f"those that are: {', '.join(ARCHITECTURES)}; other methods take it: int8, bnb-nf4, ...",
        )
    return ARCHITECTURES[config.model_type]


def named_tensors(model: PreTrainedModel) -> Iterator[tuple[str, Array]]:
    """(GGUF's name, float32 array) of every weight; a tied output layer is left out.

    Raises:
        ModelError: a weight that GGUF has no name for.
    """
    import gguf

    config: Any = model.config
    known = {text: arch for arch, text in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(known[architecture_of(config)], config.num_hidden_layers)
    tied = config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ModelError(f"GGUF has no name for the weight {name!r}", "choose another export.method")
        yield target, _ordered(target, tensor, config).float().numpy()
    factors = rope_factors(config)
    if factors is not None:
        yield ROPE_FACTORS, factors


def _ordered(name: str, tensor: Tensor, config: Any) -> Tensor:
    """llama.cpp turns neighbouring pairs of a head where transformers turns its halves, for Llama alone."""
    if architecture_of(config) != "llama":
        return tensor
    if ".attn_q." in name:
        return interleaved(tensor, config.num_attention_heads)
    return interleaved(tensor, config.num_key_value_heads) if ".attn_k." in name else tensor


def interleaved(tensor: Tensor, heads: int) -> Tensor:
    """Rows [heads * (2 * half), ...]: row i of the first half of a head beside row i of the second."""
    halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def rope_factors(config: Any) -> Array | None:
    """What llama.cpp divides the rotary frequencies by [head_dim / 2]; None: nothing.

    Llama 3.1: 1 for wavelengths below L / high, `factor` above L / low, and between them
    1 / ((1 - u) / factor + u) with u = (L / wavelength - low) / (high - low), L the original context.
    """
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "llama3":
        return None
    width = head_width(config)
    frequency = 1.0 / rope["rope_theta"] ** (np.arange(0, width, 2, dtype=np.float64) / width)
    wavelength, context = 2 * np.pi / frequency, rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    share = np.clip((context / wavelength - low) / (high - low), 0, 1)
    factors: Array = (1 / ((1 - share) / factor + share)).astype(np.float32)
    return factors


def head_width(config: Any) -> int:
    """Channels of an attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def as_type(array: Array, wanted: Any) -> tuple[Array, Any]:
    """An array [..., C] in a GGUF type, or in f16 where C does not fill its blocks; (bytes, type)."""
    import gguf

    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    if array.shape[-1] % block:
        wanted = gguf.GGMLQuantizationType.F16
    return gguf.quants.quantize(np.ascontiguousarray(array), wanted), wanted
