"""Several LoRA adapters in one batch: every row with its own, or with none.

Shapes: B rows, T tokens, I and O features of a layer, R ranks of all its adapters together. Their factors lie
below each other in one A [R, I] and one B^T [R, O], so that a layer takes two products whatever the rows ask
for: y += ((x A^T) * mask) B^T, where mask [B, 1, R] keeps a row's own ranks. Only the range of ranks that the
batch needs is computed, and nothing where no row needs any.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swift.core.errors import EngineError, did_you_mean
from swift.infer.adapter_base import check_base
from swift.infer.engines.transformers.adapter_folder import MERGE, Adapter, read_adapter

logger = logging.getLogger(__name__)

Layout = tuple[tuple[Adapter, int], ...]
"""(adapter, rank) in the order of the rows of A."""


class Beside:
    """The product beside one linear layer; a forward hook."""

    def __init__(self, layout: Layout, down_RI: torch.Tensor, up_RO: torch.Tensor) -> None:
        self.layout = layout
        self.down_RI, self.up_RO = down_RI, up_RO
        self.range: slice | None = None
        self.mask_B1R: torch.Tensor | None = None

    def __call__(self, module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        """y + ((x A^T) * mask) B^T; None leaves y as it is."""
        if self.range is None or self.mask_B1R is None:
            return None
        inner = nn.functional.linear(args[0].to(self.down_RI.dtype), self.down_RI[self.range])
        return output + ((inner * self.mask_B1R) @ self.up_RO[self.range]).to(output.dtype)


class Adapters:
    """The adapters that one model is served with. load(), unload() and using() exclude each other.

    Args:
        model: plain transformers model; forward hooks are put on its linear layers.
        wrapped: whether peft has wrapped it, so that it carries an adapter already.
    """

    def __init__(self, model: nn.Module, wrapped: bool = False) -> None:
        self._model = model
        self._wrapped = wrapped
        self._handles: list[Any] = []
        self._beside: list[Beside] = []
        self._loaded: dict[str, Adapter] = {}
        self._stacked: list[Adapter] = []

    @property
    def names(self) -> tuple[str, ...]:
        """What requests may ask for."""
        return tuple(self._loaded)

    @property
    def possible(self) -> bool:
        """Whether load() may succeed."""
        return not self._wrapped

    def get(self, name: str) -> Adapter | None:
        """The adapter of that name now."""
        return self._loaded.get(name)

    def read(self, name: str, folder: Path) -> Adapter:
        """An adapter that fits the model; nothing changes yet.

        Raises:
            EngineError: it cannot be read or does not fit, or the model carries an adapter of its own.
            ModelError: it was trained on another model.
        """
        if self._wrapped:
            raise EngineError(
                f"adapter {name!r} cannot be loaded: the model carries an adapter already",
                "serve the plain model and name every adapter under infer.adapters, or " + MERGE,
            )
        adapter = read_adapter(name, folder, self._model)
        served = str(getattr(self._model, "name_or_path", "") or "")
        config = getattr(self._model, "config", None)
        check_base(folder, config.to_dict() if config is not None else {}, served)
        if adapter.base and served and Path(adapter.base).name != Path(served).name:
            logger.warning(
                "adapter %r fits, but its record names another base: %r, not %r", name, adapter.base, served
            )
        return adapter

    def load(self, adapter: Adapter, running: Collection[Adapter]) -> None:
        """Offer an adapter under its name; running ones stay until a later change."""
        self._loaded[adapter.name] = adapter
        self._stack(running)

    def unload(self, name: str, running: Collection[Adapter]) -> None:
        """Offer an adapter no longer.

        Raises:
            EngineError: there is none of that name.
        """
        if name not in self._loaded:
            raise EngineError(f"no adapter {name!r} is loaded", did_you_mean(name, self._loaded))
        del self._loaded[name]
        self._stack(running)

    @contextmanager
    def using(self, rows: Sequence[Adapter | None]) -> Iterator[None]:
        """Forward passes within take row i through the adapter rows[i]."""
        if not any(rows):
            yield
            return
        masks: dict[Layout, tuple[slice, torch.Tensor] | None] = {}
        for beside in self._beside:
            if beside.layout not in masks:
                masks[beside.layout] = select(beside.layout, rows, beside.down_RI)
            beside.range, beside.mask_B1R = masks[beside.layout] or (None, None)
        try:
            yield
        finally:
            for beside in self._beside:
                beside.range = beside.mask_B1R = None

    def _stack(self, running: Collection[Adapter]) -> None:
        for handle in self._handles:
            handle.remove()
        kept = list(dict.fromkeys([*self._loaded.values(), *running]))
        for gone in self._stacked:
            if gone not in kept:
                gone.factors.clear()  # prompts that were read with it may still name it
        self._stacked = kept
        layers = dict.fromkeys(layer for adapter in kept for layer in adapter.factors)
        self._handles, self._beside = [], []
        for layer in layers:
            module = self._model.get_submodule(layer)
            beside = stacked(layer, kept, module)
            self._beside.append(beside)
            self._handles.append(module.register_forward_hook(beside))


def stacked(layer: str, adapters: Sequence[Adapter], module: nn.Module) -> Beside:
    """The factors of all adapters that one layer has, in its precision where that is a float."""
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    found = [adapter for adapter in adapters if layer in adapter.factors]
    downs, ups = zip(*(adapter.factors[layer] for adapter in found), strict=True)
    layout = tuple((adapter, len(down)) for adapter, down in zip(found, downs, strict=True))
    return Beside(layout, torch.cat(downs).to(weight.device, dtype), torch.cat(ups).to(weight.device, dtype))


def select(
    layout: Layout, rows: Sequence[Adapter | None], like: torch.Tensor
) -> tuple[slice, torch.Tensor] | None:
    """(range of ranks that the rows need, mask [B, 1, R] over it); None: they need none of this layer's."""
    spans, end = {}, 0
    for adapter, rank in layout:
        spans[adapter] = (end, end + rank)
        end += rank
    needed = [spans[adapter] for adapter in set(rows) if adapter in spans]
    if not needed:
        return None
    low, high = min(first for first, _ in needed), max(last for _, last in needed)
    mask = torch.zeros(len(rows), 1, high - low)
    for row, wanted in enumerate(rows):
        if wanted in spans:
            first, last = spans[wanted]
            mask[row, 0, first - low : last - low] = 1
    return slice(low, high), mask.to(like.device, like.dtype)
