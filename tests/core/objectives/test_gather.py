"""Negatives of other ranks: two processes together compute what one does that sees everything."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.nn import functional

from swift.core.objectives.embed.candidates import Texts, cosines_with_candidates
from swift.core.objectives.embed.losses import infonce

ANCHORS = 5
SPLIT = {0: (0, 3), 1: (3, 5)}  # ranks with unequal shares


def data() -> tuple[Tensor, Tensor, Tensor]:
    """Raw anchors, one positive and one negative text each."""
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(ANCHORS, 6, generator=generator),
        torch.randn(2 * ANCHORS, 6, generator=generator),
        torch.randn(6, 6, generator=generator),
    )


def loss_and_gradient(first: int, end: int) -> tuple[float, list[float]]:
    """Loss of some of the anchors over the number of all, and the gradient of a shared layer."""
    anchors, texts, weight = data()
    weight.requires_grad_()
    vectors = functional.normalize(texts[2 * first : 2 * end] @ weight, dim=1)
    owners = torch.arange(first, end).repeat_interleave(2)
    related = torch.tensor([True, False]).repeat(end - first)
    given = Texts(vectors, torch.arange(2 * first, 2 * end), 1000 + owners, related)
    own = functional.normalize(anchors @ weight, dim=1)[owners]
    cosines, column = cosines_with_candidates(own, given, in_batch=True, across_ranks=True)
    loss = infonce(cosines, column).sum() / ANCHORS
    loss.backward()
    assert weight.grad is not None
    return loss.item(), weight.grad.flatten().tolist()


def on_rank(rank: int, port: int, folder: Path) -> None:
    where = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    try:
        (folder / f"{rank}.json").write_text(json.dumps(loss_and_gradient(*SPLIT[rank])))
    finally:
        distributed.destroy_process_group()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    whole, gradient = loss_and_gradient(0, ANCHORS)
    other = subprocess.Popen([sys.executable, __file__, "1", str(port), str(tmp_path)])
    on_rank(0, port, tmp_path)
    assert other.wait(120) == 0
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert abs(sum(loss for loss, _ in parts) - whole) < 1e-6
    summed = torch.tensor([grad for _, grad in parts]).sum(0)
    assert torch.allclose(summed, torch.tensor(gradient), atol=1e-6)
    assert torch.tensor(gradient).abs().max() > 1e-2, "there is something to compare"


if __name__ == "__main__":
    on_rank(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
