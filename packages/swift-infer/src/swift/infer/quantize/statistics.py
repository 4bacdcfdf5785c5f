"""What calibration keeps of the inputs of a linear layer: sums, never the inputs themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class InputStatistics:
    """Of inputs x with C channels.

    Attributes:
        gram: sum of x x^T [C, C]; sum of ||D x||^2 = tr(D gram D^T) for any change D of the weight.
        total: sum of |x| [C].
        peak: largest |x| [C].
        count: number of tokens.
    """

    gram: Tensor
    total: Tensor
    peak: Tensor
    count: int = 0

    @classmethod
    def empty(cls, channels: int, device: torch.device) -> InputStatistics:
        """Of nothing yet."""
        nothing = torch.zeros(channels, device=device)
        return cls(torch.zeros(channels, channels, device=device), nothing, nothing.clone())

    def add(self, inputs: Tensor) -> None:
        """Take in inputs [..., C]."""
        rows = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        self.gram.addmm_(rows.T, rows)
        sizes = rows.abs()
        self.total += sizes.sum(0)
        self.peak = torch.maximum(self.peak, sizes.amax(0))
        self.count += len(rows)

    def divided(self, factor: Tensor) -> InputStatistics:
        """Of inputs divided by factor [C]."""
        gram = self.gram / torch.outer(factor, factor)
        return InputStatistics(gram, self.total / factor, self.peak / factor, self.count)


class Observer:
    """Statistics of several layers; layers that are given the very same tensor share one.

    Attributes:
        statistics: by layer name; layers that never ran are absent.
    """

    def __init__(self) -> None:
        self.statistics: dict[str, InputStatistics] = {}
        self._owners: set[str] = set()
        self._latest: tuple[Tensor, InputStatistics] | None = None

    def see(self, name: str, layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A forward pre-hook of the layer of that name."""
        inputs: Tensor = arguments[0]
        if name not in self.statistics:
            if self._latest is not None and self._latest[0] is inputs:
                self.statistics[name] = self._latest[1]
                return
            self.statistics[name] = InputStatistics.empty(inputs.shape[-1], inputs.device)
            self._owners.add(name)
        if name in self._owners:
            self.statistics[name].add(inputs)
            self._latest = (inputs, self.statistics[name])

    @contextmanager
    def watching(self, layers: Mapping[str, nn.Module]) -> Iterator[None]:
        """Look at everything that these layers are given."""
        handles = [layer.register_forward_pre_hook(partial(self.see, name)) for name, layer in layers.items()]
        try:
            yield
        finally:
            self._latest = None
            for handle in handles:
                handle.remove()
