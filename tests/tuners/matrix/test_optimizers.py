"""Every registered optimiser in the real trainer: the loss falls, a resumed run is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from swift.core.config.run import run_from_dict
from swift.core.registry import optimizers, tuners
from swift.core.train.parts import load_parts
from swift.core.train.run import build_trainer

OPTIONS: dict[str, dict[str, Any]] = {"galore": {"rank": 8}, "q-galore": {"rank": 8}, "apollo": {"rank": 8}}
"""train.optim_config where the defaults are too large for these models."""

RATES: dict[str, float] = {}
"""Learning rates other than 0.005."""


@pytest.fixture(params=optimizers.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def trained(sections: dict[str, Any], resume_from: Path | None = None) -> tuple[list[float], nn.Module]:
    """Losses and the model after the last step."""
    torch.manual_seed(0)
    run = run_from_dict(sections)
    device = torch.device("cpu")
    parts = load_parts(run, device)
    trainer, _ = build_trainer(run, parts, device, resume_from)
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], parts.model


def test_loss_falls_and_resuming_is_exact(
    name: str, family: str, make_case: Any, rows: Path, tmp_path: Path
) -> None:
    def sections(folder: str) -> dict[str, Any]:
        case = make_case(tuners.get("full"), family)
        return dict(
            case.sections(
                tmp_path / folder,
                rows,
                optim=name,
                optim_config=OPTIONS.get(name, {}),
                learning_rate=RATES.get(name, 5e-3),
            )
        )

    losses, straight = trained(sections("straight"))
    assert losses[-1] < losses[0] * 0.98, losses
    again, resumed = trained(sections("resumed"), tmp_path / "straight" / "checkpoint-3")
    assert again[-3:] == losses[3:]
    weights = dict(resumed.named_parameters())
    assert not [key for key, value in straight.named_parameters() if not torch.equal(value, weights[key])]
