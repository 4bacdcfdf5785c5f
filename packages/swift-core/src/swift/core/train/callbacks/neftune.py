"""NEFTune: noise on the input embeddings while training (arXiv 2310.05914).

x' = x + e with e uniform in +-alpha / sqrt(L d), L the tokens of a sample and d the width of the embeddings,
so that the noise of a whole sample has a norm of alpha / sqrt(3) whatever its length. L counts each sample's
own tokens: neither the padding of its row nor the other samples of its pack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swift.core.errors import ConfigError
from swift.core.train.callbacks.contract import Callback

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer


class Neftune(Callback):
    """Noise in the forward passes that gradients flow through; none in evaluation, and none is saved.

    Args:
        alpha: size of the noise; the paper tries 5, 10 and 15.

    Raises:
        ConfigError: alpha is not positive.
    """

    def __init__(self, alpha: float) -> None:
        if not alpha > 0:
            raise ConfigError(f"train.neftune_noise_alpha is {alpha}", "it is above 0; leave it out for none")
        self.alpha = alpha
        self._lengths: Tensor | None = None

    def attach(self, trainer: Trainer) -> None:
        """Find the embeddings.

        Raises:
            ConfigError: the model does not show them.
        """
        self._model = trainer.model
        self._embeddings = input_embeddings(trainer.model)
        self._handles: list[Any] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From now on."""
        self._handles = [
            self._model.register_forward_pre_hook(self._note_lengths, with_kwargs=True),
            self._model.register_forward_hook(self._forget_lengths, always_call=True),
            self._embeddings.register_forward_hook(self._add_noise),
        ]

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the model as it was found."""
        for handle in self._handles:
            handle.remove()

    def _note_lengths(self, model: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        self._lengths = sample_lengths(named)

    def _forget_lengths(self, model: nn.Module, inputs: Any, output: Any) -> None:
        self._lengths = None

    def _add_noise(self, embeddings: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not (embeddings.training and torch.is_grad_enabled()):
            return output
        return output + noise_like(output, self._lengths, self.alpha)


def input_embeddings(model: nn.Module) -> nn.Module:
    """The layer that turns token ids into vectors.

    Raises:
        ConfigError: the model does not show it.
    """
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    find = getattr(base, "get_input_embeddings", None)
    module = find() if find is not None else None
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"train.neftune_noise_alpha is set, and {type(base).__name__} shows no input embeddings",
            "leave it out, or give the model get_input_embeddings()",
        )
    return module


def sample_lengths(named: dict[str, Any]) -> Tensor | None:
    """Tokens of the sample that each token is in, [B, T] or [B, 1]; None: each row is one sample.

    Args:
        named: what the model's forward is called with.
    """
    boundaries = named.get("cu_seq_lens_q")
    if boundaries is not None:
        lengths: Tensor = boundaries.diff().long()
        return lengths.repeat_interleave(lengths)[None]
    mask = named.get("attention_mask")
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return mask.sum(1, keepdim=True).clamp(min=1)
    return None


def noise_like(embedded: Tensor, lengths: Tensor | None, alpha: float) -> Tensor:
    """Uniform noise [B, T, d] of the magnitude that the lengths of the samples say."""
    tokens, width = embedded.shape[-2:]
    counted = torch.tensor([[tokens]]) if lengths is None else lengths
    magnitude = alpha / (counted.to(embedded.device, torch.float32) * width).sqrt()
    uniform = torch.empty(embedded.shape, dtype=torch.float32, device=embedded.device).uniform_(-1, 1)
    return (uniform * magnitude[..., None]).to(embedded.dtype)
