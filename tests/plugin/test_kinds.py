"""Models, tuners, objectives, engines, rewards and rollouts from a plugin file, named in YAML, end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import PreTrainedModel

from swift.core.commands.sft import command as sft
from swift.core.config.run import RunConfig, load_run
from swift.core.config.schema import ModelConfig
from swift.core.errors import ConfigError, ModelError, PluginError, RegistryError
from swift.core.models.load import load_model, load_tokenizer
from swift.core.registry import REGISTRIES
from swift.core.train.launch import train
from swift.infer.commands.infer import command as infer
from swift.plugin.scaffold import write_plugin
from swift.plugin.testing import check_files

Sections = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = {kind: registry.registered() for kind, registry in REGISTRIES.items()}
    yield
    for kind, registry in REGISTRIES.items():
        registry.restore(before[kind])


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    pairs = [{"prompt": f"Count to {number}.", "response": f"One, two, {number}."} for number in range(16)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def run_of(folder: Path, rows: Path, plugin: Path | str | None, **sections: dict[str, Any]) -> RunConfig:
    """A run of two steps on 16 rows, from a YAML file beside its plugin."""
    values: Sections = {
        "plugins": {"load": [str(plugin)]} if plugin is not None else {},
        "model": {"model_id": "tiny/qwen2"},
        "data": {"dataset_name": str(rows), "max_length": 64},
        "train": {
            "output_dir": str(folder / "run"),
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
        },
    }
    for section, keys in sections.items():
        values[section] = {**values[section], **keys} if section in values else keys
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_run(path)


def reports(run: RunConfig) -> list[dict[str, Any]]:
    lines = (Path(run.checkpoint.output_dir) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def weights(settings: ModelConfig) -> dict[str, torch.Tensor]:
    model: PreTrainedModel = load_model(settings, dtype=torch.float32, device="cpu")
    return dict(model.state_dict())


# Tuners


def test_a_tuner_trains_saves_and_resumes_what_it_chose(tmp_path: Path, rows: Path) -> None:
    (plugin, *_) = write_plugin("tuner", "bias_tuner", tmp_path)
    keys = {"tuner_strategy": "bias_tuner", "tuned_parts": ["bias"], "save_steps": 1, "max_steps": 3}
    straight = run_of(tmp_path, rows, plugin, train=keys)
    assert train(straight) == 0
    final = Path(straight.checkpoint.output_dir) / "final"
    assert not list(final.glob("*model*")), "only what trained is saved"
    trained = load_file(final / "bias_tuner.safetensors")
    base = weights(straight.model)
    assert set(trained) == {name for name in base if "bias" in name}
    assert all(not torch.equal(value, base[name]) for name, value in trained.items() if "k_proj" not in name)

    halted = run_of(tmp_path, rows, plugin, train={**keys, "output_dir": str(tmp_path / "halted")})
    assert train(halted) == 0
    for step in (2, 3):
        checkpoint = tmp_path / "halted" / f"checkpoint-{step}"
        for path in checkpoint.iterdir():
            path.unlink()
        checkpoint.rmdir()
    resumed = run_of(
        tmp_path, rows, plugin, train={**keys, "output_dir": str(tmp_path / "halted"), "resume": True}
    )
    assert train(resumed) == 0
    again = load_file(tmp_path / "halted" / "final" / "bias_tuner.safetensors")
    assert all(torch.equal(value, trained[name]) for name, value in again.items())


def test_a_tuner_that_lacks_methods_is_refused(tmp_path: Path, rows: Path) -> None:
    plugin = tmp_path / "tuner.py"
    plugin.write_text(
        "from swift.plugin import register_tuner\n\n"
        '@register_tuner("half")\ndef half(config, **arguments):\n    return object()\n'
    )
    run = run_of(tmp_path, rows, plugin, train={"tuner_strategy": "half"})
    with pytest.raises(PluginError, match=r"tuner 'half' \(.*tuner.py:3\) is a object without load_options"):
        train(run)


# Objectives


def test_an_objective_owns_its_keys(tmp_path: Path, rows: Path) -> None:
    (plugin, *_) = write_plugin("objective", "small_logits", tmp_path)
    losses = {}
    for weight in (0.0, 0.1):
        keys = {"stage": "small_logits", "z_weight": weight, "output_dir": str(tmp_path / str(weight))}
        run = run_of(tmp_path, rows, plugin, train=keys)
        assert train(run) == 0
        losses[weight] = reports(run)[0]
    plain = run_of(tmp_path, rows, plugin, train={"output_dir": str(tmp_path / "sft")})
    assert train(plain) == 0
    assert losses[0.0]["loss"] == pytest.approx(reports(plain)[0]["loss"], rel=1e-6)
    added = losses[0.1]["loss"] - losses[0.0]["loss"]
    assert added == pytest.approx(0.1 * losses[0.1]["z_loss"], rel=1e-4)
    with pytest.raises(ConfigError, match=r"unknown key 'train.z_weight'") as error:
        run_of(tmp_path, rows, plugin, train={"stage": "sft", "z_weight": 0.1})
    assert "small_logits" in error.value.remedy


def test_an_objective_without_a_task_is_refused(tmp_path: Path, rows: Path) -> None:
    plugin = tmp_path / "objective.py"
    plugin.write_text(
        "from swift.core.objectives.causal_lm import CausalLMObjective\n"
        "from swift.plugin import register_objective\n\n"
        '@register_objective("tasked", task="chatting")\nclass Tasked(CausalLMObjective):\n    pass\n'
    )
    run = run_of(tmp_path, rows, plugin, train={"stage": "tasked"})
    with pytest.raises(PluginError, match=r"objective 'tasked' \(.*objective.py:4\) has the task 'chatting'"):
        train(run)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('@register_tuner("full")', r"tuner 'full' is registered twice: .*swift-tuners.*plugin.py:9"),
        ('@register_tuner("mine", config=Mine)', "'train.seed' is claimed by the loop and by the tuner"),
    ],
)
def test_taken_names_and_keys(tmp_path: Path, rows: Path, code: str, message: str) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from swift.core.config.schema import Config\n"
        "from swift.core.protocols import Tuner\n"
        "from swift.plugin import register_tuner\n\n"
        "class Mine(Config):\n    seed: int = 3\n\n\n"
        f"{code}\nclass MyTuner(Tuner):\n    def __init__(self, config): pass\n"
    )
    with pytest.raises((RegistryError, PluginError), match=message):
        run_of(tmp_path, rows, plugin, train={"tuner_strategy": "mine"})


def test_help_explains_the_keys_of_plugins(tmp_path: Path) -> None:
    (plugin, *_) = write_plugin("objective", "small_logits", tmp_path)
    result = CliRunner().invoke(sft, [f"plugins=[{plugin}]", "--help-config"], catch_exceptions=False)
    assert "stage: small_logits" in result.output
    assert "z_weight: 0.0001" in result.output


# Engines


def test_an_engine_answers_as_the_embedded_one(tmp_path: Path, rows: Path, tiny_model_dir: Path) -> None:
    (plugin, *_) = write_plugin("engine", "plain_generate", tmp_path)
    answers = {}
    for engine in ("transformers", "plain_generate"):
        output = tmp_path / f"{engine}.jsonl"
        arguments = [
            *(f"plugins=[{plugin}]", f"model.model_id={tiny_model_dir}", f"infer.engine={engine}"),
            *("infer.temperature=0", "infer.max_new_tokens=6", "--input", str(rows), "--output", str(output)),
        ]
        assert CliRunner().invoke(infer, arguments, catch_exceptions=False).exit_code == 0
        answers[engine] = [json.loads(line)["response"] for line in output.read_text().splitlines()]
    assert len(answers["plain_generate"]) == 16
    assert answers["plain_generate"] == answers["transformers"]


# Models

BOX = """
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from swift.plugin import register_model


class BoxConfig(PreTrainedConfig):
    model_type = "MODEL_TYPE"

    def __init__(self, vocab_size=2048, hidden_size=32, **more):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**more)


@register_model("box", tokenizer="tiny/qwen3")
class Box(PreTrainedModel):
    '''A recurrent language model that transformers has never heard of.'''

    config_class = BoxConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.cell = nn.GRU(config.hidden_size, config.hidden_size, batch_first=True)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids, attention_mask=None, use_cache=False, **kwargs):
        return CausalLMOutput(logits=self.head(self.cell(self.embed(input_ids))[0]))
"""


def box(folder: Path, model_type: str = "box") -> Path:
    path = folder / "box.py"
    path.write_text(BOX.replace("MODEL_TYPE", model_type))
    return path


def test_an_own_architecture_trains_and_is_loaded_again(tmp_path: Path, rows: Path) -> None:
    plugin = box(tmp_path)
    run = run_of(
        tmp_path, rows, plugin, model={"model_id": "box", "architecture": {"hidden_size": 48}},
        train={"max_steps": 4},
    )  # fmt: skip
    assert train(run) == 0
    losses = [row["loss"] for row in reports(run)]
    assert losses[-1] < losses[0] - 0.5
    final = Path(run.checkpoint.output_dir) / "final"
    settings = ModelConfig(model_id=str(final))
    loaded = load_model(settings, dtype=torch.float32, device="cpu")
    assert type(loaded).__name__ == "Box"
    assert loaded.config.hidden_size == 48
    saved = load_file(final / "model.safetensors")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in saved.items())
    fresh = weights(run.model)
    assert not torch.equal(fresh["head.weight"], saved["head.weight"])
    assert torch.equal(fresh["head.weight"], weights(run.model)["head.weight"]), "the seed decides"
    assert load_tokenizer(settings).eos_token == load_tokenizer(ModelConfig()).eos_token

    further = run_of(
        tmp_path, rows, plugin, model={"model_id": str(final)}, train={"output_dir": str(tmp_path / "more")}
    )
    assert train(further) == 0
    assert reports(further)[0]["loss"] < losses[0] - 0.5


def test_check_builds_an_own_architecture(tmp_path: Path) -> None:
    (checked,) = check_files([box(tmp_path)])
    assert checked.failures == []
    assert {"builds", "logits", "differentiable"} <= {check.name for check in checked.checks}


def test_an_adapter_on_an_own_architecture(tmp_path: Path, rows: Path) -> None:
    keys = {"tuner_strategy": "lora", "lora_rank": 2, "target_modules": ["head"]}
    run = run_of(tmp_path, rows, box(tmp_path), model={"model_id": "box"}, train=keys)
    assert train(run) == 0
    assert (Path(run.checkpoint.output_dir) / "final" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ({"architecture": {"vocab_size": 100}}, ModelError, r"100 token embeddings.* 2048 tokens"),
        (
            {"architecture": {"hidden_size": "wide"}},
            PluginError,
            r"model 'box' \(.*box.py:\d+\) cannot be built",
        ),
        ({"model_id": "tiny/qwen3", "architecture": {"hidden_size": 8}}, ConfigError, "no registered model"),
    ],
)
def test_an_own_architecture_that_does_not_fit(
    tmp_path: Path, rows: Path, model: dict[str, Any], error: type[Exception], message: str
) -> None:
    run = run_of(tmp_path, rows, box(tmp_path), model={"model_id": "box", **model})
    with pytest.raises(error, match=message):
        train(run)


def test_a_class_must_carry_its_registered_name(tmp_path: Path, rows: Path) -> None:
    run = run_of(tmp_path, rows, box(tmp_path, "crate"), model={"model_id": "box"})
    with pytest.raises(PluginError, match=r"model 'box' \(.*\) has a config_class with model_type 'crate'"):
        train(run)


def test_a_folder_of_an_unknown_architecture_asks_for_its_plugin(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    values = json.loads((tiny_model_dir / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "model_type": "unheard_of"}))
    with pytest.raises(ModelError) as error:
        load_model(ModelConfig(model_id=str(folder)), dtype=torch.float32, device="cpu")
    assert "plugins:" in error.value.remedy


def test_a_factory_makes_a_model(tmp_path: Path, rows: Path) -> None:
    (plugin, *_) = write_plugin("model", "small_llama", tmp_path)
    sizes = {"vocab_size": 2048, "hidden_size": 32}
    wordless = run_of(tmp_path, rows, plugin, model={"model_id": "small_llama", "architecture": sizes})
    with pytest.raises(ConfigError, match=r"model 'small_llama' \(.*\) comes without a tokenizer"):
        train(wordless)
    named = {"model_id": "small_llama", "architecture": sizes, "tokenizer_id": "tiny/qwen3"}
    run = run_of(tmp_path, rows, plugin, model=named, train={"output_dir": str(tmp_path / "named")})
    assert train(run) == 0
    final = load_model(
        ModelConfig(model_id=str(tmp_path / "named" / "final")), dtype=torch.float32, device="cpu"
    )
    assert type(final).__name__ == "LlamaForCausalLM"
    assert final.config.hidden_size == 32


# Rewards and rollouts

GAME = """
import asyncio

from swift.plugin import register_reward, register_rollout
from swift.rlhf.rollout import Turn


@register_reward("letters")
class Letters:
    def __init__(self, wanted, scale=1.0):
        self.wanted, self.scale = wanted, scale

    async def __call__(self, prompts, completions, **columns):
        await asyncio.sleep(0)
        return [self.scale * sum(letter in self.wanted for letter in text) for text in completions]


@register_reward("shortness")
def shortness(prompts, completions, per=1, **columns):
    return [-len(text) / per for text in completions]


@register_rollout("twice")
class Twice:
    def __init__(self, reply):
        self.reply = reply

    def reset(self, messages, columns):
        self.turn = 0

    def step(self, completion):
        self.turn += 1
        more = [{"role": "user", "content": self.reply}]
        return Turn(done=True, reward=1.0) if self.turn == 2 else Turn(more)
"""


def test_rewards_and_rollouts_take_their_arguments_from_yaml(tmp_path: Path, rows: Path) -> None:
    plugin = tmp_path / "game.py"
    plugin.write_text(GAME)
    keys = {
        "stage": "grpo",
        "reward_funcs": [
            {"name": "letters", "config": {"wanted": "aeiou", "scale": 0.5}},
            {"name": "shortness", "config": {"per": 10}},
            "exact_match",
        ],
        "rollout": "twice",
        "rollout_config": {"reply": "More."},
        "num_generations": 2,
        "max_completion_length": 8,
        "per_device_train_batch_size": 2,
    }
    run = run_of(tmp_path, rows, plugin, train=keys)
    assert train(run) == 0
    for row in reports(run):
        assert {"turns", "rewards/letters", "rewards/shortness", "rewards/exact_match"} <= row.keys()
        assert row["rewards/letters"] > 0 > row["rewards/shortness"]
        assert row["rewards/environment"] == pytest.approx(row["turns"] - 1)
    elsewhere = {"reward_funcs": ["letters"], "output_dir": str(tmp_path / "elsewhere")}
    with pytest.raises(PluginError, match=r"reward 'letters' \(.*game.py:8\) does not take the arguments"):
        train(run_of(tmp_path, rows, plugin, train={**keys, **elsewhere}))
