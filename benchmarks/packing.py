"""Time and fill of swift.kernels.pack, against its Python reference and, if it is installed, TRL.

Run it as: python benchmarks/packing.py --n 1000000 --capacity 4096
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from swift.kernels import Packing, native_available, pack

Lengths = npt.NDArray[np.int64]


def lognormal(rng: np.random.Generator, n: int, capacity: int) -> Lengths:
    """Median 200 tokens, mean about 330: instructions and answers."""
    return np.clip(rng.lognormal(np.log(200), 1.0, n), 1, capacity).astype(np.int64)


def documents(rng: np.random.Generator, n: int, capacity: int) -> Lengths:
    """Median 1,000 tokens, heavy tail, truncated: at 4,096 one document in ten fills a bin alone."""
    return np.clip(rng.lognormal(np.log(1000), 1.1, n), 1, capacity).astype(np.int64)


def mixture(rng: np.random.Generator, n: int, capacity: int) -> Lengths:
    """90 % short turns (geometric, mean 150), 10 % long ones (uniform, at least half the capacity)."""
    short = rng.geometric(1 / 150, n)
    long = rng.integers(capacity // 2, capacity + 1, n)
    return np.clip(np.where(rng.random(n) < 0.9, short, long), 1, capacity).astype(np.int64)


def uniform(rng: np.random.Generator, n: int, capacity: int) -> Lengths:
    """Every length equally often: the most bins to search, so the slowest case."""
    return rng.integers(1, capacity + 1, n)


DISTRIBUTIONS = {f.__name__: f for f in (lognormal, documents, mixture, uniform)}


def seconds_of(call: Callable[[], Any], repeats: int) -> float:
    """Median of `repeats` timed calls."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def describe(name: str, lengths: Lengths, capacity: int, repeats: int) -> Packing:
    packing = pack(lengths, capacity)
    seconds = seconds_of(lambda: pack(lengths, capacity), repeats)
    no_fewer_than = -(-packing.num_tokens // capacity)
    print(
        f"{name:<10} median {int(np.median(lengths)):>5}  {seconds:>7.3f} s  fill {packing.fill:>8.4%}  "
        f"{packing.num_bins:>7,} bins (any packing needs {no_fewer_than:,})"
    )
    return packing


def trl_packer(lengths: Lengths, capacity: int) -> Callable[[], Any] | None:
    """TRL's `pack_dataset` (best-fit decreasing). Its time includes copying the tokens, one byte each."""
    try:
        pa, datasets, trl = (import_module(name) for name in ("pyarrow", "datasets", "trl.data_utils"))
    except ImportError:
        return None
    datasets.disable_caching()
    datasets.disable_progress_bars()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = pa.array(np.zeros(offsets[-1], dtype=np.int8))
    rows = datasets.Dataset(pa.table({"input_ids": pa.LargeListArray.from_arrays(pa.array(offsets), tokens)}))
    # One batch of all rows: packing a thousand rows at a time (the default) fills less.
    return lambda: trl.pack_dataset(rows, capacity, "bfd", {"batch_size": len(rows)})


def compare(lengths: Lengths, capacity: int, repeats: int) -> None:
    native = seconds_of(lambda: pack(lengths, capacity), repeats)
    others: dict[str, Callable[[], Any] | None] = {
        "Python reference": lambda: pack(lengths, capacity, implementation="reference"),
        "trl pack_dataset": trl_packer(lengths, capacity),
    }
    print(f"\nlognormal, n = {len(lengths):,}: swift.kernels.pack {native:.4f} s")
    for name, call in others.items():
        if call is None:
            print(f"{name:<17} not installed")
            continue
        fill = lengths.sum() / (len(call()) * capacity)
        seconds = seconds_of(call, repeats)
        print(f"{name:<17} {seconds:>8.4f} s  fill {fill:.4%}  {seconds / native:>7.1f} times as long")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000, help="sequences (default: %(default)s)")
    parser.add_argument("--capacity", type=int, default=4096, help="tokens in a bin (default: %(default)s)")
    parser.add_argument(
        "--distribution",
        nargs="+",
        choices=list(DISTRIBUTIONS),
        default=list(DISTRIBUTIONS),
        help="default: all",
    )
    parser.add_argument("--compare-n", type=int, default=100_000, help="sequences in the comparison; 0: none")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls; the median is printed")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    print(
        f"n = {args.n:,}, capacity {args.capacity:,}, median of {args.repeats}, seed {args.seed}, "
        f"{'native' if native_available() else 'Python reference (the compiled module is missing)'}, "
        f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"{platform.machine()}, {os.cpu_count()} CPUs"
    )
    for name in args.distribution:
        rng = np.random.default_rng(args.seed)
        describe(name, DISTRIBUTIONS[name](rng, args.n, args.capacity), args.capacity, args.repeats)
    if args.compare_n:
        rng = np.random.default_rng(args.seed)
        compare(lognormal(rng, args.compare_n, args.capacity), args.capacity, args.repeats)
    print(f"\nrepeat: {shlex.join(['python', *sys.argv])}")


if __name__ == "__main__":
    main()
