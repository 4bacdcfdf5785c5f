"""Optimisers in whole runs: checkpoints, resume, averaged weights, layerwise updates, several ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from swift.core.commands.train import train
from swift.core.config.run import run_from_dict
from swift.core.errors import ConfigError
from swift.core.train.check import check_names
from swift.core.train.run import train_in_process

Case = tuple[str, dict[str, Any]]
Sections = dict[str, dict[str, Any]]
SCHEDULE = {"schedule-free": "constant"}
NAMES = ["galore", "q-galore", "apollo", "muon", "adam-mini", "schedule-free"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def changed(sections: Sections, output: Path, name: str, settings: dict[str, Any], **more: Any) -> Sections:
    chosen = {"optim": name, "optim_config": settings, "lr_scheduler_type": SCHEDULE.get(name, "cosine")}
    return {**sections, "train": {**sections["train"], "output_dir": str(output), **chosen, **more}}


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(folder / "model.safetensors")
    return found


def same_bits(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def losses(output: Path, name: str = "loss") -> list[float]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def resumed(sections: Sections, start: Path, output: Path) -> dict[str, Tensor]:
    """The final weights of a run that goes on from another one's checkpoint."""
    train_in_process(
        run_from_dict({**sections, "train": {**sections["train"], "output_dir": str(output)}}), start
    )
    return weights(output / "final")


@pytest.mark.parametrize("title", [*NAMES, "adamw_8bit", "adafactor"])
def test_resume_is_exact(title: str, cases: dict[str, Case], sections: Sections, tmp_path: Path) -> None:
    """By the command's own function, with a schedule and an accumulated step."""
    name, settings = cases.get(title, (title, {}))
    config = changed(
        sections,
        tmp_path / "whole",
        name,
        settings,
        gradient_accumulation_steps=2,
        per_device_train_batch_size=2,
    )
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(config))
    train(path, (), stage="sft")
    whole = weights(tmp_path / "whole" / "final")
    again = resumed(config, tmp_path / "whole" / "checkpoint-3", tmp_path / "again")
    assert same_bits(whole, again)
    assert not same_bits(whole, weights(tmp_path / "whole" / "checkpoint-3"))


def test_averaged_weights_are_measured_and_kept(sections: Sections, tmp_path: Path) -> None:
    """Checkpoints and OUT/final hold x, and measuring changes nothing that comes after it."""
    held_out = {**sections, "data": {**sections["data"], "split_ratio": 0.25}}
    often = changed(held_out, tmp_path / "often", "schedule-free", {}, eval_steps=1, save_steps=1)
    train_in_process(run_from_dict(often))
    rarely = changed(held_out, tmp_path / "rarely", "schedule-free", {}, save_steps=6)
    train_in_process(run_from_dict(rarely))
    final = weights(tmp_path / "often" / "final")
    assert same_bits(final, weights(tmp_path / "rarely" / "final"))
    assert same_bits(final, weights(tmp_path / "often" / "checkpoint-6"))
    assert losses(tmp_path / "often") == losses(tmp_path / "rarely")

    state = torch.load(tmp_path / "often" / "checkpoint-6" / "optimizer.pt", weights_only=True)
    assert all(group["averaged"] for group in state["param_groups"])
    first = state["state"][0]
    beta = state["param_groups"][0]["betas"][0]
    x = first["y"].lerp(first["z"], 1 - 1 / beta)
    assert any(torch.equal(x, value) for value in final.values())
    assert not any(torch.equal(first["y"], value) for value in final.values())

    measured = changed(
        {**held_out, "model": {"model_id": str(tmp_path / "often" / "final")}},
        tmp_path / "measured", "sgd", {}, max_steps=1, learning_rate=1e-30,
    )  # fmt: skip
    train_in_process(run_from_dict(measured))
    again = losses(tmp_path / "measured", "eval_loss")[-1]
    assert losses(tmp_path / "often", "eval_loss")[-1] == pytest.approx(again, rel=1e-5)


def test_final_weights_of_an_earlier_checkpoint_stay_as_they_were_saved(
    sections: Sections, tmp_path: Path
) -> None:
    held_out = {**sections, "data": {**sections["data"], "split_ratio": 0.25}}
    stops = {"name": "early_stopping", "config": {"patience": 1, "min_delta": 100.0}}
    config = changed(held_out, tmp_path / "run", "schedule-free", {}, eval_steps=1, callbacks=[stops])
    train_in_process(run_from_dict(config))
    final, best = weights(tmp_path / "run" / "final"), weights(tmp_path / "run" / "checkpoint-1")
    assert same_bits(final, best)


def test_layerwise_updates_equal_the_usual_ones(
    sections: Sections, tmp_path: Path, tiny: Callable[..., nn.Module], make: Callable[..., Any]
) -> None:
    settings = {"rank": 6, "update_proj_gap": 2}
    runs = {
        layerwise: changed(
            sections,
            tmp_path / str(layerwise),
            "galore",
            {**settings, "layerwise": layerwise},
            max_grad_norm=0,
        )
        for layerwise in (False, True)
    }
    for config in runs.values():
        train_in_process(run_from_dict(config))
    usual, layerwise = (weights(tmp_path / str(kind) / "final") for kind in (False, True))
    assert same_bits(usual, layerwise)
    again = resumed(runs[True], tmp_path / "True" / "checkpoint-3", tmp_path / "again")
    assert same_bits(layerwise, again)


@pytest.mark.parametrize("layerwise", [True, False])
def test_layerwise_gradients_never_exist_at_once(
    layerwise: bool, tiny: Callable[..., nn.Module], make: Callable[..., Any]
) -> None:
    model = tiny("qwen3-moe")
    optimizer = make(model, "galore", rank=6, layerwise=layerwise)
    alive: list[int] = []

    def count(parameter: Tensor) -> None:
        alive.append(sum(each.grad is not None for each in model.parameters()))

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(count)  # type: ignore[no-untyped-call]
    tokens = torch.arange(16)[None]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model(input_ids=tokens, labels=tokens).loss.backward()
    number = len(list(model.parameters()))
    assert max(alive) == (0 if layerwise else number)
    optimizer.step()
    moved = sum(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert moved > 0.9 * number


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("galore", {"layerwise": True}, {}, r"max_grad_norm=1 does not go with layerwise .*\n.*max_grad_norm=0"),
    (
        "galore",
        {"layerwise": True},
        {"max_grad_norm": 0, "gradient_accumulation_steps": 2},
        r"gradient_accumulation_steps=2 .*before the step's gradient is complete",
    ),
    ("schedule-free", {}, {}, r"'cosine', and schedule-free needs .*\n.*lr_scheduler_type=constant"),
    (
        "schedule-free",
        {},
        {"lr_scheduler_type": "constant", "warmup_steps": 5},
        r"warmup_steps=5 .*\n.*optim_config\.warmup_steps",
    ),
    ("schedule-free", {}, {"lr_scheduler_type": "constant", "callbacks": "ema"}, r"leave ema out"),
    ("adam-mini", {}, {"adam_beta1": 0.8}, r"adam_beta1 is set"),
]


@pytest.mark.parametrize(("name", "settings", "more", "message"), REFUSED)
def test_runs_that_an_optimizer_would_get_wrong_are_refused_before_loading(
    name: str, settings: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    run = run_from_dict({"train": {"optim": name, "optim_config": settings, **more}})
    with pytest.raises(ConfigError, match=message):
        check_names(run)


def test_layerwise_refuses_ranks() -> None:
    config: Sections = {
        "train": {"optim": "galore", "optim_config": {"layerwise": True}, "max_grad_norm": 0},
        "device": {"parallel_method": "ddp", "num_gpus": 2},
    }
    with pytest.raises(ConfigError, match="each rank would move by its own gradient"):
        check_names(run_from_dict(config))
