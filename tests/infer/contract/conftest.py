"""Every engine under one set of tests.

By default the embedded engine, vLLM in this process where it is installed, and the remote one against our own
server. The others run where they are asked for: SWIFT_TEST_ENGINES=vllm-server pytest tests/infer/contract
(names: transformers, vllm, remote, vllm-server, relaunched; and vllm-images, vllm-server-images for
test_images.py alone), each in an environment that has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from swift.core.engines import EngineSource, facts_of
from swift.core.protocols import Engine
from swift.core.types import EngineFacts, GenerationRequest, SamplingParams, TokenDelta
from swift.tuners import apply_tuner, save_tuner

DEFAULT = ("transformers", "vllm", "remote")
ASKED = tuple(os.environ.get("SWIFT_TEST_ENGINES", ",".join(DEFAULT)).split(","))


@dataclass
class Answer:
    """What the deltas of one request add up to."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    logprobs: list[float] = field(default_factory=list)
    top: list[dict[int, float]] = field(default_factory=list)
    reason: str | None = None
    error: str | None = None

    def add(self, delta: TokenDelta) -> None:
        """Take a delta; none may follow the last one."""
        assert self.reason is None
        self.tokens += delta.token_ids
        self.text += delta.text
        self.logprobs += delta.logprobs or ()
        self.top += delta.top_logprobs or ()
        self.reason, self.error = delta.finish_reason, delta.error


@dataclass
class Subject:
    """An engine under test, and the model that it must answer as."""

    name: str
    engine: Engine
    model: Any
    tokenizer: Any

    @property
    def facts(self) -> EngineFacts:
        """What it says that it can do."""
        return facts_of(self.engine)

    def ids(self, text: str = "def first(items):") -> tuple[int, ...]:
        """A prompt."""
        return tuple(self.tokenizer(text)["input_ids"])

    def text(self, tokens: Sequence[int]) -> str:
        """As an answer shows tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def rows(self, ids: Sequence[int], tokens: Sequence[int], model: Any = None) -> torch.Tensor:
        """Log-probabilities [T, V] at the places that T tokens after a prompt were drawn from."""
        with torch.no_grad():
            output = (model or self.model)(torch.tensor([[*ids, *tokens]]))
        rows: torch.Tensor = output.logits[0, len(ids) - 1 : -1].float()
        return rows.log_softmax(-1)

    def logprobs(self, ids: Sequence[int], tokens: Sequence[int], model: Any = None) -> list[float]:
        """Log-probability of each token after a prompt, from one forward pass."""
        rows = self.rows(ids, tokens, model)
        values: list[float] = rows.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()
        return values

    def ask(self, ids: Sequence[int] | None = None, adapter: str | None = None, **sampling: Any) -> Answer:
        """One request alone, greedy unless told otherwise."""
        return self.ask_all([self.request("one", ids, adapter, **sampling)])["one"]

    def request(
        self, name: str, ids: Sequence[int] | None = None, adapter: str | None = None, **sampling: Any
    ) -> GenerationRequest:
        """A request, greedy unless told otherwise."""
        params = SamplingParams(**{"temperature": 0.0, "max_tokens": 12, **sampling})
        return GenerationRequest(name, tuple(ids or self.ids()), params, adapter=adapter)

    def ask_all(self, requests: Sequence[GenerationRequest]) -> dict[str, Answer]:
        """Several at a time; each has ended."""
        answers = {request.request_id: Answer() for request in requests}
        for delta in self.engine.generate(requests):
            answers[delta.request_id].add(delta)
        assert all(answer.reason is not None for answer in answers.values())
        return answers


@pytest.fixture(scope="session")
def reference(tiny_model_dir: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def tokenizer(tiny_model_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model_dir)


def transformers_engine(folder: Path, tokenizer: Any) -> Engine:
    from swift.infer.engines.transformers.engine import TransformersEngine

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return TransformersEngine(model, tokenizer)


def vllm_server(folder: Path, tokenizer: Any) -> Engine:
    from swift.infer.engines.vllm.config import VllmEngineConfig
    from swift.infer.engines.vllm.engine import build_vllm

    config = VllmEngineConfig(server=True, kv_cache_gb=1, max_loras=2, max_lora_rank=8)
    return build_vllm(EngineSource(str(folder), dtype="float32", device="cpu"), tokenizer, config)


def relaunched(folder: Path, tokenizer: Any) -> Engine:
    """Our own server with the embedded engine, as a process that is started anew for adapters and weights."""
    from swift.infer.engines.http.openai_chat import OPENAI_CONSTRAINTS, VLLM_CONSTRAINTS
    from swift.infer.engines.http.openai_ids import IdsDialect
    from swift.infer.engines.process.adapters import OfferedAdapter, OfferedAdapters
    from swift.infer.engines.process.relaunched import RelaunchedEngine
    from swift.infer.engines.process.server import Launch

    def launch(port: int, model: str, adapters: Iterable[OfferedAdapter]) -> Launch:
        named = {adapter.served: str(adapter.folder) for adapter in adapters}
        words = ["serve", "--model", model, "--port", str(port), "--served-model-name", "m"]
        words += [f"infer.adapters={json.dumps(named)}", "device.device=cpu"]
        return Launch(
            "swift",
            [sys.executable, "-c", "from swift.infer.cli import main; main()", *words],
            f"http://127.0.0.1:{port}/health",
        )

    length = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    facts = EngineFacts(max_length=length, constraints=OPENAI_CONSTRAINTS | VLLM_CONSTRAINTS)
    adapters = OfferedAdapters({}, str(folder))
    dialect = IdsDialect("m", adapters.served)
    return RelaunchedEngine(launch, str(folder), adapters, "/v1", dialect, facts, timeout=30.0)


@contextlib.contextmanager
def remote_engine(folder: Path, tokenizer: Any) -> Iterator[Engine]:
    """Our own server with the embedded engine, asked over HTTP with token ids."""
    from swift.core.config.schema import ServerConfig
    from swift.infer.engines.remote.config import RemoteEngineConfig
    from swift.infer.engines.remote.engine import RemoteEngine
    from swift.infer.server.app import create_app
    from swift.infer.server.gateway.gateway import Gateway
    from swift.infer.server.run import Server, address, listen
    from swift.infer.server.served import ServedModel

    engine = transformers_engine(folder, tokenizer)
    served = ServedModel("tiny", engine, tokenizer, max_length=facts_of(engine).max_length)
    listener = listen("127.0.0.1", 0)
    gateway = Gateway(ServerConfig(drain_timeout=1.0))
    server = Server(create_app(served, gateway), listener, gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = RemoteEngineConfig(base_url=f"{address(listener)}/v1", model="tiny", sends="ids")
    try:
        yield RemoteEngine(None, None, config)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


BUILT = {"transformers": transformers_engine, "vllm-server": vllm_server, "relaunched": relaunched}


@contextlib.contextmanager
def closing(engine: Engine) -> Iterator[Engine]:
    """Close an engine twice, which it must bear, and then say that it is not ready."""
    try:
        yield engine
    finally:
        engine.close()
        engine.close()
        assert not engine.health().ready


@pytest.fixture(scope="session", params=[name for name in ASKED if not name.endswith("-images")])
def subject(
    request: pytest.FixtureRequest, tiny_model_dir: Path, reference: Any, tokenizer: Any
) -> Iterator[Subject]:
    """Each engine in turn."""
    name = request.param
    with contextlib.ExitStack() as stack:
        if name == "vllm":
            engine = request.getfixturevalue("vllm_engine")
        elif name == "remote":
            engine = stack.enter_context(remote_engine(tiny_model_dir, tokenizer))
            stack.enter_context(closing(engine))
        else:
            build = BUILT[name]
            engine = stack.enter_context(closing(build(tiny_model_dir, tokenizer)))
        yield Subject(name, engine, reference, tokenizer)


MakeAdapter = Callable[[int], tuple[Path, Any]]


@pytest.fixture(scope="session")
def adapter(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeAdapter:
    """adapter(seed): (folder of a LoRA adapter, the adapted model), each made once."""
    made: dict[int, tuple[Path, Any]] = {}

    def make(seed: int) -> tuple[Path, Any]:
        if seed not in made:
            base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
            model = apply_tuner(base, "lora", lora_rank=4)
            torch.manual_seed(seed)
            with torch.no_grad():
                for weight in filter(lambda each: each.requires_grad, model.parameters()):
                    weight.add_(torch.randn_like(weight) * 0.05)
            folder = tmp_path_factory.mktemp("adapter")
            save_tuner(model, folder)
            made[seed] = folder, model.eval()
        return made[seed]

    return make
