"""From YAML to a checked run: which component owns a key, and what a wrong key says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from pydantic import Field

from swift.core.config.document import override, parse_document
from swift.core.config.run import RunConfig, load_run, parse_run, run_from_dict
from swift.core.config.schema import Config, LoopConfig, PluginsConfig
from swift.core.config.sections import key_owners
from swift.core.errors import EXIT_USAGE, ConfigError, RegistryError, SwiftError
from swift.core.registry import Component, engines, losses, objectives


def run_of(text: str, *assignments: str) -> RunConfig:
    document = parse_document(text, "run.yaml")
    for assignment in assignments:
        override(document, assignment)
    return parse_run(document)


def refusal(text: str, *assignments: str) -> SwiftError:
    with pytest.raises(SwiftError) as caught:
        run_of(text, *assignments)
    assert caught.value.exit_code == EXIT_USAGE
    return caught.value


def values(config: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", config.model_dump())


# What users of this kind of system write must work word for word.


def test_qlora_on_four_ranks() -> None:
    run = run_of(
        """\
train: {tuner_strategy: qlora, lora_rank: 64, lora_alpha: 16, quantization_bit: 4, dtype: bfloat16}
model: {model_id: qwen/Qwen-7B-Chat}
device: {parallel_method: ddp, num_gpus: 4}
"""
    )
    tuner = values(run.tuner)
    assert (tuner["lora_rank"], tuner["lora_alpha"], tuner["quantization_bit"]) == (64, 16, 4)
    assert run.loop.dtype == "bfloat16"
    assert run.model.model_id == "qwen/Qwen-7B-Chat"
    assert values(run.strategy)["num_gpus"] == 4


def test_preference_optimisation() -> None:
    run = run_of(
        """\
train: {stage: dpo, beta: 0.1, loss_type: sigmoid}
model: {model_id: llama-3-8b-instruct, ref_model_id: llama-3-8b-instruct}
data: {dataset_name: hh-rlhf, task_type: preference}
"""
    )
    objective = values(run.objective)
    assert (objective["beta"], objective["loss_type"]) == (0.1, "sigmoid")
    assert run.model.ref_model_id == "llama-3-8b-instruct"
    assert (run.data.dataset_name, run.data.task_type) == (["hh-rlhf"], "preference")


@pytest.mark.usefixtures("untouched_registries")
def test_own_loss_with_settings() -> None:
    losses.register(Component("focal_loss", target=sum))
    run = run_of("train: {loss_type: focal_loss, loss_config: {alpha: 0.8, gamma: 2.0}}\n")
    objective = values(run.objective)
    assert objective["loss_type"] == "focal_loss"
    assert objective["loss_config"] == {"alpha": 0.8, "gamma": 2.0}


def test_scientific_notation_is_a_number_everywhere() -> None:
    run = run_of("train: {learning_rate: 1e-4, loss_type: label_smoothing, loss_config: {epsilon: 1e-6}}\n")
    assert run.optim.learning_rate == 1e-4
    assert values(run.objective)["loss_config"] == {"epsilon": 1e-6}


# Bad input.


def test_misspelt_key() -> None:
    error = refusal("model: {}\ntrain:\n  learning_rat: 1e-4\n")
    assert error.problem == "run.yaml:3: unknown key 'train.learning_rat'"
    assert "'learning_rate'" in error.remedy


def test_misspelt_key_of_a_chosen_component() -> None:
    error = refusal("train:\n  tuner_strategy: lora\n  lora_rnak: 8\n")
    assert error.problem == "run.yaml:3: unknown key 'train.lora_rnak'"
    assert "'lora_rank'" in error.remedy


def test_misspelt_key_on_the_command_line() -> None:
    error = refusal("train: {}\n", "train.max_step=3")
    assert error.problem == "command line (train.max_step=3): unknown key 'train.max_step'"
    assert "'max_steps'" in error.remedy


def test_key_of_another_section() -> None:
    assert "'data.max_length'" in refusal("train: {max_length: 8}\n").remedy


def test_key_of_a_component_that_is_not_chosen() -> None:
    error = refusal("train:\n  stage: sft\n  lora_rank: 8\n")
    assert error.problem == "run.yaml:3: unknown key 'train.lora_rank'"
    assert "'train.tuner_strategy' lora or " in error.remedy
    assert "not chosen" in error.remedy


def test_misspelt_key_of_a_component_that_is_not_chosen() -> None:
    error = refusal("train: {lora_rnk: 8}\n")
    assert "did you mean 'lora_rank'" in error.remedy
    assert "'train.tuner_strategy' lora or " in error.remedy


def test_wrong_types_are_all_named_with_their_lines() -> None:
    error = refusal("train:\n  max_steps: many\n  seed: -1\n  stage: sft\n")
    first, second = error.problem.splitlines()
    assert first.startswith("run.yaml:2: 'train.max_steps' is 'many': ")
    assert second.startswith("run.yaml:3: 'train.seed' is -1: ")
    assert "optimiser steps" in error.remedy


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("data: {max_length: 4.5}", "'data.max_length' is 4.5"),
        ("data: {packing: perhaps}", "'data.packing' is 'perhaps'"),
        ("data: {dataset_name: {a: 1}}", "'data.dataset_name' is {'a': 1}"),
        ("data: {dataset_name: [a, 1]}", "'data.dataset_name.1' is 1"),
        ("data: {split_ratio: 1.5}", "'data.split_ratio' is 1.5"),
        ("data: {split_ratio: 1}", "'data.split_ratio' is 1"),
        ("train: {max_steps: 0}", "'train.max_steps' is 0"),
        ("data: {truncation: middle}", "'data.truncation' is 'middle'"),
        ("train: {dtype: bf16}", "'train.dtype' is 'bf16'"),
        ("train: {learning_rate: 0}", "'train.learning_rate' is 0"),
        ("train: {output_dir: 7}", "'train.output_dir' is 7"),
        ("infer: {port: 70000}", "'infer.port' is 70000"),
        ("train: {stage: 4}", "'train.stage' is 4, not a name"),
        ("train: {tuner_strategy: [lora]}", "'train.tuner_strategy' is ['lora'], not a name"),
    ],
)
def test_wrong_type(text: str, place: str) -> None:
    assert refusal(text).problem.startswith(f"run.yaml:1: {place}")


def test_unknown_section() -> None:
    error = refusal("model: {}\ntrian:\n  max_steps: 1\n")
    assert error.problem == "run.yaml:2: unknown section 'trian'"
    assert "'train'" in error.remedy


def test_key_at_the_top() -> None:
    error = refusal("max_steps: 1\n")
    assert error.problem == "run.yaml:1: unknown section 'max_steps'"
    assert "a key of section 'train'" in error.remedy


def test_section_with_a_plain_value() -> None:
    assert refusal("train: 3\n").problem == "run.yaml:1: section 'train' holds 3, not keys"


def test_unknown_component() -> None:
    error = refusal("train:\n  stage: dpoo\n")
    assert error.problem == "run.yaml:2: 'train.stage': unknown objective 'dpoo'"
    assert "'dpo'" in error.remedy


# Sections, defaults, round trip.


def test_empty_configuration_has_every_default() -> None:
    run = run_of("")
    assert run.model.model_id == "tiny/qwen3"
    assert (run.loop.stage, run.tuner, run.strategy) == ("sft", None, None)


def test_empty_section_means_defaults() -> None:
    assert run_of("train:\n").loop == LoopConfig()


def test_resolved_run_reads_back_the_same() -> None:
    run = run_of("train: {stage: dpo, tuner_strategy: lora, lora_rank: 4, beta: 0.2, learning_rate: 1e-4}\n")
    sections = json.loads(json.dumps(run.to_dict()))
    assert run_from_dict(sections) == run
    assert sections["train"]["lora_rank"] == 4
    assert sections["train"]["save_total_limit"] == 2, "defaults are written down too"


def test_command_defaults_count_only_where_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: {stage: pt}\n", encoding="utf-8")
    assert load_run(path, defaults={"train.stage": "sft"}).loop.stage == "pt"
    assert load_run(None, ["train.seed=3"], {"train.stage": "pt"}).loop.stage == "pt"
    assert load_run(path).folder == tmp_path


def test_default_component_that_is_not_installed_stops_only_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_offered", {})
    monkeypatch.setattr(engines, "_registered", {})
    assert run_of("train: {max_steps: 1}\n").engine is None
    error = refusal("infer: {engine: transformers}\n")
    assert "engine 'transformers' is not installed" in error.problem
    assert error.remedy == "pip install swift-infer brings it"


class TwinConfig(Config):
    """A component that claims a key of the loop."""

    max_steps: int = Field(0, description="taken")


def test_one_key_two_owners() -> None:
    with pytest.raises(
        RegistryError, match=r"'train\.max_steps' is claimed by the loop and by the twin config"
    ):
        key_owners({"loop": LoopConfig, "twin": TwinConfig}, "train")


@pytest.fixture
def greedy_objective() -> Iterator[str]:
    objectives.register(Component("greedy", dict, TwinConfig))
    yield "greedy"
    objectives.unregister("greedy")


def test_run_with_a_component_that_claims_anothers_key(greedy_objective: str) -> None:
    assert "rename one of them" in refusal(f"train: {{stage: {greedy_objective}}}\n").remedy


def test_plugins_of_the_file_are_loaded_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from swift.plugin import register_objective\n"
        "from swift.core.config.schema import Config\n"
        "class MineConfig(Config):\n"
        "    margin: float = 0.5\n"
        "register_objective('mine', config=MineConfig)(lambda config, context: None)\n",
        encoding="utf-8",
    )
    path = tmp_path / "run.yaml"
    path.write_text("plugins: mine.py\ntrain: {stage: mine, margin: 2}\n", encoding="utf-8")
    try:
        run = load_run(path)
    finally:
        objectives.unregister("mine")
    assert values(run.objective) == {"margin": 2.0}


def test_values_never_change_after_parsing() -> None:
    run = run_of("")
    with pytest.raises(ValueError, match="frozen"):
        run.loop.max_steps = 3  # type: ignore[misc]


def test_config_error_survives_a_process_boundary() -> None:
    import pickle

    error = ConfigError("problem", "remedy")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.problem, copy.remedy, str(copy)) == ("problem", "remedy", str(error))


# The section of plugins


def test_section_of_plugins_as_a_whole_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("plugins: {reload: true, timeout: 3}\n", encoding="utf-8")
    assert load_run(path, ["plugins=[]"]).plugins.reload
    replaced = load_run(path, ["plugins={timeout: 5, load: []}"]).plugins
    assert (replaced.reload, replaced.timeout) == (False, 5)
    assert load_run(path, ["plugins="]).plugins == PluginsConfig()


def test_misspelt_key_of_plugins() -> None:
    error = refusal("plugins:\n  laod: [mine.py]\n")
    assert "run.yaml:2: unknown key 'plugins.laod'" in str(error)
    assert "did you mean 'load'" in error.remedy


def test_fallback_of_a_part_that_nothing_registers() -> None:
    error = refusal("plugins:\n  fallback: {nosuch_loss: cross_entropy}\n")
    assert "run.yaml:2: 'plugins.fallback' names 'nosuch_loss'" in str(error)
    assert run_of("plugins: {fallback: {cross_entropy: label_smoothing}}").plugins.fallback


@pytest.mark.parametrize(
    ("terms", "rule"), [("[]", "at least one loss"), ("[{name: cross_entropy, weight: .nan}]", "finite")]
)
def test_sum_of_losses_that_is_none(terms: str, rule: str) -> None:
    assert rule in str(refusal(f"train:\n  loss_type: {terms}\n"))


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("train", "loss_type", "cross_entrop", "unknown loss 'cross_entrop'"),
        ("train", "loss_type", [{"name": "mse"}, {"name": "nix"}], "unknown loss 'nix'"),
        ("train", "callbacks", ["ema2"], "unknown callback 'ema2'"),
        ("eval", "metrics", "rogue", "did you mean 'rouge'"),
        ("data", "filters", [{"name": "lenght"}], "did you mean 'length'"),
        ("data", "loss_scale", "regexx", "unknown loss scale 'regexx'"),
    ],
)
def test_an_unknown_part_is_refused_where_it_is_written(
    tmp_path: Path, section: str, key: str, value: Any, words: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({section: {key: value}}), encoding="utf-8")
    with pytest.raises(RegistryError, match=words) as raised:
        load_run(path)
    assert str(raised.value).startswith(f"{path}:2: '{section}.{key}'")


def test_usual_loss_may_be_written() -> None:
    assert run_from_dict({"train": {"stage": "sft", "loss_type": "cross_entropy"}}).objective is not None
    assert run_from_dict({"data": {"task_type": "embedding"}, "train": {"loss_type": "auto"}}).objective


def test_a_misspelt_key_of_a_term_is_told_once() -> None:
    with pytest.raises(ConfigError) as raised:
        run_from_dict({"train": {"loss_type": [{"name": "mse", "weigth": 2}]}})
    assert str(raised.value).splitlines()[0].endswith("weigth' is 2: there is no such key")
    assert len(str(raised.value).splitlines()) == 2


def test_a_missing_space_behind_a_colon_is_told() -> None:
    with pytest.raises(ConfigError, match="put a space behind the colon: name: ndcg"):
        run_from_dict({"eval": {"metrics": [{"name:ndcg": None}]}})
