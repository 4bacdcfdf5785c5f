"""Cost of a call into a sandboxed plugin over the same call in process, and of starting one.

Inputs lie in shared memory (made there), are copied there, or are gathered there from a larger tensor, which
is what a training run does with its logits.

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from swift.core.objectives.rows import Rows
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


def paired_us(
    one: Callable[[], Any], other: Callable[[], Any], repeats: int, quantile: float
) -> tuple[float, float, float]:
    """Quantiles of alternating calls (so that both meet the same noise), and the difference of these."""
    for _ in range(5):
        one(), other()
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        started = time.perf_counter()
        one()
        between = time.perf_counter()
        other()
        times.append((between - started, time.perf_counter() - between))
    local, remote = (
        1e6 * sorted(column)[round(quantile * (repeats - 1))] for column in zip(*times, strict=True)
    )
    return local, remote, remote - local


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


def gathering(loss: Callable[..., Any], index: torch.Tensor) -> Callable[[torch.Tensor, Any], Any]:
    """Rows of a larger tensor gathered where the loss wants them, as an objective does, and their loss."""

    def call(source: torch.Tensor, targets: torch.Tensor) -> Any:
        return loss(Rows(source, index).gathered_for(loss), targets)

    return call


Function = Callable[[torch.Tensor, torch.Tensor], Any]


def cases(parts: dict[str, Any], count: int) -> Iterator[tuple[str, Function, Function]]:
    """Name, function in process, and sandboxed one: loss or metric of inputs and targets."""
    sandboxed = parts["bench_cross_entropy"]
    yield "metric: mean", mean, parts["bench_mean"]
    yield "cross_entropy, value", cross_entropy, sandboxed
    for name, function in (("cross_entropy", cross_entropy), ("focal", focal)):
        yield (
            f"{name}, gradient",
            with_gradient(function, 1.0),
            with_gradient(parts[f"bench_{name}"], 1.0),
        )
    yield (
        "cross_entropy, gradient, scaled",
        with_gradient(cross_entropy, 0.25),
        with_gradient(sandboxed, 0.25),
    )
    index = torch.arange(max(1, count // 1024))
    plain, gathered = gathering(cross_entropy, index), gathering(sandboxed, index)
    yield "gather, cross_entropy, value", plain, gathered
    yield "gather, cross_entropy, gradient", with_gradient(plain, 1.0), with_gradient(gathered, 1.0)


def rows(count: int, parts: dict[str, Any], repeats: int, quantile: float) -> None:
    logits, classes, soft = inputs_of(count)
    lying = parts["bench_cross_entropy"].empty_inputs(logits.dtype, logits.shape).copy_(logits)
    for label, plain, sandboxed in cases(parts, count):
        targets = soft if "focal" in label else classes[:1].float() if "metric" in label else classes
        local = functools.partial(plain, logits, targets)
        for where, inputs in (("shared", lying), ("copied", logits)):
            if label.startswith("gather"):
                if where == "copied":
                    continue
                where, inputs = "gathered", logits
            one, other, over = paired_us(
                local, functools.partial(sandboxed, inputs, targets), repeats, quantile
            )
            target = f"{TARGET_US:>6} {'met' if over <= TARGET_US else 'missed'}" if count == 1 << 20 else ""
            print(f"{count:>9,}  {label:<32} {where:<9} {one:>10.1f} {other:>10.1f} {over:>+10.1f}  {target}")


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
    parser.add_argument("--repeats", type=int, default=100, help="timed calls")
    parser.add_argument(
        "--quantile",
        type=float,
        default=0.5,
        help="of the times; lower than the median where others work too",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of torch, on either side; 0: as it likes"
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    threads = args.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    print(
        f"quantile {args.quantile} of {args.repeats}, {threads} thread(s), torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plugin.py")
        file.write_text(PLUGIN)
        cold = start_ms(file, threads)
        warm = statistics.median(start_ms(file, threads) for _ in range(10))
        print(f"start, lock-down and loading: {cold:.0f} ms the first, {warm:.0f} ms each further one")
        print(
            f"{'numbers':>9}  {'call':<32} {'inputs':<9} {'in process':>10} {'sandboxed':>10} {'over':>10}  "
            "target  (us)"
        )
        offers = load_sandboxed(file, SandboxLimits(threads=threads))
        parts = {offer.name: offer.target() for offer in offers}
        for count in args.counts:
            rows(count, parts, args.repeats, args.quantile)
        parts["bench_mean"].process.close()
    print(f"\nrepeat: {shlex.join(['python', *sys.argv])}")


if __name__ == "__main__":
    main()
