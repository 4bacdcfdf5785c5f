"""A plan counts the bytes that training then holds."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from swift.core.config.run import RunConfig, run_from_dict
from swift.core.config.schema import ModelConfig
from swift.core.errors import ConfigError
from swift.core.models.load import load_model
from swift.parallel.commands.plan import command
from swift.parallel.plan.memory import Memory, data_parallel_memory, optimizer_bytes
from swift.parallel.plan.report import human
from swift.parallel.plan.skeleton import skeleton

CPU = torch.device("cpu")


def run_of(**train: object) -> RunConfig:
    return run_from_dict({"model": {"model_id": "tiny/qwen3"}, "train": train})


def planned(**train: object) -> Memory:
    return data_parallel_memory(skeleton(run_of(**train), CPU), "adamw_torch", world_size=2)


def test_full_training_holds_what_the_plan_says() -> None:
    model = load_model(
        ModelConfig.model_validate({"model_id": "tiny/qwen3"}), dtype=torch.float32, device="cpu"
    )
    model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    memory = planned()
    assert memory.parameters == memory.trainable == sum(value.numel() for value in model.parameters())
    held = [*model.parameters(), *model.buffers()]
    assert memory.weights == sum(value.untyped_storage().nbytes() for value in held)
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    assert memory.gradients == memory.buckets == sum(value.nbytes for value in gradients)
    states = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert memory.optimizer == sum(value.nbytes for value in states)
    assert memory.total == memory.weights + 2 * memory.gradients + memory.optimizer


def test_an_adapter_leaves_gradients_of_its_own_parameters_only() -> None:
    full, lora = planned(), planned(tuner_strategy="lora", lora_rank=4)
    assert lora.parameters == full.parameters + lora.trainable
    assert lora.gradients == 4 * lora.trainable < full.gradients / 10


def test_nothing_is_allocated() -> None:
    assert {value.device.type for value in skeleton(run_of(), CPU).parameters()} == {"meta"}


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'adamw_tosch'[\s\S]*adamw_torch"):
        optimizer_bytes([], "adamw_tosch")


def test_bytes_are_readable() -> None:
    assert [human(size) for size in (12, 1536, 3 * 2**30)] == ["12 B", "1.50 KiB", "3.00 GiB"]


def test_the_command_prints_the_plan() -> None:
    words = [
        "model.model_id=tiny/qwen3",
        "device.parallel_method=ddp",
        "device.num_gpus=2",
        "device.device=cpu",
    ]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.output
    assert "ddp, 2 cpu ranks" in result.output and "optimiser state" in result.output
