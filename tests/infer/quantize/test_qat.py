"""train.qat: weights that were trained for few bits lose less by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from swift.core.config.run import load_run
from swift.core.config.schema import ModelConfig
from swift.core.errors import ConfigError
from swift.core.models.load import load_model
from swift.core.train.qat import Scheme, check_qat, prepare_qat
from swift.core.train.run import train_in_process
from swift.infer.load import load_infer_run
from swift.infer.quantize.export import export
from swift.infer.quantize.grid import Grid, nearest

if TYPE_CHECKING:
    from tests.infer.quantize.conftest import Trained

STEPS = 24


def overrides(trained: Trained, output: Path, *keys: str) -> list[str]:
    return [
        f"model.model_id={trained.folder}",
        f"data.dataset_name={trained.rows}",
        "data.max_length=64",
        f"train.output_dir={output}",
        "train.learning_rate=1e-3",
        "train.qat_group_size=32",
        *keys,
    ]


def rounded_perplexity(trained: Trained, run: Path, output: Path) -> float:
    """Of the final weights after plain rounding to 2 bits."""
    keys = ["export.method=gptq", "export.rounding=nearest", "export.bits=2", "export.group_size=32"]
    words = [f"model.model_id={run}", f"data.val_dataset_name={trained.rows}", f"export.output_dir={output}"]
    result = export(load_infer_run(None, [*words, *keys])).perplexity
    assert result is not None
    return result[1]


def test_beats_plain_rounding_at_equal_bits_and_resumes(trained: Trained, tmp_path: Path) -> None:
    for name, qat in (("plain", "null"), ("qat", "int2")):
        words = overrides(trained, tmp_path / name, f"train.qat={qat}", f"train.max_steps={STEPS}")
        train_in_process(load_run(None, [*words, f"train.save_steps={STEPS // 2}"]))
    figures = {
        name: rounded_perplexity(trained, tmp_path / name, tmp_path / f"{name}-2")
        for name in ("plain", "qat")
    }
    print(figures)
    assert figures["qat"] < 0.8 * figures["plain"]
    again = overrides(trained, tmp_path / "again", "train.qat=int2", f"train.max_steps={STEPS}")
    half = tmp_path / "qat" / f"checkpoint-{STEPS // 2}"
    train_in_process(load_run(None, again), resume_from=half)
    losses = [losses_of(tmp_path / name) for name in ("qat", "again")]
    assert losses[1] == pytest.approx(losses[0][-len(losses[1]) :], rel=1e-5) and len(losses[1]) == STEPS // 2


def losses_of(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize(
    "scheme", [Scheme(4, 32, False), Scheme(2, 32, False), Scheme(8, None, False)], ids=str
)
def test_trains_on_the_grid_that_is_exported(scheme: Scheme) -> None:
    """A layer computes with exactly the weights that plain rounding writes."""
    model = load_model(ModelConfig(), dtype=torch.float32, device="cpu")
    layer: Any = model.model.layers[0].mlp.up_proj
    weight = layer.weight.detach().clone()
    assert prepare_qat(model, scheme) == 28
    inputs = torch.randn(5, weight.shape[1], generator=torch.Generator().manual_seed(0))
    expected = inputs @ nearest(weight, Grid(scheme.bits, scheme.group_size), torch.float32).weight.T
    torch.testing.assert_close(model.model.layers[0].mlp.up_proj(inputs), expected, rtol=1e-4, atol=1e-5)
    assert type(model.lm_head) is torch.nn.Linear


def test_inputs_are_rounded_where_two_numbers_are_named() -> None:
    model = load_model(ModelConfig(), dtype=torch.float32, device="cpu")
    prepare_qat(model, Scheme(8, None, True))
    layer: Any = model.model.layers[0].mlp.up_proj
    inputs = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    assert layer(inputs * 1e-3).grad_fn is not None
    rounded = layer.activation_fake_quantizer(inputs)
    step = (inputs.amax(1, keepdim=True) - inputs.amin(1, keepdim=True)) / 255
    assert ((rounded - inputs).abs() <= 0.51 * step).all() and not torch.equal(rounded, inputs)


def test_refuses_adapters_and_groups_that_do_not_fit(trained: Trained, tmp_path: Path) -> None:
    words = overrides(trained, tmp_path / "x", "train.qat=int4", "train.tuner_strategy=lora")
    with pytest.raises(ConfigError, match=r"moves the weights themselves.*\n.*tuner_strategy=full"):
        check_qat(load_run(None, words))
    model = load_model(ModelConfig(), dtype=torch.float32, device="cpu")
    with pytest.raises(ConfigError, match=r"128 inputs, which train\.qat_group_size=48 does not divide"):
        prepare_qat(model, Scheme(4, 48, False))


def test_names_the_extra_when_torchao_is_missing(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs torchao"):
        check_qat(load_run(None, overrides(trained, tmp_path / "x", "train.qat=int4")))
