"""One of two ranks that train with every optimiser under DDP; ARGUMENTS = (rank, store, cases, out)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from swift.core.config.schema import OptimConfig
from swift.core.registry import optimizers
from swift.core.train.optimizer import build_optimizer

STEPS = 3


def model() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    built: nn.Module = transformers.AutoModelForCausalLM.from_config(config)
    return built


def trained(name: str, settings: dict[str, Any], rank: int, ranks: int) -> dict[str, Tensor]:
    """Weights after some steps; each rank has its share of each batch of four."""
    plain = model()
    config = OptimConfig.model_validate({"optim": name, "optim_config": settings})
    optimizer = build_optimizer(optimizers.get(name), plain, config, 1e-3)
    wrapped = DistributedDataParallel(plain) if ranks > 1 else plain
    for step in range(STEPS):
        tokens = torch.randint(0, 64, (4, 12), generator=torch.Generator().manual_seed(step))[rank::ranks]
        optimizer.zero_grad()
        wrapped(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    return {key: value.detach() for key, value in plain.named_parameters()}


def main(rank: int, store: str, cases: dict[str, tuple[str, dict[str, Any]]], out: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    results = {title: trained(name, settings, rank, 2) for title, (name, settings) in cases.items()}
    torch.save(results, out / f"rank-{rank}.pt")
    if rank == 0:
        alone = {title: trained(name, settings, 0, 1) for title, (name, settings) in cases.items()}
        torch.save(alone, out / "alone.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*globals()["ARGUMENTS"])
