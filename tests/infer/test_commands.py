"""swift infer and swift serve as a person runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result
from openai import OpenAI
from peft.tuners.lora import LoraLayer
from PIL import Image

from swift.core.config.schema import ModelConfig
from swift.core.errors import DataError, EngineError, ModelError
from swift.core.models.load import load_model, load_tokenizer
from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.batch import answer_file, staging
from swift.infer.commands.infer import command as infer
from swift.infer.commands.serve import command as serve
from swift.infer.load import load_adapted, load_infer_run, served_name
from swift.infer.rows import Prompt
from swift.infer.server.run import listen


def invoke(command: click.Command, *arguments: object, text: str | None = None) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments], input=text, catch_exceptions=False)


def test_answers_a_file(tmp_path: Path, tiny_model_dir: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "reverse 123", "id": 7},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "old"}]},
        {"instruction": "say", "input": "x", "output": "y"},
        {"text": "Once upon"},
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "deep" / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--model", tiny_model_dir, "--input", source, "--output", target, "--max-new-tokens", 6]
    assert invoke(infer, *arguments, "infer.temperature=0").exit_code == 0
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    assert [{key: row[key] for key in row if key != "response"} for row in answers] == rows
    assert any(row["response"] for row in answers)  # random weights may well answer with half a character
    first = target.read_text()
    invoke(infer, *arguments, "infer.temperature=0")
    assert target.read_text() == first


def test_malformed_rows_are_named(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "x"}\n{"prompt": \n')
    with pytest.raises(DataError, match=r"in\.jsonl:2"):
        invoke(infer, "--input", source, "--output", tmp_path / "out.jsonl")
    source.write_text('{"prompt": "x"}\n{"nothing": 1}\n')
    with pytest.raises(DataError, match=r"in\.jsonl:2"):
        invoke(infer, "--input", source, "--output", tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="does not exist"):
        invoke(infer, "--input", tmp_path / "none.jsonl", "--output", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_that_cannot_be_answered_are_skipped_on_request(tmp_path: Path, tiny_model_dir: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    long = json.dumps({"prompt": "w " * 6000})
    source.write_text('{"prompt": "x"}\n{bad\n{"nothing": 1}\n')
    with source.open("a") as file:
        file.write('{"prompt": "\\ud800"}\n' + long + '\n{"prompt": "y"}\n')
    arguments = ["--model", tiny_model_dir, "--input", source, "--output", target, "--max-new-tokens", 3]
    result = invoke(infer, *arguments, "data.on_error=skip")
    assert "2 answers, 4 rows skipped" in result.output
    assert [json.loads(line)["prompt"] for line in target.read_text().splitlines()] == ["x", "y"]


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_video_and_audio_are_refused_instead_of_ignored(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "in.jsonl"
    row = {"messages": [{"role": "user", "content": f"<{kind}>what?"}], f"{kind}s": ["a.bin"]}
    source.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"in\.jsonl:1: the row holds video or audio"):
        invoke(infer, "--model", "none", "--input", source, "--output", tmp_path / "out.jsonl")


def image_rows(folder: Path, image: str) -> Path:
    """A row of text before one that shows an image."""
    row = {"messages": [{"role": "user", "content": "<image>what?"}], "images": [image]}
    (folder / "in.jsonl").write_text('{"prompt": "x"}\n' + json.dumps(row) + "\n")
    return folder / "in.jsonl"


def test_a_text_model_refuses_images_before_it_answers_any_row(tmp_path: Path, tiny_model_dir: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    source, target = image_rows(tmp_path, "a.png"), tmp_path / "out.jsonl"
    words = ["--model", tiny_model_dir, "--input", source, "--output", target, "--max-new-tokens", 2]
    with pytest.raises(DataError, match=r"in\.jsonl:2: the row has images, and this model takes none"):
        invoke(infer, *words)
    assert not target.exists() and not staging(target).exists()
    assert "1 answer, 1 rows skipped" in invoke(infer, *words, "data.on_error=skip").output


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("none.png", "cannot be read"),
        ("data:image/png;base64,abc", "not valid base64"),
        ("https://a/b.png", "an image is .https"),
    ],
)
def test_images_that_cannot_be_read_are_named_by_their_row(tmp_path: Path, image: str, says: str) -> None:
    source = image_rows(tmp_path, image)
    with pytest.raises(DataError, match=rf"in\.jsonl:2.*{says}"):
        invoke(infer, "--model", "none", "--input", source, "--output", tmp_path / "out.jsonl")


def test_an_output_that_cannot_be_written_is_found_first(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "x"}\n')
    with pytest.raises(DataError, match="it is a folder"):
        invoke(infer, "--model", "none", "--input", source, "--output", tmp_path)
    assert "same file" in invoke(infer, "--input", source, "--output", source).output


class Interrupted:
    """An engine that is stopped after its first two answers, which come in the wrong order."""

    def generate(self, requests: list[GenerationRequest]) -> Iterator[TokenDelta]:
        for number in (1, 0):
            yield TokenDelta(requests[number].request_id, text=f"answer {number}", finish_reason="stop")
        raise KeyboardInterrupt


def test_ctrl_c_keeps_the_answers_so_far(tmp_path: Path, tiny_model_dir: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("older answers")
    tokenizer = load_tokenizer(ModelConfig.model_validate({"model_id": str(tiny_model_dir)}))
    rows = [Prompt({"id": number}, "here", text="x") for number in range(3)]
    with pytest.raises(KeyboardInterrupt):
        answer_file(rows, target, Interrupted(), tokenizer, load_infer_run(None, []))  # type: ignore[arg-type]
    kept = [json.loads(line) for line in staging(target).read_text().splitlines()]
    assert kept == [{"id": 0, "response": "answer 0"}, {"id": 1, "response": "answer 1"}]
    assert target.read_text() == "older answers"


def test_answers_in_float16(tiny_model_dir: Path) -> None:
    run = load_infer_run(None, [f"model.model_id={tiny_model_dir}", "train.dtype=float16"])
    assert load_adapted(run)[0].dtype == torch.float16


def test_chats_in_the_terminal(tiny_model_dir: Path) -> None:
    text = "hello\n/reset\n/what\n\nagain\n/exit\nnever read\n"
    result = invoke(infer, "--model", tiny_model_dir, "--max-new-tokens", 5, "--temperature", 0, text=text)
    assert result.exit_code == 0
    assert "a new chat" in result.output and "unknown command /what" in result.output
    assert result.output.count("> ") >= 4
    assert invoke(infer, "--model", tiny_model_dir, text="").exit_code == 0  # Ctrl-D


def adapter(folder: Path, base: Any) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.save_pretrained(str(folder))


def test_an_adapter_brings_its_base(tmp_path: Path, tiny_model_dir: Path) -> None:
    base = load_model(
        ModelConfig.model_validate({"model_id": str(tiny_model_dir)}), dtype=torch.float32, device="cpu"
    )
    adapter(tmp_path / "run" / "final", base)
    for words in ([f"model.adapter={tmp_path / 'run'}"], [f"model.model_id={tmp_path / 'run'}"]):
        run = load_infer_run(None, words)
        assert run.model.model_id == str(tiny_model_dir) and served_name(run) == "run"
    model, _ = load_adapted(run)
    ids = torch.tensor([[5, 6, 7]])
    plain = load_model(run.model, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        assert not torch.allclose(model(ids).logits, plain(ids).logits)
    assert isinstance(model.base_model.model.model.layers[0].self_attn.q_proj, LoraLayer)
    assert model.base_model.model.model.layers[0].self_attn.q_proj.merged  # serving pays no extra products
    with pytest.raises(ModelError, match=r"holds no adapter \(adapter_config\.json"):
        load_infer_run(None, [f"model.adapter={tiny_model_dir}"])


def test_a_run_on_random_weights_brings_its_seed(tmp_path: Path) -> None:
    base = load_model(ModelConfig(), dtype=torch.float32, device="cpu", seed=3)
    adapter(tmp_path / "final", base)
    record = {"config": {"model": {"model_id": "tiny/qwen3"}, "train": {"seed": 3}}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    run = load_infer_run(None, [f"model.adapter={tmp_path}"])
    assert (run.model.model_id, run.loop.seed) == ("tiny/qwen3", 3)
    model, _ = load_adapted(run)
    own = model.get_base_model().get_input_embeddings().weight
    assert torch.equal(own, base.get_input_embeddings().weight)


def test_serve_refuses_a_port_in_use() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(EngineError, match=str(port)) as caught:
            invoke(serve, "--port", port)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["poet"], "'poet' is not NAME=PATH"),
        (["=out"], "'=out' is not NAME=PATH"),
        (["a=x", "a=y"], "'a' is given twice"),
    ],
)
def test_adapters_on_the_command_line_are_named(given: list[str], says: str) -> None:
    words = [word for each in given for word in ("--adapters", each)]
    found = CliRunner().invoke(serve, ["--model", "tiny/qwen3", *words])
    assert found.exit_code == 2 and says in found.output


@pytest.mark.timeout(120)
def test_serves_until_it_is_told_to_stop(tiny_model_dir: Path, tmp_path: Path) -> None:
    adapter(tmp_path / "poet", load_model(ModelConfig(), dtype=torch.float32, device="cpu"))
    program = "from swift.infer.cli import main; main()"
    arguments = ["serve", "--model", str(tiny_model_dir), "--port", "0", "--served-model-name", "mine"]
    arguments += ["--adapters", f"poet={tmp_path / 'poet'}"]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("ready: http://127.0.0.1:")
            with OpenAI(base_url=line.split()[1] + "/v1", api_key="none", max_retries=0) as client:
                answer = client.chat.completions.create(
                    model="mine", messages=[{"role": "user", "content": "hi"}], max_tokens=4
                )
                assert {card.id for card in client.models.list()} == {"mine", "poet"}
            assert answer.usage is not None and answer.usage.completion_tokens >= 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_help_loads_no_torch() -> None:
    program = (
        "import sys; from swift.infer.commands import app, engines, eval, export, infer, sample, serve; "
        "print(*{'torch', 'pydantic', 'fastapi', 'transformers', 'rich'} & set(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, stdout=subprocess.PIPE, text=True
    )
    assert loaded.stdout.split() == []


def test_rows_are_answered_without_a_bar_where_nobody_watches(tmp_path: Path, tiny_model_dir: Path) -> None:
    rows, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    rows.write_text('{"prompt": "hi"}\n')
    done = invoke(
        infer, "--model", tiny_model_dir, "--input", rows, "--output", output, "--max-new-tokens", 2
    )
    assert done.stdout == f"1 answer: {output}\n"
    assert "tokens/s" not in done.stderr
