"""Counting what a run reports: exact means over micro-batches and ranks, throughput, peak memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from swift.core.types import IGNORE_INDEX, Batch, Metric

Reduce = Callable[[Tensor], Tensor]


class MetricSums:
    """Running sums of metrics between two reports; mean = sum(total) / sum(count)."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, metrics: Mapping[str, Metric]) -> None:
        """Add one micro-batch's metrics."""
        for name, metric in metrics.items():
            pair = torch.stack([_scalar(metric.total), _scalar(metric.count)])
            self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def drain(self, reduce: Reduce) -> dict[str, float]:
        """The means over everything added on every rank since the last drain.

        Args:
            reduce: sums a tensor over the ranks; every rank must have the same metric names.
        """
        names = sorted(self._sums)
        if not names:
            return {}
        sums = reduce(torch.stack([self._sums[name] for name in names]))
        self._sums.clear()
        return {name: (total / count).item() for name, (total, count) in zip(names, sums, strict=True)}


def _scalar(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64).detach().reshape(()).cpu()


def token_counts(batch: Batch) -> tuple[int, int]:
    """(tokens read, tokens learned) of one micro-batch, padding not counted."""
    mask = batch.get("attention_mask")
    tokens = int(mask.sum()) if mask is not None else int(batch["input_ids"].numel())
    labels = batch.get("labels")
    learned = batch.get("completion_mask") if labels is None else labels != IGNORE_INDEX
    return tokens, int(learned.sum()) if learned is not None else tokens


class Throughput:
    """Tokens a second between two reports, over all ranks, by the wall clock."""

    def __init__(self) -> None:
        self._tokens = torch.zeros(2, dtype=torch.float64)
        self._since = time.perf_counter()

    def add(self, batch: Batch) -> None:
        """Count one micro-batch."""
        self._tokens += torch.tensor(token_counts(batch), dtype=torch.float64)

    def drain(self, reduce: Reduce) -> dict[str, float]:
        """tokens_per_second and supervised_tokens_per_second since the last drain."""
        now = time.perf_counter()
        elapsed = max(now - self._since, 1e-9)
        tokens, learned = reduce(self._tokens.clone()).tolist()
        self._tokens.zero_()
        self._since = now
        return {"tokens_per_second": tokens / elapsed, "supervised_tokens_per_second": learned / elapsed}

    def pause(self) -> Callable[[], None]:
        """Stop the clock (evaluation, checkpoint); call the result to let it run again."""
        stopped = time.perf_counter()

        def resume() -> None:
            self._since += time.perf_counter() - stopped

        return resume


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held so far: allocated on the GPU, or resident in this process on CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
