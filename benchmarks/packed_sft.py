"""Tokens a second of packed, padding-free and padded fine-tuning on one instruction data set, in one run.

    uv run python benchmarks/packed_sft.py alpaca_en_demo.json

The three layouts train the same tiny Qwen3 on the same rows in turn, several times; padding is not counted as
tokens. Printed are medians and their ratios to padded batches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from swift.core.config.run import run_from_dict
from swift.core.console import quiet_libraries
from swift.core.train.run import train_in_process

LAYOUTS: dict[str, dict[str, Any]] = {
    "padded": {"data": {}, "train": {"per_device_train_batch_size": 8}},
    "padding-free": {"data": {"padding_free": True}, "train": {"per_device_train_batch_size": 8}},
    "packed": {"data": {"packing": True}, "train": {"per_device_train_batch_size": 1}},
}


def tokens_per_second(layout: dict[str, Any], data: Path, steps: int, max_length: int) -> float:
    """Median over the steps of one run, its first two left out."""
    with tempfile.TemporaryDirectory() as folder:
        sections = {
            "model": {"model_id": "tiny/qwen3"},
            "data": {"dataset_name": str(data), "max_length": max_length, **layout["data"]},
            "train": {"output_dir": folder, "max_steps": steps, **layout["train"]},
        }
        sections["train"]["progress"] = False
        train_in_process(run_from_dict(sections))
        rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    speeds: list[float] = [row["tokens_per_second"] for row in rows[2:] if "tokens_per_second" in row]
    return statistics.median(speeds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="instruction data, such as alpaca_en_demo.json")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=2048, help="longest sample, and capacity of a pack")
    parser.add_argument("--threads", type=int, default=1, help="of torch; one is steadier on a busy machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    quiet_libraries()
    speeds: dict[str, list[float]] = {name: [] for name in LAYOUTS}
    for _ in range(arguments.repeats):
        for name, layout in LAYOUTS.items():
            speeds[name].append(
                tokens_per_second(layout, arguments.data, arguments.steps, arguments.max_length)
            )
    base = statistics.median(speeds["padded"])
    print(
        f"{'layout':<14}{'tokens/s':>10}{'ratio':>8}   of {arguments.repeats} runs x {arguments.steps} steps"
    )
    for name, values in speeds.items():
        median = statistics.median(values)
        print(f"{name:<14}{median:>10.0f}{median / base:>8.2f}   {min(values):.0f} to {max(values):.0f}")


if __name__ == "__main__":
    main()
