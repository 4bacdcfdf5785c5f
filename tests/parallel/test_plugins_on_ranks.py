"""A plugin that changes or fails during a run does so on all ranks at the same step."""

from __future__ import annotations

import json
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import pytest

RANKS = 2
LOSS = """\
import os
from pathlib import Path
import torch
from swift.plugin import register_loss

@register_loss("mine")
class Mine:
    calls = 0

    def __call__(self, inputs, targets):
        self.calls += 1
        if self.calls == {edit_at} and os.environ["RANK"] == "0":
            Path(__file__).write_text(Path({successor!r}).read_text())
        {body}
"""
PLAIN = "return torch.nn.functional.cross_entropy(inputs, targets)"
CONSTANT = "return inputs.float().sum() * 0.0 + 1000.0"
FAILS_ON_RANK_1 = "if os.environ['RANK'] == '1': raise ValueError('only here')\n        " + CONSTANT
FAILS_LATE = "if self.calls == 4 and os.environ['RANK'] == '1': raise ValueError('late')\n        " + PLAIN


# Handed over as text: the server that forks the ranks cannot import this file.
RANK = """\
import json, os
from pathlib import Path
os.environ |= {environment!r}
from swift.core.config.run import run_from_dict
from swift.core.errors import SwiftError
from swift.core.train.run import train_in_process

ended = Path({ended!r})
try:
    train_in_process(run_from_dict({sections!r}))
    ended.write_text("finished")
except SwiftError as error:
    ended.write_text(str(error))
"""


def environment(rank: int, port: int) -> dict[str, str]:
    """What a launcher tells a rank."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS), **where}


def run_ranks(folder: Path, **plugins: Any) -> tuple[list[str], list[float]]:
    """How each rank ended, and the losses that were reported."""
    rows = [{"prompt": f"say {number}", "response": f"number {number}"} for number in range(32)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sections = {
        "data": {"dataset_name": str(folder / "rows.jsonl"), "max_length": 64},
        "train": {
            "output_dir": str(folder / "run"),
            "max_steps": 6,
            "per_device_train_batch_size": 2,
            "loss_type": "mine",
        },
        "device": {"parallel_method": "ddp", "num_gpus": RANKS, "device": "cpu"},
        "plugins": {"load": [str(folder / "mine.py")], "reload": True, **plugins},
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["swift.core.train.run"])
    sources = [
        RANK.format(
            environment=environment(rank, port), ended=str(folder / f"ended-{rank}"), sections=sections
        )
        for rank in range(RANKS)
    ]
    processes = [context.Process(target=exec, args=(source, {})) for source in sources]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
        assert process.exitcode == 0
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    return [(folder / f"ended-{rank}").read_text() for rank in range(RANKS)], losses


def write_loss(folder: Path, body: str, successor: str = "", edit_at: int = -1) -> None:
    (folder / "next.py").write_text(LOSS.format(edit_at=-1, successor="", body=successor or PLAIN))
    text = LOSS.format(edit_at=edit_at, successor=str(folder / "next.py"), body=body)
    (folder / "mine.py").write_text(text)


@pytest.mark.parametrize(
    ("successor", "changed"), [(CONSTANT, True), (FAILS_ON_RANK_1, False)], ids=["works", "fails on one rank"]
)
def test_changed_loss_is_swapped_in_on_all_ranks_or_none(
    tmp_path: Path, successor: str, changed: bool
) -> None:
    write_loss(tmp_path, PLAIN, successor, edit_at=3)
    ended, losses = run_ranks(tmp_path)
    assert ended == ["finished", "finished"]
    assert len(losses) == 6
    if changed:
        assert losses[3:] == [1000.0] * 3, "a mean over both ranks: neither kept the older one"
    assert all(value < 100 for value in (losses[:3] if changed else losses))


@pytest.mark.parametrize("fallback", [{}, {"mine": "cross_entropy"}], ids=["stops", "falls back"])
def test_loss_that_fails_on_one_rank(tmp_path: Path, fallback: dict[str, str]) -> None:
    write_loss(tmp_path, FAILS_LATE)
    ended, losses = run_ranks(tmp_path, fallback=fallback)
    if fallback:
        assert ended == ["finished", "finished"]
        assert len(losses) == 6
        return
    assert "failed on another rank" in ended[0]
    assert "ValueError: late" in ended[1]
    assert (tmp_path / "run" / "checkpoint-3").is_dir()
