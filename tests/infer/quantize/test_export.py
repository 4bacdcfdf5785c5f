"""swift export on a small trained model: every method, what it refuses, what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from swift.core.config.schema import ModelConfig
from swift.core.errors import CheckpointError, ConfigError, EngineError, ModelError
from swift.core.models.load import load_model
from swift.core.types import GenerationRequest, SamplingParams
from swift.infer.commands.export import command
from swift.infer.load import load_engine, load_infer_run
from swift.infer.quantize.blocks import Block, calibrate
from swift.infer.quantize.export import Exported, export
from swift.infer.quantize.fold import chains, check_same, fold
from swift.infer.quantize.formats import check_readable, readers, stored_format

if TYPE_CHECKING:
    from tests.infer.quantize.conftest import Trained

FEW = ("export.calibration_samples=24", "export.calibration_length=128")
METHODS = {
    # method: (further keys, most that perplexity may grow, least that weights shrink, format)
    "gptq": (("export.group_size=64", *FEW), 0.04, 2.6, "compressed-tensors"),
    "awq": (("export.group_size=64", *FEW), 0.04, 2.6, "compressed-tensors"),
    "int8": (FEW, 0.01, 2.1, "compressed-tensors"),
    "fp8": ((), 0.02, 2.1, "compressed-tensors"),
    "bnb-nf4": ((), 0.06, 2.5, "bitsandbytes"),
    "bnb-int8": ((), 0.02, 2.1, "bitsandbytes"),
    "gguf": (("export.gguf_type=q5_0",), 0.03, 4.0, "gguf"),
}


def make(trained: Trained, output: Path, method: str, *keys: str) -> Exported:
    words = [
        f"model.model_id={trained.folder}",
        f"data.dataset_name={trained.rows}",
        f"export.output_dir={output}",
        f"export.method={method}",
        "export.perplexity_samples=20",
        *keys,
    ]
    return export(load_infer_run(None, words))


@pytest.fixture(scope="module")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Every method's folder."""
    root = tmp_path_factory.mktemp("exported")
    return {name: make(trained, root / name, name, *spec[0]) for name, spec in METHODS.items()}


@pytest.mark.parametrize("method", METHODS)
def test_costs_little_and_is_smaller(exported: dict[str, Exported], method: str) -> None:
    result, (_, growth, shrinks, stored) = exported[method], METHODS[method]
    assert result.perplexity is not None
    before, after = result.perplexity
    assert before < 8  # it has learned: a uniform guess has 2,048
    assert before * (1 - growth) < after < before * (1 + growth) and after != before
    assert result.size[0] / result.size[1] > shrinks
    assert stored_format(result.folder).name == stored


def loaded_by_card(folder: Path) -> tuple[Any, Any]:
    """What the Python of a model card makes, run beside the folder that it names."""
    _, _, rest = (folder / "README.md").read_text().partition("```python\n")
    with contextlib.chdir(folder.parent):
        names: dict[str, Any] = {}
        exec(rest.partition("```")[0], names)
    return names["model"], names["tokenizer"]


@pytest.mark.parametrize("method", METHODS)
def test_transformers_alone_loads_it(exported: dict[str, Exported], method: str, trained: Trained) -> None:
    folder = exported[method].folder
    model, tokenizer = loaded_by_card(folder)
    ids = tokenizer("Ada has 3 apples and", return_tensors="pt")["input_ids"]
    plain = AutoModelForCausalLM.from_pretrained(trained.folder, dtype=torch.float32)
    with torch.no_grad():
        ours, theirs = model(ids).logits.float(), plain(ids).logits
    assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.98
    assert not torch.equal(ours, theirs)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(trained.folder).chat_template
    assert (folder / "generation_config.json").is_file()


@pytest.mark.parametrize("method", METHODS)
def test_the_embedded_engine_serves_it(exported: dict[str, Exported], method: str) -> None:
    run = load_infer_run(None, [f"model.model_id={exported[method].folder}"])
    engine, tokenizer = load_engine(run)
    prompt = tuple(tokenizer("Ada has 3 apples and")["input_ids"])
    sampling = SamplingParams(max_tokens=6, temperature=0.0)
    deltas = list(engine.generate([GenerationRequest("one", prompt, sampling)]))
    assert deltas[-1].finish_reason in ("length", "stop") and deltas[-1].error is None
    assert sum(len(delta.token_ids) for delta in deltas) >= 1
    engine.close()


VLLM_FORMATS = os.environ.get("SWIFT_TEST_VLLM_FORMATS", "").split()


@pytest.mark.timeout(500)
@pytest.mark.skipif(not VLLM_FORMATS, reason="a second vLLM: set SWIFT_TEST_VLLM_FORMATS='awq gptq int8 fp8'")
def test_vllm_reads_it_on_cpu(exported: dict[str, Exported], tmp_path: Path) -> None:
    methods = VLLM_FORMATS
    rows = [row.tolist() for row in exported["awq"].tokens.held_out]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    program = [
        sys.executable,
        str(Path(__file__).with_name("vllm_perplexity.py")),
        str(tmp_path / "rows.json"),
    ]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    done = subprocess.run(
        [*program, *(str(exported[method].folder) for method in methods)],
        env=os.environ | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"folder"')]
    assert len(found) == len(methods), done.stderr[-3000:]
    for method, one in zip(methods, found, strict=True):
        figures = exported[method].perplexity
        assert figures is not None and one["perplexity"] == pytest.approx(figures[1], rel=0.02)
        assert len(one["answer"]) >= 1


@pytest.mark.parametrize("method", METHODS)
def test_the_card_says_what_was_done(exported: dict[str, Exported], method: str) -> None:
    result = exported[method]
    card = (result.folder / "README.md").read_text()
    assert result.perplexity is not None
    for text in (f"- method: {method}", f"| perplexity | {result.perplexity[0]:.3f} ", "from_pretrained("):
        assert text in card
    assert result.tokens.fingerprint in card and f"{result.size[1]:,}" in card
    assert str(result.folder.parent) + "/." not in card  # no staging folder


def test_only_the_blocks_are_packed(exported: dict[str, Exported]) -> None:
    weights = load_file(exported["gptq"].folder / "model.safetensors")
    packed = [name for name in weights if name.endswith(".weight_packed")]
    assert len(packed) == 28 and all(".layers." in name for name in packed)
    assert weights["model.embed_tokens.weight"].is_floating_point()
    config = json.loads((exported["gptq"].folder / "config.json").read_text())["quantization_config"]
    assert config["format"] == "pack-quantized"
    assert config["config_groups"]["group_0"]["weights"]["group_size"] == 64
    assert config["ignore"] == ["lm_head"]


def test_an_adapter_is_merged_first(trained: Trained, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = ModelConfig.model_validate({"model_id": str(trained.folder)})
    model = load_model(config, dtype=torch.float32, device="cpu")
    settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, settings)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    files = [*trained.folder.iterdir(), *(tmp_path / "adapter").iterdir()]
    before = {file: file.read_bytes() for file in files}
    output = tmp_path / "out"
    result = make(trained, output, "fp8", f"model.adapter={tmp_path / 'adapter'}")
    assert {file: file.read_bytes() for file in files} == before  # the originals are untouched
    merged = load_model(ModelConfig(model_id=str(output)), dtype=torch.float32, device="cpu")
    ids = torch.tensor([[5, 60, 700, 8]])
    with torch.no_grad():
        ours, theirs = merged(ids).logits, adapted(ids).logits
    assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.98
    assert result.perplexity is not None and result.perplexity[1] < 1.05 * result.perplexity[0]
    assert f"- merged adapter: {tmp_path / 'adapter'}" in (output / "README.md").read_text()


def test_the_command_prints_what_it_cost(trained: Trained, tmp_path: Path) -> None:
    (trained.folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# base\n")
    arguments = ["--model", str(trained.folder), "--method", "none", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(
        command, [*arguments, "export.dtype=bfloat16", "export.perplexity_samples=4"], catch_exceptions=False
    )
    found = re.search(r"perplexity +([\d.]+) -> ([\d.]+) .* topics of Python's manual", result.output)
    assert found is not None and float(found[1]) == float(found[2])  # plain weights, the same path
    assert re.search(r"size +2.10 MB -> 2.10 MB \(the same size\)", result.output)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert "license: apache-2.0" in (tmp_path / "out" / "README.md").read_text()


def test_refuses_what_would_destroy_or_cannot_work(trained: Trained, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something already"):
        make(trained, taken, "fp8")
    assert [file.name for file in taken.iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigError, match=r"export\.output_dir is not set"):
        export(load_infer_run(None, [f"model.model_id={trained.folder}"]))
    words = [f"model.model_id={trained.folder}", f"export.output_dir={tmp_path / 'x'}", "export.method=gptq"]
    for measured_by in ([], ["data.val_dataset_name=rows.jsonl"]):
        with pytest.raises(ConfigError, match="looks at data"):
            export(load_infer_run(None, [*words, *measured_by]))
    record = {"peft_type": "LORA", "base_model_name_or_path": "tiny/llama"}
    (taken / "adapter_config.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"was trained on another model: 'tiny/llama'"):
        make(trained, tmp_path / "x", "fp8", f"model.adapter={taken}")
    with pytest.raises(ModelError, match=r"128 inputs, which export\.group_size=96 does not divide"):
        make(trained, tmp_path / "x", "gptq", "export.group_size=96", *FEW)
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]  # nothing half made


def test_refuses_to_quantise_twice(exported: dict[str, Exported], trained: Trained, tmp_path: Path) -> None:
    again = replace(trained, folder=exported["gptq"].folder)
    with pytest.raises(ModelError, match="quantised already"):
        make(again, tmp_path / "x", "fp8")


def test_a_failure_leaves_nothing(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import swift.infer.quantize.export as module

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_card", full)
    with pytest.raises(CheckpointError, match="No space left"):
        make(trained, tmp_path / "out", "fp8")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1000))  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="GB free"):
        make(trained, tmp_path / "out", "fp8")


def test_names_the_engines_that_read_a_format(exported: dict[str, Exported]) -> None:
    assert readers(exported["awq"].folder)[:2] == ("transformers", "vllm")
    check_readable(exported["awq"].folder, "vllm")
    with pytest.raises(EngineError, match=r"'lmdeploy' cannot read .*compressed-tensors \(pack-quantized\)"):
        check_readable(exported["awq"].folder, "lmdeploy")
    with pytest.raises(EngineError, match=r"gguf \(model\.gguf\)\n.*infer\.engine to transformers"):
        check_readable(exported["gguf"].folder, "vllm")
    check_readable(Path("some/hub-id"), "vllm")


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "phi3", "gemma3"])
def test_awq_and_int8_know_the_blocks_of_each_family(family: str, tmp_path: Path, trained: Trained) -> None:
    """Folding must leave every block as it was, norms of 1 + weight and fused layers included."""
    config = ModelConfig(model_id=f"tiny/{family}")
    model = load_model(config, dtype=torch.float32, device="cpu")
    rows = [torch.randint(0, 2000, (24,), generator=torch.Generator().manual_seed(0))]
    folded = []

    def visit(block: Block) -> None:
        before = [block.run(0)]
        for chain in chains(block):
            size = block.linears[chain.names[0]].in_features
            factor = torch.rand(size, generator=torch.Generator().manual_seed(1)) + 0.5
            block = fold(block, chain, factor)
            folded.append(chain.names)
        check_same(block, before)

    calibrate(model, rows, ["lm_head"], torch.device("cpu"), visit)
    assert len(set(folded)) >= 2 and len(folded) == len(set(folded)) * len(model.model.layers)


def test_a_fold_that_changes_the_block_is_refused(trained: Trained) -> None:
    config = ModelConfig.model_validate({"model_id": str(trained.folder)})
    model = load_model(config, dtype=torch.float32, device="cpu")

    def visit(block: Block) -> None:
        before = [block.run(0)]
        block.linears["mlp.up_proj"].weight.data.mul_(1.5)
        check_same(block, before)

    with pytest.raises(ModelError, match="connected in an unknown way"):
        calibrate(model, [torch.arange(9)], [], torch.device("cpu"), visit)
