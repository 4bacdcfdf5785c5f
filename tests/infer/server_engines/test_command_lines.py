"""The command lines and requests that managed servers get, against records of what their packages take.

record.py makes the records from the packages themselves; where an environment of the pinned version is
installed (`swift engines install NAME`), the record is made anew and compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.core.types import Constraint, GenerationRequest, SamplingParams
from swift.infer.engines.http.dialect import Dialect
from swift.infer.engines.lmdeploy.chat import LmdeployDialect
from swift.infer.engines.lmdeploy.command import check
from swift.infer.engines.lmdeploy.command import command as lmdeploy_command
from swift.infer.engines.lmdeploy.config import LmdeployEngineConfig
from swift.infer.engines.process.adapters import OfferedAdapter
from swift.infer.engines.sglang.command import command as sglang_command
from swift.infer.engines.sglang.config import SglangEngineConfig
from swift.infer.engines.sglang.generate import GenerateDialect
from swift.infer.engines.vllm.command import RANKS, settled
from swift.infer.engines.vllm.command import command as vllm_command
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.generate import VllmDialect
from swift.infer.environments.place import folder_of, interpreter_in, missing
from swift.infer.environments.table import ENVIRONMENTS

HERE = Path(__file__).parent
NAMES = ("vllm", "sglang", "lmdeploy")
PYTHON = Path("/environments/python")


def record(name: str) -> dict[str, Any]:
    """What a package takes."""
    loaded: dict[str, Any] = json.loads((HERE / "records" / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


class Strict(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> Any:
        raise AssertionError(message)


def parser(name: str) -> Strict:
    """The package's own parser, as far as words, types and choices go."""
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "json": json.loads, "str": str}
    made = Strict(allow_abbrev=False, add_help=False)
    for one in record(name)["options"]:
        names = one["flags"] or [one["dest"]]
        if one["nargs"] == 0:
            made.add_argument(*names, action="store_true")
        else:
            made.add_argument(*names, type=kinds[one["type"]], choices=one["choices"], nargs=one["nargs"])
    return made


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 24}')
    return tmp_path


@pytest.fixture
def seeing(tmp_path: Path) -> str:
    """A model that takes images, as its configuration says."""
    folder = tmp_path / "seeing"
    folder.mkdir()
    (folder / "config.json").write_text('{"vision_config": {}}')
    return str(folder)


def source(**changes: Any) -> EngineSource:
    values: dict[str, Any] = {"model": "/models/m", "revision": "main", "trust_remote_code": True}
    return EngineSource(**{**values, "dtype": "bfloat16", "max_length": 4096, "tokenizer": "", **changes})


def words_of(name: str, adapters: dict[str, Path], model: str = "/models/m") -> list[str]:
    """A command line that uses every key."""
    loadings = [OfferedAdapter(key, f"{key}-1", folder) for key, folder in adapters.items()]
    shared: dict[str, Any] = {
        "max_running": 32,
        "max_length": 2048,
        "gpu_memory_utilization": 0.5,
        "tensor_parallel_size": 2,
        "extra_args": [],
    }
    if name == "vllm":
        config = VllmEngineConfig(**shared, kv_cache_gb=2.5, enforce_eager=True, max_loras=3)
        asked = source(adapters=adapters, chat_template="/t.jinja", tokenizer="/models/t", model=model)
        return vllm_command(asked, settled(asked, config), PYTHON, 8123, loadings)[3:]
    if name == "sglang":
        sglang = SglangEngineConfig(**shared, max_loras=3, deterministic=True)
        asked = source(adapters=adapters, chat_template="/t.jinja", tokenizer="/models/t", device="cuda")
        return sglang_command(asked, sglang, PYTHON, 8123, loadings, 24)[3:]
    lmdeploy = LmdeployEngineConfig(**shared)
    return lmdeploy_command(source(), lmdeploy, PYTHON, 8123, loadings)[5:]


@pytest.mark.parametrize("name", NAMES)
def test_the_package_takes_the_command_line(name: str, adapter: Path, seeing: str) -> None:
    parsed = vars(parser(name).parse_args(words_of(name, {"one": adapter, "two": adapter}, seeing)))
    length = {"vllm": "max_model_len", "sglang": "context_length", "lmdeploy": "session_len"}[name]
    assert parsed[length] == 2048
    running = {"vllm": "max_num_seqs", "sglang": "max_running_requests", "lmdeploy": "max_batch_size"}[name]
    assert parsed[running] == 32
    listed = {"vllm": "lora_modules", "sglang": "lora_paths", "lmdeploy": "adapters"}[name]
    assert [word.partition("=")[2] for word in parsed[listed]] == [str(adapter)] * 2


@pytest.mark.parametrize("name", NAMES)
def test_the_record_refuses_what_the_package_would(name: str) -> None:
    for wrong in (
        ["--no-such-option"],
        ["--dtype", "float7"],
        ["--tp-size" if name == "sglang" else "--dp", "x"],
    ):
        with pytest.raises((AssertionError, ValueError)):
            parser(name).parse_args([*words_of(name, {}), *wrong])


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_the_pinned_version(name: str) -> None:
    assert record(name)["made_from"] == ENVIRONMENTS[name].requirements[0].replace("==", " ")


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_what_the_package_says(name: str) -> None:
    row = ENVIRONMENTS[name]
    if missing(row):
        pytest.skip(f"needs the environment: swift engines install {name}")
    made = subprocess.run(
        [interpreter_in(folder_of(name)), HERE / "record.py", name],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(made.stdout) == record(name)


def test_ranks_are_those_that_vllm_has(adapter: Path) -> None:
    (option,) = (one for one in record("vllm")["options"] if "--max-lora-rank" in one["flags"])
    assert list(RANKS) == option["choices"]
    assert settled(source(adapters={"a": adapter}), VllmEngineConfig()).max_lora_rank == 32


ASKED = SamplingParams(
    max_tokens=5, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, stop=("x",), seed=3, ignore_eos=True,
    repetition_penalty=1.1, frequency_penalty=0.2, presence_penalty=0.3, logit_bias=((4, -1.0),),
)  # fmt: skip
REGEX = Constraint("regex", "[0-9]+")


def fields(
    dialect: Dialect, sampling: SamplingParams, adapter: str | None = None
) -> tuple[str, dict[str, Any]]:
    return dialect.written(GenerationRequest("r", (1, 2), sampling, adapter))


def test_vllm_has_every_field_of_the_request() -> None:
    dialect, known = VllmDialect(str, images=True), record("vllm")["requests"]
    sampling = _with(ASKED, logprobs=2, constraint=REGEX, stop_token_ids=(9,))
    path, body = fields(dialect, sampling, "a")
    assert path == "/v1/completions" and set(body) <= set(known[path])
    path, body = dialect.written(GenerationRequest("r", (1, 2), sampling, "a", images=(b"image",)))
    assert path == "/inference/v1/generate" and set(body) <= set(known[path])
    assert set(body["sampling_params"]) <= set(known["sampling_params"])
    assert set(body["sampling_params"]["structured_outputs"]) <= set(known["structured_outputs"])


def test_vllm_has_the_paths_that_weights_are_replaced_by() -> None:
    known = record("vllm")["requests"]["paths"]
    assert {"/pause", "/resume", "/collective_rpc", "/reset_prefix_cache"} <= set(known)
    assert {"/reset_mm_cache", "/reset_encoder_cache"} <= set(known)


def test_sglang_has_every_field_of_the_request() -> None:
    path, body = fields(GenerateDialect(seeds=True), _with(ASKED, logprobs=2, constraint=REGEX), "a")
    known = record("sglang")["requests"]
    assert set(body) <= set(known[path]) and set(body["sampling_params"]) <= set(known["sampling_params"])
    assert {"lora_name", "lora_path"} <= set(known["/load_lora_adapter"])
    assert {"model_path", "load_format"} <= set(known["/update_weights_from_disk"])


def test_lmdeploy_has_every_field_of_the_request() -> None:
    known = record("lmdeploy")["requests"]
    plain = _with(ASKED, frequency_penalty=0.0, presence_penalty=0.0)
    path, body = fields(LmdeployDialect("model"), _with(plain, logprobs=0, constraint=REGEX), "a")
    assert path == "/v1/chat/completions" and set(body) <= set(known[path])
    assert set(body["response_format"]) <= set(known["response_format"])
    path, body = fields(
        LmdeployDialect("model"), _with(plain, logprobs=2, seed=None, logit_bias=(), stop_token_ids=(9,))
    )
    assert path == "/generate" and set(body) <= set(known[path])


def _with(sampling: SamplingParams, **changes: Any) -> SamplingParams:
    import dataclasses

    return dataclasses.replace(sampling, **changes)


@pytest.mark.parametrize(
    ("changes", "why"), [({"device": "cpu"}, "GPUs only"), ({"dtype": "float32"}, "float32")]
)
def test_lmdeploy_refuses_what_it_cannot(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(EngineError, match=why):
        check(source(**changes))
