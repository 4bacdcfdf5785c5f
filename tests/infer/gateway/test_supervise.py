"""Engines that die: killed from outside, while requests run."""

from __future__ import annotations

import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from swift.core.config.schema import ModelConfig, ServerConfig
from swift.core.errors import EngineError, ModelError
from swift.core.models.load import load_model
from swift.core.types import EngineFacts
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.gateway.supervise import SupervisedEngine, Supervision
from swift.infer.server.run import listen
from swift.infer.server.serve import serve_watched, watch
from swift.infer.server.served import ServedModel

CHAT = "/v1/chat/completions"
QUICK = Supervision(max_restarts=2, look_seconds=0.05, first_pause=0.1, close_seconds=5.0)


class Builder:
    """Builds child engines, and fails when told to."""

    def __init__(self, kind: Any, delay: float = 0.05) -> None:
        self.kind, self.delay, self.fails = kind, delay, 0
        self.made: list[Any] = []

    def __call__(self) -> Any:
        if self.fails:
            self.fails -= 1
            raise OSError("no memory")
        self.made.append(self.kind(self.delay))
        return self.made[-1]


def test_a_killed_engine_is_replaced(run_server: Any, child_engine: Any, eventually: Any) -> None:
    build = Builder(child_engine)
    gateway = Gateway(ServerConfig.model_validate({"max_concurrent": 2}))
    engine = watch(build(), build, gateway, QUICK)
    with run_server(engine, gateway=gateway) as on, ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(httpx.post, on.url + CHAT, json=on.body(tokens=500, stream=stream), timeout=30)
            for stream in (True, False, True)  # the last one queues
        ]
        eventually(lambda: len(build.made[0].streams) == 2 and gateway.queue.waiting == 1)
        eventually(lambda: any(one.last is not None for one in gateway._open))
        build.fails = 1  # the first try to build another fails too
        build.made[0].process.kill()
        answers = [one.result() for one in asked]
        eventually(lambda: not gateway.busy)
        texts = [answer.text for answer in answers]
        assert all("engine_unavailable" in text for text in texts)
        assert {answer.status_code for answer in answers} <= {200, 503} and answers[1].status_code == 503
        for answer in answers:
            if answer.status_code == 503:
                assert answer.headers["retry-after"]
            else:
                assert json.loads(answer.text.splitlines()[-4][6:])["error"]["code"] == "engine_unavailable"
        eventually(lambda: httpx.get(on.url + "/ready").status_code == 200)
        assert len(build.made) == 2 and build.made[0].process.poll() is not None
        assert httpx.post(on.url + CHAT, json=on.body(), timeout=30).status_code == 200
        metrics = httpx.get(on.url + "/metrics").text
        assert "swift_engine_restarts_total 1.0" in metrics


def test_meanwhile_requests_are_refused(run_server: Any, child_engine: Any, eventually: Any) -> None:
    build = Builder(child_engine)
    gateway = Gateway()
    slow = Supervision(max_restarts=1, look_seconds=0.05, first_pause=2.0)
    engine = watch(build(), build, gateway, slow)
    with run_server(engine, gateway=gateway) as on:
        build.made[0].process.kill()
        eventually(lambda: httpx.get(on.url + "/health").status_code == 503)
        assert httpx.get(on.url + "/ready").status_code == 503
        for stream in (True, False):
            refused = httpx.post(on.url + CHAT, json=on.body(stream=stream))
            assert refused.status_code == 503 and refused.headers["retry-after"]
            assert refused.json()["error"]["code"] == "engine_unavailable"
        eventually(lambda: httpx.get(on.url + "/health").status_code == 200)


def test_the_embedded_engine_is_rebuilt(run_server: Any, tokenizer: Any, eventually: Any) -> None:
    models: list[Any] = []

    def build() -> TransformersEngine:
        models.append(load_model(ModelConfig(), dtype=torch.float32, device="cpu"))
        return TransformersEngine(models[-1], tokenizer, max_length=512)

    def fail(*_: Any) -> None:
        raise ValueError("what no engine reckons with")

    gateway = Gateway()
    engine = watch(build(), build, gateway, QUICK)
    with run_server(engine, gateway=gateway) as on:
        assert httpx.post(on.url + CHAT, json=on.body(), timeout=30).status_code == 200
        models[0].get_input_embeddings().register_forward_pre_hook(fail)
        answer = httpx.post(on.url + CHAT, json=on.body(), timeout=30)
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "engine_unavailable"
        eventually(lambda: httpx.get(on.url + "/ready").status_code == 200 and len(models) == 2, 30)
        assert httpx.post(on.url + CHAT, json=on.body(), timeout=30).status_code == 200


def test_after_the_last_try_the_server_ends(
    child_engine: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    build = Builder(child_engine)
    gateway = Gateway()
    engine = watch(build(), build, gateway, QUICK)
    served = ServedModel("tiny", engine, tokenizer)
    build.fails = 10
    with ThreadPoolExecutor(1) as pool, listen("127.0.0.1", 0) as listener:
        ended = pool.submit(serve_watched, served, engine, gateway, listener)
        build.made[0].process.kill()
        with pytest.raises(EngineError, match="2 restarts failed: OSError: no memory"):
            ended.result(timeout=20)


def test_adapters_are_loaded_again(child_engine: Any, eventually: Any, tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    lost.mkdir()

    class Adapted(child_engine):  # type: ignore[misc]
        """Remembers adapters."""

        def __init__(self, delay: float) -> None:
            super().__init__(delay)
            self.adapters: dict[str, Path] = {}

        def facts(self) -> EngineFacts:
            return EngineFacts(adapters=tuple(self.adapters), loads_adapters=True)

        def load_adapter(self, name: str, folder: Path) -> None:
            if folder == lost and not folder.is_dir():
                raise ModelError("gone")
            self.adapters[name] = folder

        def unload_adapter(self, name: str) -> None:
            del self.adapters[name]

    build = Builder(Adapted)
    engine = SupervisedEngine(build(), build, QUICK)
    try:
        engine.load_adapter("a", Path("/a"))
        engine.load_adapter("b", Path("/b"))
        engine.load_adapter("c", lost)
        engine.unload_adapter("a")
        lost.rmdir()  # one that cannot be loaded again costs the others nothing
        build.made[0].process.kill()
        eventually(lambda: len(build.made) == 2 and engine.health().ready)
        assert engine.facts().adapters == ("b",)
    finally:
        engine.close()
    assert not engine.health().ready and build.made[1].process.poll() is not None


def test_one_that_cannot_have_its_adapters_is_closed(child_engine: Any, eventually: Any) -> None:
    class Strange(child_engine):  # type: ignore[misc]
        """Fails at an adapter in a way that nobody reckons with, unless it is the first one or the third."""

        def load_adapter(self, name: str, folder: Path) -> None:
            if len(build.made) == 2:
                raise MemoryError("no room for the factors")

    build = Builder(Strange)
    engine = SupervisedEngine(build(), build, QUICK)
    try:
        engine.load_adapter("a", Path("/a"))
        build.made[0].process.kill()
        eventually(lambda: len(build.made) == 3 and engine.health().ready)
        assert build.made[1].process.poll() is not None and engine.living() is build.made[2]
    finally:
        engine.close()


def test_a_dead_engine_is_let_go_before_the_next_is_built(child_engine: Any, eventually: Any) -> None:
    alive: list[bool] = []

    def build() -> Any:
        alive.append(first() is not None)
        return child_engine()

    made = child_engine()
    first = weakref.ref(made)
    engine = SupervisedEngine(made, build, QUICK)
    made.process.kill()
    del made
    eventually(lambda: alive and engine.health().ready)
    engine.close()
    assert alive == [False]  # the weights of both need not fit into memory


def test_closing_while_it_is_rebuilt(child_engine: Any, eventually: Any) -> None:
    build = Builder(child_engine)
    engine = SupervisedEngine(build(), build, Supervision(look_seconds=0.05, first_pause=60.0))
    build.made[0].process.kill()
    eventually(lambda: not engine.health().ready)
    engine.close()
    engine.close()
    assert len(build.made) == 1 and not engine._thread.is_alive()
