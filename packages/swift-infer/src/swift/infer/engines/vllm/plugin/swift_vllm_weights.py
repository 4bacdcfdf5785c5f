"""What vLLM's workers learn from us; vLLM imports this in their processes and adds it to its worker class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from safetensors import safe_open


class WeightLoading:
    """Replaces the weights of a running worker."""

    model_runner: Any

    def load_swift_weights(self, paths: Sequence[str]) -> None:
        """Read all weights from safetensors files, by their names in a checkpoint.

        Keys and values that were computed with the former ones are the caller's to forget.
        """
        self.model_runner.reload_weights(weights_iterator=tensors(paths), is_checkpoint_format=True)
        repack_heads(self.model_runner.get_model())


def tensors(paths: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of every weight in the files."""
    for path in paths:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                yield name, file.get_tensor(name)


def repack_heads(model: torch.nn.Module) -> None:
    """Make the packed copies of output layers anew, that vLLM computes with on CPU.

    Reloading leaves those of a head that is tied to the embeddings as they were, without a word: logits would
    go on coming from the old ones.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    for module in model.modules():
        if isinstance(module, ParallelLMHead) and isinstance(module.quant_method, UnquantizedEmbeddingMethod):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)
