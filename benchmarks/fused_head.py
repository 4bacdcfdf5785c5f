"""Tokens a second and peak memory of a head's loss and its gradients, fused and from all logits.

    uv run python benchmarks/fused_head.py

Each case runs in a process of its own; cases take turns, and medians are printed. Memory is what the process
holds at most beyond what it held before its first step: gradients and temporary tensors, not its inputs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from swift.kernels import linear_cross_entropy

HEADS = {"32k": (256, 32_000), "152k": (1024, 151_936)}
WAYS = ("logits", "fused", "reference")


def loss(way: str, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    if way == "logits":
        return functional.cross_entropy(functional.linear(hidden, weight).float(), targets)
    return linear_cross_entropy(
        hidden, weight, targets, implementation="native" if way == "fused" else "reference"
    ).mean()


class PeakMemory:
    """The largest resident set of this process, looked at every millisecond."""

    def __init__(self) -> None:
        self.start = self.peak = self._resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.001):
            self.peak = max(self.peak, self._resident())

    @staticmethod
    def _resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(way: str, head: str, dtype: str, trains: bool, tokens: int, threads: int, steps: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    width, vocabulary = HEADS[head]
    precision = getattr(torch, dtype)
    hidden = torch.randn(tokens, width).to(precision).requires_grad_()
    weight = (torch.randn(vocabulary, width) * 0.02).to(precision).requires_grad_(trains)
    targets = torch.randint(vocabulary, (tokens,))
    few = torch.arange(8)
    torch.autograd.backward(loss(way, hidden[few], weight, targets[few]))  # threads and kernels are ready
    seconds = []
    with PeakMemory() as memory:
        for _ in range(steps):
            hidden.grad = weight.grad = None
            started = time.perf_counter()
            torch.autograd.backward(loss(way, hidden, weight, targets))
            seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": statistics.median(seconds), "bytes": memory.peak - memory.start}))


def case(way: str, head: str, dtype: str, trains: bool, arguments: argparse.Namespace) -> tuple[float, float]:
    """Seconds a step and bytes, of a process of its own."""
    command = [sys.executable, __file__, "--case", way, head, dtype, str(int(trains))]
    for name in ("tokens", "threads", "steps"):
        command += [f"--{name}", str(getattr(arguments, name))]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer["seconds"], answer["bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=1024, help="supervised tokens of a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="of each process")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each case")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        way, head, dtype, trains = arguments.case
        measure(way, head, dtype, trains == "1", arguments.tokens, arguments.threads, arguments.steps)
        return
    print(f"{arguments.tokens} tokens, {arguments.threads} threads, medians of {arguments.repeats} processes")
    print(
        f"{'head':<6}{'dtype':<10}{'weight':<8}{'way':<10}{'tokens/s':>10}{'ratio':>7}{'MB':>9}{'ratio':>7}"
    )
    for head in arguments.heads:
        for dtype in ("float32", "bfloat16"):
            for trains in (False, True):
                compare(head, dtype, trains, arguments)


def compare(head: str, dtype: str, trains: bool, arguments: argparse.Namespace) -> None:
    """Print a line for each way, with ratios to the plain one."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            found[way].append(case(way, head, dtype, trains, arguments))
    medians = {
        way: [statistics.median(column) for column in zip(*runs, strict=True)] for way, runs in found.items()
    }
    seconds, size = medians["logits"]
    for way, (own_seconds, own_size) in medians.items():
        print(
            f"{head:<6}{dtype:<10}{'trains' if trains else 'frozen':<8}{way:<10}"
            f"{arguments.tokens / own_seconds:>10.0f}{seconds / own_seconds:>7.2f}"
            f"{own_size / 1e6:>9.0f}{own_size / size:>7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
