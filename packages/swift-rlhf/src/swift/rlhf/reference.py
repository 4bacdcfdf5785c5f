"""The reference policy: log-probabilities of the model as it was when training started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from swift.core.config.schema import ModelConfig
from swift.core.train.evaluate import evaluation_mode
from swift.core.types import Batch
from swift.rlhf.logprobs import batch_logprobs


class Reference:
    """Log-probabilities under the reference policy.

    A model that trains a fresh adapter is its own reference while the adapter is switched off, which costs no
    memory. Otherwise a frozen copy is loaded on first use.

    Args:
        load: loads the frozen copy.
        model_config: decides whether the bare base is what training started from.
    """

    def __init__(self, load: Callable[[], nn.Module], model_config: ModelConfig) -> None:
        self.load = load
        self.base_is_start = model_config.ref_model_id is None and model_config.adapter is None
        self._copy: nn.Module | None = None

    @torch.no_grad()
    def logprobs(
        self, model: nn.Module, batch: Batch, *, own: Sequence[str] = (), temperature: float = 1.0
    ) -> Tensor:
        """float32 [B, T-1] as in TokenLogprobs.values, without gradient."""
        with self._policy(model) as policy, evaluation_mode(policy):
            return batch_logprobs(policy, batch, own=own, temperature=temperature).values

    @contextmanager
    def _policy(self, model: nn.Module) -> Iterator[nn.Module]:
        inner: Any = getattr(model, "module", model)
        if self.base_is_start and hasattr(inner, "disable_adapter"):
            with inner.disable_adapter():
                yield inner
            return
        if self._copy is None:
            self._copy = self.load()
        yield self._copy
