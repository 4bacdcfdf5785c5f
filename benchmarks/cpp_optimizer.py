"""Cost of an adapted optimizer in C++ against torch.optim.AdamW, and of compiling and loading it.

Run it as: python benchmarks/cpp_optimizer.py --steps 30
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from swift.core.train.foreign_optimizer import adapt_optimizer
from swift.plugin.native import load_native

SOURCE = Path(__file__).parents[1] / "examples/plugins/cpp_optimizer/custom_optimizer_lib.cpp"
LR = 1e-3
Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def parameters() -> list[nn.Parameter]:
    """13 million weights in the shapes of a small decoder: an embedding, eight blocks."""
    block = [(512, 512)] * 2 + [(128, 512)] * 2 + [(512, 640), (640, 512)] + [(512,)] * 2
    shapes = [(4096, 512), *block * 8]
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """Median of `repeats` timed calls."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def seconds_of_step(make: Make, params: list[nn.Parameter], lr: float, steps: int) -> float:
    """Median of one step at a rate that the schedule has set."""
    optimizer = make(params)
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step()
    return seconds_of(optimizer.step, steps)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    steps = parser.parse_args().steps
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        print(f"compile: {seconds_of(lambda: load_native(SOURCE, build_root=cache), 1):.1f} s")
        print(f"unchanged: {1e3 * seconds_of(lambda: load_native(SOURCE, build_root=cache), 5):.1f} ms")
        library = load_native(SOURCE, build_root=cache)
        params = parameters()
        for param in params:
            param.grad = torch.randn_like(param)

        def adapted(given: list[nn.Parameter]) -> torch.optim.Optimizer:
            created = library.CustomAdamW(given, lr=LR, weight_decay=0.01)
            return adapt_optimizer(created, given, lr=LR)

        rows: list[tuple[str, Make, float]] = [
            ("torch AdamW, for loop", lambda given: torch.optim.AdamW(given, lr=LR, foreach=False), LR),
            ("torch AdamW, foreach", lambda given: torch.optim.AdamW(given, lr=LR, foreach=True), LR),
            ("torch AdamW, fused", lambda given: torch.optim.AdamW(given, lr=LR, fused=True), LR),
            ("C++ AdamW, adapted, at its own rate", adapted, LR),
            ("C++ AdamW, adapted, update scaled", adapted, LR / 2),
        ]
        print(f"one step on {sum(param.numel() for param in params) / 1e6:.1f} M parameters:")
        for name, make, lr in rows:
            print(f"  {name:<36} {1e3 * seconds_of_step(make, params, lr, steps):7.1f} ms")


if __name__ == "__main__":
    main()
