"""Registered optimisers in a run: what they get, what they must be, and that nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from swift.core.config.run import run_from_dict
from swift.core.config.schema import OptimConfig
from swift.core.errors import ConfigError, PluginError
from swift.core.registry import optimizers
from swift.core.train.check import check_names
from swift.core.train.optimizer import build_optimizer, check_optimizer
from swift.core.train.run import train_in_process
from swift.plugin import register_optimizer

Sections = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    before = optimizers.registered()
    yield
    optimizers.restore(before)


def trained(
    sections: Sections, output: Path, resume_from: Path | None = None, **train: Any
) -> dict[str, Tensor]:
    changed = {**sections, "train": {**sections["train"], "output_dir": str(output), "max_steps": 6, **train}}
    result = train_in_process(run_from_dict(changed), resume_from)
    assert result.final_dir is not None
    return load_file(result.final_dir / "model.safetensors")


def same_bits(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def reports(output: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_a_registered_optimizer_takes_the_place_of_the_same_one_of_transformers(
    sections: Sections, tmp_path: Path
) -> None:
    """Clipping, accumulation, schedule and resume included, to the bit."""

    @register_optimizer("my_adamw")
    class MyAdamW(torch.optim.AdamW):
        pass

    common: dict[str, Any] = {
        "gradient_accumulation_steps": 2,
        "max_grad_norm": 0.5,
        "warmup_steps": 2,
        "save_steps": 3,
        "per_device_train_batch_size": 2,
    }
    theirs = trained(sections, tmp_path / "theirs", **common)
    ours = trained(sections, tmp_path / "ours", optim="my_adamw", **common)
    assert same_bits(theirs, ours)
    rates = reports(tmp_path / "ours", "learning_rate")
    assert rates == reports(tmp_path / "theirs", "learning_rate")
    assert max(rates) == 1e-3
    resumed = trained(
        sections, tmp_path / "resumed", tmp_path / "ours" / "checkpoint-3", optim="my_adamw", **common
    )
    assert same_bits(ours, resumed)


def test_an_object_with_step_alone_trains_under_schedule_and_clipping(
    sections: Sections, tmp_path: Path
) -> None:
    class Plain:
        def __init__(self, params: list[Tensor], lr: float) -> None:
            self.params, self.lr = params, lr

        @torch.no_grad()
        def step(self) -> None:
            for parameter in self.params:
                assert parameter.grad is not None
                parameter.add_(parameter.grad, alpha=-self.lr)

    @register_optimizer("plain")
    def plain(params: list[Tensor], lr: float) -> Plain:
        return Plain(params, lr)

    assert same_bits(
        trained(sections, tmp_path / "sgd", optim="sgd", learning_rate=0.1),
        trained(sections, tmp_path / "plain", optim="plain", learning_rate=0.1),
    )


def test_arguments_of_an_optimizer_of_transformers(sections: Sections, tmp_path: Path) -> None:
    without = trained(sections, tmp_path / "without", optim="sgd", learning_rate=0.1, max_steps=3)
    momentum = trained(
        sections,
        tmp_path / "with",
        optim="sgd",
        learning_rate=0.1,
        max_steps=3,
        optim_config={"momentum": 0.9},
    )
    assert not same_bits(without, momentum)
    saved = torch.load(tmp_path / "with" / "checkpoint-3" / "optimizer.pt", weights_only=True)
    assert {group["momentum"] for group in saved["param_groups"]} == {0.9}


def built(name: str, **train: Any) -> torch.optim.Optimizer:
    config = OptimConfig.model_validate({"optim": name, **train})
    return build_optimizer(optimizers.get(name), nn.Linear(3, 2), config, config.learning_rate or 1e-5)


def test_a_factory_gets_the_rates_where_it_takes_them() -> None:
    seen: list[Any] = []

    @register_optimizer("takes_any")
    def takes_any(params: list[Tensor], **kwargs: Any) -> torch.optim.Optimizer:
        seen.append(([tuple(each.shape) for each in params], kwargs))
        return torch.optim.AdamW(params, **kwargs)

    @register_optimizer("takes_lr")
    def takes_lr(params: list[Tensor], lr: float) -> torch.optim.Optimizer:
        seen.append(lr)
        return torch.optim.SGD(params, lr)

    @register_optimizer("takes_model")
    def takes_model(params: list[Tensor], model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": [model.get_parameter("weight")], "lr": 0.3}])

    built("takes_any", learning_rate=0.1, weight_decay=0.2)
    built("takes_any", learning_rate=0.1, optim_config={"lr": 0.5, "amsgrad": True})
    built("takes_lr", learning_rate=0.1)
    shapes = [(2, 3), (2,)]
    assert seen == [
        (shapes, {"lr": 0.1, "weight_decay": 0.2}),
        (shapes, {"lr": 0.5, "weight_decay": 0.0, "amsgrad": True}),
        0.1,
    ]
    assert built("takes_model").param_groups[0]["lr"] == 0.3


def test_what_breaks_the_contract_is_refused_with_its_place() -> None:
    @register_optimizer("nothing")
    def nothing(params: list[Tensor]) -> None: ...

    @register_optimizer("copies")
    def copies(params: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD([each.detach().clone() for each in params], 0.1)

    class Odd:
        pass

    @register_optimizer("odd_state")
    def odd_state(params: list[Tensor]) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(params, 0.1)
        optimizer.param_groups[0]["odd"] = Odd
        return optimizer

    here = __file__.replace("\\", "\\\\")
    with pytest.raises(
        PluginError, match=rf"'nothing' \({here}:\d+\) made a NoneType, which has no step\(\)"
    ):
        built("nothing")
    with pytest.raises(PluginError, match="holds 2 tensors that do not train and 0 of the 2"):
        built("copies")
    with pytest.raises(PluginError, match="state that a checkpoint cannot hold"):
        built("odd_state")


def checked(**train: Any) -> None:
    check_names(run_from_dict({"train": train}))


def test_mistakes_are_found_before_anything_is_loaded() -> None:
    @register_optimizer("fixed")
    def fixed(params: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, 0.1)

    @register_optimizer("adagrad")
    def adagrad(params: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, 0.1)

    checked(optim="fixed")
    with pytest.raises(ConfigError, match=r"learning_rate is set, and optimizer 'fixed' .* does not read it"):
        checked(optim="fixed", learning_rate=0.1)
    with pytest.raises(ConfigError, match=r"adam_beta1 is set[\s\S]*train\.optim_config"):
        checked(optim="fixed", adam_beta1=0.8)
    with pytest.raises(PluginError, match=r"does not take the arguments .*'rank'"):
        checked(optim="fixed", optim_config={"rank": 4})
    with pytest.raises(PluginError, match=r"does not take the arguments \{[^}]*'rnk': 4\}"):
        checked(optim="galore", optim_config={"rnk": 4})
    with pytest.raises(ConfigError, match=r"'adagrad' .* has the name of one of transformers"):
        checked(optim="adagrad")
    with pytest.raises(
        ConfigError, match=r"neither [\s\S]*did you mean 'fixed'\? \(registered: adagrad, .*fixed"
    ):
        checked(optim="fixd")


@pytest.mark.parametrize("name", ["galore_adamw", "schedule_free_adamw", "grokadamw", "adamw_torch_xla"])
def test_a_package_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.optim={name} cannot be used here"):
        checked(optim=name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optim": "sgd", "optim_config": {"momentun": 0.9}}, r"no argument 'momentun'[\s\S]*momentum"),
        ({"optim": "adamw_torch", "optim_config": {"lr": 0.1}}, r"set train\.learning_rate instead"),
        ({"optim": "adamw_torch", "optim_config": {"weight_decay": 0.1}}, r"set train\.weight_decay instead"),
    ],
)
def test_arguments_that_would_do_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_optimizer(OptimConfig.model_validate(settings), 1e-3)
