"""Two ranks that hold the model under DDP or FSDP2 compute what one process does."""

from __future__ import annotations

import multiprocessing
import os
import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM

from swift.core.models.fused_head import fuse_head
from swift.core.objectives.logits import logits_at, losses_at

CONFIG = LlamaConfig(
    vocab_size=97,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
ROWS = 4
WRAPPERS = ("ddp", "fsdp2", "frozen")


def build(frozen: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG)
    if frozen:  # the tied head, too
        model.get_input_embeddings().requires_grad_(False)
    return model


def batch(rows: slice) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    ids = torch.randint(1, 97, (ROWS, 10), generator=torch.Generator().manual_seed(1))[rows]
    wanted = torch.zeros(len(ids), 9, dtype=torch.bool)
    wanted[:, 3:] = True
    return {"input_ids": ids}, wanted, ids[:, 1:][wanted]


def wrap(model: nn.Module, wrapper: str) -> nn.Module:
    if wrapper == "ddp":
        distributed_model: nn.Module = DistributedDataParallel(model)
        return distributed_model
    mesh = init_device_mesh("cpu", (2,))
    for layer in model.get_submodule("model.layers").children():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    return model


def on_rank(rank: int, wrapper: str, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", f"file://{folder / 'store'}", rank=rank, world_size=2)
    try:
        model = build(wrapper == "frozen")
        assert fuse_head(model) is None
        wrapped = wrap(model, wrapper)
        inputs, wanted, targets = batch(slice(2 * rank, 2 * rank + 2))
        found = losses_at(wrapped, inputs, wanted, targets)
        assert found is not None
        found.nll_N.mean().backward()
        gradients = {
            name: parameter.grad.full_tensor() if isinstance(parameter.grad, DTensor) else parameter.grad
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
        torch.save((found.nll_N.detach(), gradients), folder / f"{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_two_ranks_equal_one_process(wrapper: str, tmp_path: Path) -> None:
    model = build(wrapper == "frozen")
    inputs, wanted, targets = batch(slice(0, ROWS))
    logits = logits_at(model, inputs, wanted)
    expected = nn.functional.cross_entropy(logits, targets, reduction="none")
    expected.mean().backward()
    # Not forked from here: threads that other tests have started would be missing in a rank.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["swift.core.train.worker", "swift.core.train.run"])
    ranks = [
        server.Process(
            target=runpy.run_path,
            args=(__file__, {"ARGUMENTS": (rank, wrapper, tmp_path)}, "__main__"),
        )
        for rank in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([nll for nll, _ in parts]), expected.detach(), rtol=1e-5, atol=1e-5)
    for _, gradients in parts:
        for name, parameter in model.named_parameters():
            assert (name in gradients) is (parameter.grad is not None)
            if parameter.grad is not None:
                torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    on_rank(*ARGUMENTS)  # type: ignore[name-defined]  # noqa: F821 (given by runpy)
