"""The example's optimizer in C++ is AdamW, and trains through the real trainer; so do plainer classes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn

from swift.core.config.run import RunConfig, load_run
from swift.core.errors import PluginError
from swift.core.registry import REGISTRIES
from swift.core.train.foreign_optimizer import adapt_optimizer
from swift.core.train.run import train_in_process
from swift.plugin.build.module import CACHE_VARIABLE
from swift.plugin.native import load_native

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "examples/plugins/cpp_optimizer"
LR, DECAY = 1e-2, 0.1

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No plugin of a test is left to the next one."""
    monkeypatch.setattr("swift.plugin.load._loaded", {})
    before = {kind: registry.registered() for kind, registry in REGISTRIES.items()}
    yield
    for kind, registry in REGISTRIES.items():
        registry.restore(before[kind])


@pytest.fixture(scope="session")
def example(compiled: Path) -> Any:
    return load_native(EXAMPLE / "custom_optimizer_lib.cpp", build_root=compiled)


@pytest.fixture(scope="session")
def native(compiled: Path) -> Any:
    return load_native(HERE / "optimizers.cpp", build_root=compiled)


def train(make: Make, steps: int = 50, schedule: bool = False) -> list[Tensor]:
    """Fit a small network; the last layer has a parameter that no loss uses."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    inputs, targets = torch.randn(32, 8), torch.randn(32, 4)
    params = list(model.parameters())
    optimizer = make(params)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if schedule else None
    for _ in range(steps):
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return [param.detach() for param in params]


def distance(one: list[Tensor], other: list[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("schedule", [False, True], ids=["constant rate", "cosine schedule"])
def test_the_example_is_adamw(example: Any, schedule: bool) -> None:
    def custom(params: list[nn.Parameter]) -> torch.optim.Optimizer:
        created = example.CustomAdamW(params, lr=LR, weight_decay=DECAY)
        assert not {"param_groups", "state_dict", "zero_grad"} & set(dir(created))
        return adapt_optimizer(created, params, lr=LR)

    expected = train(lambda params: torch.optim.AdamW(params, lr=LR, weight_decay=DECAY), schedule=schedule)
    assert distance(train(custom, schedule=schedule), expected) <= 1e-6
    assert distance(train(lambda params: torch.optim.AdamW(params, lr=LR)), expected) > 1e-3


def test_the_example_skips_undefined_gradients_by_itself(example: Any) -> None:
    used, unused = (nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = example.CustomAdamW([used, unused], lr=LR, weight_decay=DECAY)
    used.sum().backward()
    optimizer.step()
    assert used[0] < 1
    assert torch.equal(unused, torch.ones(3))


def test_the_example_refuses_a_negative_rate(example: Any) -> None:
    with pytest.raises(RuntimeError, match=r"^lr has to be 0 or more, not -1$"):
        example.CustomAdamW([torch.ones(3)], lr=-1.0, weight_decay=0.0)


@pytest.mark.parametrize(("name", "momentum"), [("PlainSGD", 0.0), ("MomentumSGD", 0.9)])
def test_plain_classes_follow_a_schedule(native: Any, name: str, momentum: float) -> None:
    ours = train(
        lambda params: adapt_optimizer(getattr(native, name)(params, lr=LR), params, lr=LR), 50, True
    )
    theirs = train(lambda params: torch.optim.SGD(params, lr=LR, momentum=momentum), 50, True)
    assert distance(ours, theirs) <= 1e-6


def test_a_class_without_step_is_refused(native: Any) -> None:
    with pytest.raises(PluginError, match="Stepless has no step"):
        adapt_optimizer(native.Stepless(), [nn.Parameter(torch.ones(1))], lr=LR)


def test_pickled_state_continues_and_moves_the_model_itself(native: Any) -> None:
    param = nn.Parameter(torch.ones(4))

    def step(optimizer: torch.optim.Optimizer) -> None:
        param.grad = torch.ones(4)
        optimizer.step()

    optimizer = adapt_optimizer(native.MomentumSGD([param], lr=LR), [param], lr=LR)
    step(optimizer)
    saved, weights = optimizer.state_dict(), param.detach().clone()
    step(optimizer)
    expected = param.detach().clone()
    param.data.copy_(weights)
    resumed = adapt_optimizer(native.MomentumSGD([param], lr=LR), [param], lr=LR)
    resumed.load_state_dict(saved)
    step(resumed)
    assert torch.equal(param, expected)


def test_accelerate_wraps_it(native: Any) -> None:
    model = nn.Linear(2, 2)
    params = list(model.parameters())
    prepared = Accelerator(cpu=True).prepare_optimizer(
        adapt_optimizer(native.MomentumSGD(params, lr=LR), params, lr=LR), device_placement=True
    )
    before = model.weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    prepared.step()
    prepared.zero_grad()
    assert not torch.equal(model.weight, before)
    assert model.weight.grad is None
    assert prepared.state_dict()["foreign"]["steps"] == 1


@pytest.fixture
def example_run(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., RunConfig]]:
    """The example's own configuration with another output folder."""
    monkeypatch.setenv(CACHE_VARIABLE, str(compiled))

    def load(output: str, *words: str) -> RunConfig:
        return load_run(EXAMPLE / "train.yaml", [f"train.output_dir={tmp_path / output}", *words])

    yield load
    sys.modules.pop("custom_optimizer_lib", None)


def losses(run: RunConfig) -> list[float]:
    lines = (Path(run.checkpoint.output_dir) / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def test_the_example_trains_as_torch_does(
    example_run: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    """Warm-up, cosine schedule, clipping and accumulation included; decay 0, as torch's spares the norms."""
    ours = example_run("ours", "train.optim_config={lr: 1e-3, weight_decay: 0.0}")
    theirs = example_run("theirs", "train.optim=adamw_torch", "train.optim_config={}", "train.weight_decay=0")
    result = train_in_process(ours)
    assert capsys.readouterr().err.count("gives no access to its state") == 1
    train_in_process(theirs)
    assert losses(ours)[-1] < losses(ours)[0] / 2
    assert losses(ours) == pytest.approx(losses(theirs), rel=1e-3)
    assert result.final_dir is not None
    other = load_file(Path(theirs.checkpoint.output_dir) / "final/model.safetensors")
    own = load_file(result.final_dir / "model.safetensors")
    assert distance(list(own.values()), list(other.values())) <= 1e-4


def test_a_resumed_run_says_that_its_moments_are_fresh(
    example_run: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    run = example_run("run", "train.max_steps=4", "train.save_steps=2")
    train_in_process(run)
    capsys.readouterr()
    result = train_in_process(run, Path(run.checkpoint.output_dir) / "checkpoint-2")
    assert result.steps == 4
    assert "goes on after 2 steps with fresh moments" in capsys.readouterr().err
    saved = torch.load(Path(run.checkpoint.output_dir) / "checkpoint-2/optimizer.pt", weights_only=True)
    assert saved["foreign"]["state"] is None
    assert "neither state_dict()" in saved["foreign"]["note"]
