"""What each callback of train.callbacks does to a run, and that a resumed run does not notice it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainerCallback

from swift.core.config.named import Named
from swift.core.config.run import run_from_dict
from swift.core.config.schema import ModelConfig
from swift.core.errors import ConfigError, PluginError, RegistryError
from swift.core.models.load import load_model
from swift.core.registry import callbacks
from swift.core.train import checkpoint
from swift.core.train.callbacks.activation_offload import ActivationOffload
from swift.core.train.callbacks.lisa import draw, find_layers
from swift.core.train.callbacks.time_limit import TimeLimit, to_seconds
from swift.core.train.callbacks.together import build_callbacks
from swift.core.train.result import TrainResult
from swift.core.train.run import train_in_process
from swift.plugin import register_callback

Sections = dict[str, dict[str, Any]]
Weights = dict[str, Tensor]


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    before = callbacks.registered()
    yield
    callbacks.restore(before)


def changed(sections: Sections, output: Path, data: dict[str, Any] | None = None, **train: Any) -> Sections:
    settings: dict[str, Any] = {**sections["train"], "output_dir": str(output), "max_steps": 6, **train}
    return {**sections, "data": {**sections["data"], **(data or {})}, "train": settings}


def trained(sections: Sections, output: Path, resume_from: Path | None = None, **changes: Any) -> TrainResult:
    return train_in_process(run_from_dict(changed(sections, output, **changes)), resume_from)


def weights(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def same_bits(one: Weights, two: Weights) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def reports(output: Path, name: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


HELD_OUT: dict[str, Any] = {"split_ratio": 0.2}


def test_early_stopping_keeps_the_best_and_makes_it_final(
    sections: Sections, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No evaluation improves on the first by 10."""
    output = tmp_path / "run"
    stopping = {"name": "early_stopping", "config": {"patience": 2, "min_delta": 10.0}}
    settings: dict[str, Any] = {"eval_steps": 2, "max_steps": 40, "save_steps": 3, "save_total_limit": 1}
    result = trained(sections, output, data=HELD_OUT, callbacks=stopping, **settings)
    assert result.steps == 6, "evaluations at 2 (best), 4 and 6"
    assert result.signal_status is None
    assert [path.name for path in checkpoint.checkpoints(output)] == ["checkpoint-2", "checkpoint-6"]
    assert same_bits(weights(output / "final"), weights(output / "checkpoint-2"))
    assert not same_bits(weights(output / "final"), weights(output / "checkpoint-6"))
    measured = reports(output, "eval_loss")
    assert sorted(measured) == [2, 4, 6]
    assert result.figures["eval_loss"] == measured[2]
    assert (
        f"stopped early at step 6: best eval_loss {measured[2]:.4g} in checkpoint-2"
        in capsys.readouterr().err
    )


def test_early_stopping_waits_on_after_a_resume(sections: Sections, tmp_path: Path) -> None:
    stopping = {"name": "early_stopping", "config": {"patience": 3, "min_delta": 10.0, "final": "last"}}
    settings: dict[str, Any] = {"eval_steps": 1, "save_steps": 3, "max_steps": 40, "callbacks": stopping}
    straight = trained(sections, tmp_path / "straight", data=HELD_OUT, **settings)
    start = tmp_path / "straight" / "checkpoint-3"
    resumed = trained(sections, tmp_path / "resumed", start, data=HELD_OUT, **settings)
    assert straight.steps == resumed.steps == 4
    assert same_bits(weights(tmp_path / "resumed" / "final"), weights(tmp_path / "straight" / "checkpoint-4"))


def test_early_stopping_needs_evaluations_and_a_figure_of_them(sections: Sections, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set train\.eval_steps"):
        trained(sections, tmp_path / "one", data=HELD_OUT, callbacks="early_stopping")
    stopping = {"name": "early_stopping", "config": {"metric": "los"}}
    with pytest.raises(ConfigError, match=r"goes by 'eval_los'[\s\S]*'eval_loss'"):
        trained(sections, tmp_path / "two", data=HELD_OUT, callbacks=stopping, eval_steps=1)


def test_ema_averages_evaluates_and_becomes_final(sections: Sections, tmp_path: Path) -> None:
    """Against the definition, computed from the weights of every step."""
    config = {"decay": 0.8, "update_every": 2, "device": "cpu"}
    settings: dict[str, Any] = {"save_steps": 1, "eval_steps": 3}
    result = trained(
        sections, tmp_path / "ema", data=HELD_OUT, callbacks={"name": "ema", "config": config}, **settings
    )
    trained(sections, tmp_path / "plain", data=HELD_OUT, **settings)
    for step in range(1, 7):
        name = f"checkpoint-{step}"
        assert same_bits(weights(tmp_path / "ema" / name), weights(tmp_path / "plain" / name)), step
    start = load_model(ModelConfig(), dtype=torch.float32, device="cpu", seed=42, options={})
    average = {name: value.detach().clone() for name, value in start.named_parameters()}
    for step in (2, 4, 6):
        now = weights(tmp_path / "plain" / f"checkpoint-{step}")
        average = {name: 0.8 * value + 0.2 * now.get(name, value) for name, value in average.items()}
    final = weights(tmp_path / "ema" / "final")
    for name, value in final.items():
        torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-7)
    assert not same_bits(final, weights(tmp_path / "ema" / "checkpoint-6"))
    ours, theirs = (reports(tmp_path / name, "eval_loss") for name in ("ema", "plain"))
    assert ours[6] != theirs[6]
    assert result.figures["eval_loss"] == ours[6]
    assert "callbacks.pt" not in {path.name for path in (tmp_path / "ema" / "final").iterdir()}


def test_ema_beside_the_trained_weights(sections: Sections, tmp_path: Path) -> None:
    ema = {"name": "ema", "config": {"decay": 0.5, "final": False}}
    output = tmp_path / "run"
    trained(sections, output, callbacks=ema, max_steps=3)
    assert same_bits(weights(output / "final"), weights(output / "checkpoint-3"))
    assert not same_bits(weights(output / "ema"), weights(output / "final"))


def test_lisa_trains_the_layers_it_drew(sections: Sections, tmp_path: Path) -> None:
    output = tmp_path / "run"
    lisa = {"name": "lisa", "config": {"active_layers": 1, "interval": 2}}
    trained(sections, output, callbacks=lisa, save_steps=1)
    model = load_model(ModelConfig(), dtype=torch.float32, device="cpu", seed=42, options={})
    count = len(find_layers(model))
    before: Weights = dict(model.state_dict())
    seen = set()
    for step in range(6):
        after = weights(output / f"checkpoint-{step + 1}")
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        layers = {int(name.split(".layers.")[1].split(".")[0]) for name in moved if ".layers." in name}
        assert layers == set(draw(42, step // 2, count, 1)), step
        assert {"model.embed_tokens.weight", "model.norm.weight"} <= moved
        seen |= layers
        before = after
    assert len(seen) > 1, "the seed draws different layers"
    states = torch.load(output / "checkpoint-6" / "optimizer.pt", weights_only=True)["state"]
    frozen = sum(1 for layer in list(find_layers(model))[1:] for _ in layer.parameters())
    assert len(states) == len(list(model.parameters())) - frozen, "what is frozen has no state"


def test_lisa_is_for_full_training(sections: Sections, tmp_path: Path) -> None:
    lora: dict[str, Any] = {"tuner_strategy": "lora", "lora_rank": 2}
    with pytest.raises(ConfigError, match=r"tensors are frozen[\s\S]*tuner_strategy=full"):
        trained(sections, tmp_path / "lora", callbacks="lisa", **lora)
    lisa = {"name": "lisa", "config": {"active_layers": 99}}
    with pytest.raises(ConfigError, match="active_layers=99 of"):
        trained(sections, tmp_path / "many", callbacks=lisa)
    lisa = {"name": "lisa", "config": {"layers": 1}}
    with pytest.raises(ConfigError, match=r"layers=1\s[\s\S]*active_layers says how many"):
        trained(sections, tmp_path / "path", callbacks=lisa)


@pytest.mark.parametrize(
    "named",
    [
        {"name": "ema", "config": {"decay": 0.7}},
        {"name": "lisa", "config": {"active_layers": 1, "interval": 2}},
        {"name": "lisa", "config": {"active_layers": 1, "interval": 3, "keep_state": True}},
    ],
    ids=["ema", "lisa", "lisa that keeps state"],
)
def test_a_resumed_run_has_the_same_bits(sections: Sections, tmp_path: Path, named: Any) -> None:
    settings: dict[str, Any] = {"callbacks": named, "save_steps": 3}
    trained(sections, tmp_path / "straight", **settings)
    trained(sections, tmp_path / "resumed", tmp_path / "straight" / "checkpoint-3", **settings)
    assert same_bits(weights(tmp_path / "straight" / "final"), weights(tmp_path / "resumed" / "final"))


def test_a_trace_of_some_steps(sections: Sections, tmp_path: Path) -> None:
    output = tmp_path / "run"
    profiler = {"name": "profiler", "config": {"wait": 1, "warmup": 1, "active": 2}}
    trained(sections, output, callbacks=profiler)
    trace, table = sorted((output / "profile").iterdir(), key=lambda path: path.suffix)
    assert (trace.name, table.name) == ("trace-rank0-step4.json", "table-rank0-step4.txt")
    events = json.loads(trace.read_text())["traceEvents"]
    steps = [event["name"] for event in events if str(event.get("name", "")).startswith("ProfilerStep#")]
    assert sorted(set(steps)) == ["ProfilerStep#2", "ProfilerStep#3"]
    assert "aten::mm" in {event.get("name") for event in events}
    assert "aten::mm" in table.read_text()


def test_offloaded_activations_change_no_bit(
    sections: Sections, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offload = {"name": "activation_offload", "config": {"min_bytes": 0}}
    trained(sections, tmp_path / "plain", max_steps=3)
    trained(sections, tmp_path / "offload", max_steps=3, callbacks=offload)
    assert same_bits(weights(tmp_path / "plain" / "final"), weights(tmp_path / "offload" / "final"))
    assert "on CPU it gains nothing" in capsys.readouterr().err


def test_only_activations_are_moved() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))
    callback = ActivationOffload(min_bytes=0)
    arguments = SimpleNamespace(device=torch.device("cpu"))
    callback.attach(SimpleNamespace(model=model, args=arguments))  # type: ignore[arg-type]
    inputs = torch.randn(5, 8)
    expected = torch.autograd.grad(model(inputs).square().sum(), list(model.parameters()))
    with callback.forwarding():
        loss = model(inputs).square().sum()
    for one, two in zip(torch.autograd.grad(loss, list(model.parameters())), expected, strict=True):
        assert torch.equal(one, two)
    activation = 5 * 8 * 4
    assert callback.moved_bytes == 4 * activation, (
        "inputs of both layers, of GELU and of the square; no weight"
    )


def test_a_time_limit_saves_and_the_run_goes_on(
    sections: Sections, tmp_path: Path, fork_run: Callable[..., BaseProcess]
) -> None:
    output = tmp_path / "run"
    limited = changed(
        sections, output, callbacks={"name": "time_limit", "config": {"limit": 0.01}}, save_steps=50
    )
    process = fork_run(limited)
    process.join(180)
    assert process.exitcode == 130
    assert json.loads((output / "run.json").read_text())["status"] == "interrupted"
    assert [path.name for path in checkpoint.checkpoints(output)] == ["checkpoint-1"]
    assert not (output / "final").exists()
    trained(sections, output, output / "checkpoint-1", save_steps=50)
    trained(sections, tmp_path / "straight", save_steps=50)
    assert same_bits(weights(output / "final"), weights(tmp_path / "straight" / "final"))


def test_durations() -> None:
    written: list[str | float] = ["01:30:00", "2:05", "45", 45, 0.5]
    assert [to_seconds(each) for each in written] == [5400, 125, 45, 45, 0.5]
    assert TimeLimit(hours=1, minutes=30, margin="10:00").seconds == 4800
    for wrong in ("soon", "1:2:3:4", "-1:00"):
        with pytest.raises(ConfigError, match="not a duration"):
            to_seconds(wrong)
    with pytest.raises(ConfigError, match="leaves 0 seconds"):
        TimeLimit()


def test_a_callback_of_a_plugin(sections: Sections, tmp_path: Path) -> None:
    seen: list[int] = []

    @register_callback("counts")
    class Counts(TrainerCallback):  # type: ignore[misc]
        def __init__(self, every: int) -> None:
            self.every = every

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % self.every == 0:
                seen.append(state.global_step)

    trained(sections, tmp_path / "run", callbacks={"name": "counts", "config": {"every": 2}}, max_steps=4)
    assert seen == [2, 4]


def test_callbacks_that_cannot_be_built() -> None:
    @register_callback("number")
    def number() -> int:
        return 3

    with pytest.raises(RegistryError, match="did you mean 'ema'"):
        build_callbacks([Named(name="emma")])
    with pytest.raises(PluginError, match=r"does not take the arguments .*'decai'"):
        build_callbacks([Named(name="ema", config={"decai": 0.9})])
    with pytest.raises(ConfigError, match=r"decay=1\.5"):
        build_callbacks([Named(name="ema", config={"decay": 1.5})])
    with pytest.raises(PluginError, match="of type int, not a transformers"):
        build_callbacks([Named(name="number")])
    with pytest.raises(ConfigError, match="names 'ema' twice"):
        build_callbacks([Named(name="ema"), Named(name="ema")])
