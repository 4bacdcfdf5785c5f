"""GaLore's projection: randomised against full SVD, and the fused way back against a second full-size matrix.

    python benchmarks/low_rank.py [--shapes 1024x1024 1024x4096] [--rank 128] [--repeats 5] [--threads 2]
                                  [--device cpu]

The gradient is that of a linear layer: activations of 64 directions and noise. For each shape: seconds of
each basis (medians), the share of the gradient's energy that it holds, and seconds of W += P N with the
memory beside it.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from swift.kernels.low_rank import LowRankImplementation, Projection, add_back_, project, subspace


def gradient(rows: int, columns: int, device: str) -> Tensor:
    """Rank 64 with falling singular values, and noise."""
    torch.manual_seed(0)
    scales = torch.logspace(0, -2, 64)
    low = torch.randn(rows, 64) * scales @ torch.randn(64, columns)
    return (low + 0.05 * torch.randn(rows, columns)).to(device)


def seconds(act: Callable[[], object], repeats: int, device: str) -> float:
    """Median of some runs after one that is not counted."""

    def once() -> float:
        start = time.perf_counter()
        act()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=["1024x1024", "1024x4096"])
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for shape in options.shapes:
        rows, columns = (int(size) for size in shape.split("x"))
        measure(gradient(rows, columns, options.device), options.rank, options.repeats, options.device)


def measure(full: Tensor, rank: int, repeats: int, device: str) -> None:
    """Print the figures of one shape."""
    rows, columns = full.shape
    print(f"{rows} x {columns}, rank {rank}, {device}")
    taken: dict[str, float] = {}
    for projection in get_args(Projection):
        basis = subspace(full, rank, "left", projection=projection)
        held = (project(full, basis, "left").square().sum() / full.square().sum()).item()
        act = functools.partial(subspace, full, rank, "left", projection=projection)
        taken[projection] = seconds(act, repeats, device)
        print(f"  {projection:10s} {taken[projection]:8.4f} s, holds {held:.2%} of the energy")
    print(f"  randomized is {taken['svd'] / taken['randomized']:.1f} times as fast")
    low, weight = project(full, basis, "left"), torch.zeros_like(full)
    for implementation in get_args(LowRankImplementation):
        add = functools.partial(
            add_back_, weight, low, basis, "left", alpha=1e-3, implementation=implementation
        )
        back = seconds(add, repeats, device)
        beside = 0 if implementation == "fused" else full.nbytes
        print(
            f"  back, {implementation:10s} {back * 1e3:8.2f} ms, {beside / 2**20:.0f} MiB beside the weight"
        )


if __name__ == "__main__":
    main()
