"""What a quantisation method is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Job:
    """One export.

    Attributes:
        model: a plain transformers model of its own, to be changed and written.
        processor: its tokenizer or processor.
        folder: where the files go; exists and is empty.
        rows: calibration rows, token ids [T] each; empty for methods that need none.
        device: where blocks are computed.
        max_shard_size: largest weight file.
        say: takes lines about the progress.
    """

    model: Any
    processor: Any
    folder: Path
    rows: Sequence[Tensor]
    device: torch.device
    max_shard_size: str
    say: Callable[[str], None] = field(default=print)
