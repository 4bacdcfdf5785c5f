"""Measuring a model on held-out data, outside of the training loop's bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from swift.core.metrics.gathered import Gathered
from swift.core.protocols import Objective
from swift.core.types import Batch, Encoded


class Samples(Protocol):
    """Samples or packs by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Encoded | list[Encoded]: ...


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """eval() without gradients, and the former mode back afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def evaluate_loss(
    model: nn.Module,
    objective: Objective,
    dataset: Samples,
    *,
    batch_size: int,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    reduce: Callable[[Tensor], Tensor] | None = None,
    gathered: Gathered | None = None,
) -> dict[str, float]:
    """Mean loss and metrics over a data set: sum of all losses / count of all units, in float64.

    Args:
        dataset: samples or packs; this rank takes every world_size-th one from its own on.
        reduce: sums a tensor over the ranks.
        gathered: takes the objective's predictions for this rank's samples.
    """
    reduce = reduce or _unchanged
    totals = torch.zeros(2, dtype=torch.float64)
    sums: dict[str, Tensor] = {}
    one = torch.ones((), device=device)
    if len(dataset) < world_size:  # too little to share: every rank measures all of it
        rank, world_size, reduce = 0, 1, _unchanged
    with evaluation_mode(model):
        for items in _shares(dataset, batch_size, rank, world_size):
            batch = objective.collate(samples(items or [dataset[0]]))
            (ready,) = objective.prepare(model, [to_device(batch, device)], 0)
            output = objective.loss(model, ready, one)
            if not items:  # all ranks make the same calls, whatever a loss has to agree on
                continue
            if gathered is not None:
                gathered.add(objective.predict(model, ready))
            count = torch.as_tensor(objective.count(ready))
            totals += torch.stack([output.loss.double().cpu(), count.double().cpu()])
            for name, metric in output.metrics.items():
                pair = torch.tensor([float(metric.total), float(metric.count)], dtype=torch.float64)
                sums[name] = sums.get(name, torch.zeros(2, dtype=torch.float64)) + pair
    total, count = reduce(totals).tolist()
    figures = {"loss": total / max(count, 1.0)}
    for name in sorted(sums):
        value, weight = reduce(sums[name]).tolist()
        figures[name] = value / max(weight, 1e-12)
    return figures


def _shares(
    dataset: Samples, batch_size: int, rank: int, world_size: int
) -> Iterator[list[Encoded | list[Encoded]]]:
    """This rank's batches: as many as every other rank has, the last ones perhaps empty."""
    mine = range(rank, len(dataset), world_size)
    most = -(-len(dataset) // world_size)
    for start in range(0, most, batch_size):
        yield [dataset[index] for index in mine[start : start + batch_size]]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move the tensors of a batch."""

    def move(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    return {key: move(value) for key, value in batch.items()}


def samples(items: Sequence[Encoded | list[Encoded]]) -> list[Encoded]:
    """Samples of a micro-batch whose items may be packs."""
    return [sample for item in items for sample in (item if isinstance(item, list) else [item])]


def _unchanged(values: Tensor) -> Tensor:
    return values
