"""What a run says of itself when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from swift.core.config.run import RunConfig
from swift.core.train.arguments import compute_dtype, learning_rate
from swift.core.train.parts import rank_and_world, resolved_model


def resolved_values(run: RunConfig, device: torch.device) -> dict[str, Any]:
    """What defaults turned into, for the record."""
    return {
        "learning_rate": learning_rate(run),
        "dtype": str(compute_dtype(run, device)).removeprefix("torch."),
        "device": str(device),
        "attn_implementation": resolved_model(run).attn_implementation or "sdpa",
        "world_size": rank_and_world()[1],
    }


def describe_data(summary: Mapping[str, Any], max_length: int) -> str:
    """One line that says what became of the rows, above all of those that are not trained on."""
    train = summary.get("train")
    if train is None:
        return "data: streamed"
    parts = [f"data: {train['rows']:,} rows, {train['samples']:,} samples, {train['tokens']:,} tokens"]
    if "packs" in train:
        parts.append(f"{train['packs']:,} packs, {train['fill']:.1%} full")
    if train.get("dropped"):
        parts.append(
            f"{train['dropped']:,} dropped (over data.max_length={max_length}, or nothing learned in them)"
        )
    if train.get("truncated"):
        parts.append(f"{train['truncated']:,} truncated to data.max_length={max_length}")
    filtered = sum(sum(source.get("rows_filtered", {}).values()) for source in summary["sources"])
    if filtered:
        parts.append(f"{filtered:,} rows dropped by data.filters")
    skipped = train["unencodable"] + sum(source["rows_skipped"] for source in summary["sources"])
    if skipped:
        parts.append(f"{skipped:,} unusable rows skipped")
    return "; ".join(parts)
