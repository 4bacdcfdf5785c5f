"""Two ranks move alike, and as one process does with both their shares."""

from __future__ import annotations

import multiprocessing
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from swift.core.errors import ConfigError
from swift.tuners.optimizers.galore import Galore

Case = tuple[str, dict[str, Any]]
SCRIPT = Path(__file__).with_name("ranks.py")


def test_every_optimizer_under_ddp(cases: dict[str, Case], tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # imports once for both
    context.set_forkserver_preload(["swift.core.train.worker", "swift.core.train.run"])
    processes = [
        context.Process(
            target=runpy.run_path,
            args=(str(SCRIPT), {"ARGUMENTS": (rank, str(tmp_path / "store"), cases, tmp_path)}, "__main__"),
        )
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
    assert [process.exitcode for process in processes] == [0, 0]
    first, second, alone = (torch.load(tmp_path / name) for name in ("rank-0.pt", "rank-1.pt", "alone.pt"))
    for title in cases:
        for key, value in first[title].items():
            assert torch.equal(value, second[title][key]), (title, key)
        # Sums in another order change gradients near zero, whose sign alone moves a weight of Adam's.
        near = [
            (value - alone[title][key]).abs().le(2e-5).float().mean() for key, value in first[title].items()
        ]
        assert min(near) > 0.97, title


def test_layerwise_updates_need_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the ranks came about."""
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    layer = nn.Linear(8, 8)
    with pytest.raises(ConfigError, match="need one process, and there are 2"):
        Galore(list(layer.parameters()), model=layer, rank=2, layerwise=True)
