"""swift tuners combine: sums of adapters, their approximations, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from click.testing import CliRunner, Result

from swift.core.errors import CheckpointError, ConfigError, ModelError
from swift.tuners import apply_tuner, load_tuner, merge_tuner, save_tuner
from swift.tuners.combine import METHODS, PRUNING, combine_adapters
from swift.tuners.commands.combine import METHODS as OFFERED
from swift.tuners.commands.combine import command

SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip


def base(**sizes: Any) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SIZES | sizes))
    model.name_or_path = "base/of-it"
    return model.eval()


def saved(directory: Path, seed: int, method: str = "lora", model: Any = None, **settings: Any) -> Path:
    """An adapter that changes the function."""
    adapted = apply_tuner(model or base(), method, **{"lora_rank": 4, **settings})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in adapted.parameters():
            if value.requires_grad:
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    save_tuner(adapted, directory)
    return directory


def change(directory: Path) -> dict[str, torch.Tensor]:
    """What an adapter adds to the base's weights."""
    before = base().state_dict()
    after = merge_tuner(load_tuner(base(), directory)).state_dict()
    return {name: after[name] - value for name, value in before.items() if "_proj" in name}


def combined(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], atol: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=atol, msg=name)


def weighted(folders: list[Path], weights: list[float]) -> dict[str, torch.Tensor]:
    changes = [change(folder) for folder in folders]
    return {
        name: torch.stack([w * one[name] for w, one in zip(weights, changes, strict=True)]).sum(0)
        for name in changes[0]
    }


@pytest.mark.parametrize("other", [{}, {"lora_rank": 2, "lora_alpha": 6}, {"use_rslora": True}])
def test_cat_and_svd_of_full_rank_are_the_sum(other: dict[str, Any], tmp_path: Path) -> None:
    folders = [saved(tmp_path / "a", 1), saved(tmp_path / "b", 2, **other)]
    expected = weighted(folders, [0.7, -0.3])
    close(change(combine_adapters(folders, tmp_path / "cat", [0.7, -0.3], "cat")), expected)
    close(change(combine_adapters(folders, tmp_path / "svd", [0.7, -0.3], "svd", rank=8)), expected)
    approximate = change(combine_adapters(folders, tmp_path / "low", [0.7, -0.3], "svd", rank=1))
    assert all(torch.linalg.matrix_rank(value, atol=1e-4) == 1 for value in approximate.values())


def test_linear_of_one_adapter_and_nothing_is_that_adapter(tmp_path: Path) -> None:
    folders = [saved(tmp_path / "a", 1, use_rslora=True), saved(tmp_path / "b", 2, use_rslora=True)]
    close(change(combine_adapters(folders, tmp_path / "out", [1.0, 0.0])), change(folders[0]))


def test_linear_mixes_the_factors(tmp_path: Path) -> None:
    """peft's formula: (sum sqrt(w s) B) (sum sqrt(w s) A)."""
    folders = [saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)]
    found = peft.load_peft_weights(str(combine_adapters(folders, tmp_path / "out", [0.5, 0.5])), "cpu")
    sources = [peft.load_peft_weights(str(folder), "cpu") for folder in folders]
    factor = (0.5 * 16 / 4) ** 0.5
    for name, value in found.items():
        torch.testing.assert_close(value, factor * sum(one[name] for one in sources))


@pytest.mark.parametrize("method", PRUNING)
def test_pruning_keeps_a_share_and_is_repeatable(method: str, tmp_path: Path) -> None:
    folders = [saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)]
    options = {"weights": [1.0, 0.0], "method": method, "density": 0.25}
    made = [
        peft.load_peft_weights(str(combine_adapters(folders, tmp_path / str(n), **options)), "cpu")  # type: ignore[arg-type]
        for n in range(2)
    ]
    kept = sum(int((value != 0).sum()) for value in made[0].values())
    whole = sum(value.numel() for value in made[0].values())
    assert 0.15 < kept / whole < 0.35
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())


@pytest.mark.parametrize("method", METHODS)
def test_the_result_loads_in_peft_and_here(method: str, tmp_path: Path) -> None:
    words = [saved(tmp_path / "a", 1), saved(tmp_path / "b", 2), "--output", tmp_path / "out"]
    density = ["--density", "0.5"] if method in PRUNING else []
    result = combined(*words, "--method", method, "--weights", "0.5,0.5", *density)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        theirs = peft.PeftModel.from_pretrained(base(), str(tmp_path / "out")).eval()(tokens).logits
        ours = load_tuner(base(), tmp_path / "out").eval()(tokens).logits
    assert torch.equal(theirs, ours)
    assert not torch.allclose(ours, base()(tokens).logits, atol=1e-3)
    assert METHODS == OFFERED


def test_equal_shares_are_the_default(tmp_path: Path) -> None:
    folders = [saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)]
    assert combined(*folders, "--output", tmp_path / "out", "--method", "cat").exit_code == 0
    close(change(tmp_path / "out"), weighted(folders, [0.5, 0.5]))


def test_differences_are_listed_and_nothing_is_left(tmp_path: Path) -> None:
    first = saved(tmp_path / "a", 1)
    others = {
        "lora_A.weight: (4, 32) and (2, 32)": saved(tmp_path / "rank", 2, lora_rank=2),
        "absent": saved(tmp_path / "targets", 2, target_modules=["q_proj"]),
        "(4, 32) and (4, 40)": saved(tmp_path / "base", 2, model=base(hidden_size=40)),
    }
    for text, other in others.items():
        with pytest.raises(ModelError, match="do not go together") as error:
            combine_adapters([first, other], tmp_path / "out", [1, 1])
        assert text in error.value.problem
    model = base()
    model.name_or_path = "another/base"
    with pytest.raises(ModelError, match="base: base/of-it and another/base"):
        combine_adapters([first, saved(tmp_path / "name", 2, model=model)], tmp_path / "out", [1, 1])
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_is_more_than_lora_is_refused(tmp_path: Path) -> None:
    first = saved(tmp_path / "a", 1)
    for settings, text in (
        ({"method": "dora"}, "lora_magnitude_vector"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
    ):
        other = saved(tmp_path / text, 2, **settings)  # type: ignore[arg-type]
        with pytest.raises(ModelError, match=text):
            combine_adapters([first, other], tmp_path / "out", [1, 1])
    ia3 = apply_tuner(base(), "ia3")
    save_tuner(ia3, tmp_path / "ia3")
    with pytest.raises(ModelError, match="type IA3"):
        combine_adapters([first, tmp_path / "ia3"], tmp_path / "out", [1, 1])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"weights": [1.0]}, "for 2 adapters"),
        ({"weights": [0.0, 0.0]}, "not all of them 0"),
        ({"weights": [float("nan"), 1.0]}, "finite"),
        ({"method": "ties"}, "need a density"),
        ({"density": 0.5}, "others take none"),
        ({"method": "ties", "density": 1.5}, "above 0"),
        ({"rank": 4}, "only svd"),
        ({"method": "mean"}, "choose linear"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], text: str, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ConfigError, match=text):
        combine_adapters(folders, tmp_path / "out", **{"weights": [0.5, 0.5], **settings})


def test_one_adapter_and_an_occupied_folder_are_refused(tmp_path: Path) -> None:
    first = saved(tmp_path / "a", 1)
    with pytest.raises(ConfigError, match="needs two"):
        combine_adapters([first], tmp_path / "out", [1])
    with pytest.raises(CheckpointError, match="holds something"):
        combine_adapters([first, first], first, [1, 1])
    assert "write --weights" in combined(first, first, "--weights", "a,b", "--output", tmp_path / "o").output


def test_a_rank_above_every_layer_is_refused(tmp_path: Path) -> None:
    folders = [saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)]
    with pytest.raises(ConfigError, match="rank is 999, and the narrowest layer"):
        combine_adapters(folders, tmp_path / "c", [0.5, 0.5], "svd", rank=999)
    assert not (tmp_path / "c").exists()
