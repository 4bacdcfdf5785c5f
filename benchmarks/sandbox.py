"""Cost of a call into a sandboxed plugin over the same call in process, and of starting one.

Run it as: OMP_NUM_THREADS=1 python benchmarks/sandbox.py, and with torch's own number of threads as
python benchmarks/sandbox.py --threads 0
"""

import argparse
import functools
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from swift.plugin.sandbox import SandboxLimits, load_sandboxed

PLUGIN = """
import torch
import torch.nn.functional as F
from swift.plugin import register_loss, register_metric

@register_loss("bench_cross_entropy")
def cross_entropy(inputs, targets):
    return F.cross_entropy(inputs, targets)

@register_loss("bench_focal")
def focal(inputs, targets):
    bce = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    return ((1 - torch.exp(-bce)) ** 2 * bce).mean()

@register_metric("bench_mean")
def mean(predictions, references):
    return predictions.mean() - references.mean()
"""

TARGET_US = 100  # over the same call in process, at 1M numbers


def cross_entropy(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(inputs, targets)


def focal(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    bce = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    return ((1 - torch.exp(-bce)) ** 2 * bce).mean()


def mean(predictions: torch.Tensor, references: torch.Tensor) -> float:
    return float(predictions.mean() - references.mean())


def with_gradient(loss: Callable[..., Any], scale: float) -> Callable[[torch.Tensor, Any], None]:
    """Forward and backward of scale * loss: a trainer divides by the number of micro-batches."""

    def call(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        value = loss(inputs.detach().requires_grad_(), targets)
        (value if scale == 1.0 else value * scale).backward()

    return call


def paired_us(one: Callable[[], Any], other: Callable[[], Any], repeats: int) -> tuple[float, float, float]:
    """Medians of alternating calls (so that both meet the same noise), and of their differences."""
    for _ in range(5):
        one(), other()
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        started = time.perf_counter()
        one()
        between = time.perf_counter()
        other()
        times.append((between - started, time.perf_counter() - between))
    middle = [1e6 * statistics.median(column) for column in zip(*times, strict=True)]
    return middle[0], middle[1], 1e6 * statistics.median(b - a for a, b in times)


def inputs_of(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of count numbers with class targets and with a target for each."""
    generator = torch.Generator().manual_seed(0)
    rows = max(1, count // 1024)
    logits = torch.randn(rows, count // rows, generator=generator)
    return (
        logits,
        torch.randint(0, logits.shape[1], (rows,), generator=generator),
        torch.rand(logits.shape, generator=generator),
    )


def rows(count: int, parts: dict[str, Any], repeats: int) -> None:
    logits, classes, soft = inputs_of(count)
    cases: list[tuple[str, Callable[..., Any], Callable[..., Any], torch.Tensor]] = [
        ("metric: mean", mean, parts["bench_mean"], classes[:1].float()),
        ("cross entropy, value", cross_entropy, parts["bench_cross_entropy"], classes),
    ]
    for name, function, targets in (("cross_entropy", cross_entropy, classes), ("focal", focal, soft)):
        plain, sandboxed = (with_gradient(each, 1.0) for each in (function, parts[f"bench_{name}"]))
        cases.append((f"{name}, gradient", plain, sandboxed, targets))
    plain, sandboxed = (with_gradient(each, 0.25) for each in (cross_entropy, parts["bench_cross_entropy"]))
    cases.append(("cross_entropy, gradient, scaled", plain, sandboxed, classes))
    for label, plain, sandboxed, targets in cases:
        calls = [functools.partial(each, logits, targets) for each in (plain, sandboxed)]
        local, remote, over = paired_us(calls[0], calls[1], repeats)
        target = f"{TARGET_US:>6} {'met' if over <= TARGET_US else 'missed'}" if count == 1 << 20 else ""
        print(f"{count:>9,}  {label:<32} {local:>10.1f} {remote:>10.1f} {over:>+10.1f}  {target}")


def start_ms(file: Path, threads: int) -> float:
    """Time to start a process, lock it down and load the plugin."""
    started = time.perf_counter()
    offers = load_sandboxed(file, SandboxLimits(threads=threads))
    taken = 1e3 * (time.perf_counter() - started)
    offers[0].target.process.close()  # type: ignore[attr-defined]
    return taken


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1024, 1 << 20], help="numbers in the logits"
    )
    parser.add_argument("--repeats", type=int, default=100, help="timed calls; medians are printed")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of torch, on either side; 0: as it likes"
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    threads = args.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    print(
        f"median of {args.repeats}, {threads} thread(s), torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plugin.py")
        file.write_text(PLUGIN)
        cold = start_ms(file, threads)
        warm = statistics.median(start_ms(file, threads) for _ in range(10))
        print(f"start, lock-down and loading: {cold:.0f} ms the first, {warm:.0f} ms each further one")
        print(f"{'numbers':>9}  {'call':<32} {'in process':>10} {'sandboxed':>10} {'over':>10}  target  (us)")
        offers = load_sandboxed(file, SandboxLimits(threads=threads))
        parts = {offer.name: offer.target() for offer in offers}
        for count in args.counts:
            rows(count, parts, args.repeats)
        parts["bench_mean"].process.close()
    print(f"\nrepeat: {shlex.join(['python', *sys.argv])}")


if __name__ == "__main__":
    main()
