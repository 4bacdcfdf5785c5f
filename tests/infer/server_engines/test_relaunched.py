"""Servers that are started anew for adapters and weights: a real process that reads its files at its start.

The contract runs on our own server in this way: SWIFT_TEST_ENGINES=relaunched pytest tests/infer/contract.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swift.core.errors import EngineError
from swift.core.types import EngineFacts, GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.http.openai_ids import IdsDialect
from swift.infer.engines.process.adapters import OfferedAdapter, OfferedAdapters
from swift.infer.engines.process.guard import descendants
from swift.infer.engines.process.model_folder import INDEX
from swift.infer.engines.process.relaunched import RelaunchedEngine
from swift.infer.engines.process.server import Launch

SERVER = Path(__file__).with_name("counter.py")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "counter"}')
    save_file({"w": torch.tensor([7.0])}, folder / "model.safetensors")
    return folder


Build = Callable[..., RelaunchedEngine]
Weights = list[tuple[str, torch.Tensor]]


@pytest.fixture
def build(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """build(timeout): an engine; what it writes lies in one folder, and is gone when it is closed."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    built: list[RelaunchedEngine] = []

    def launch(port: int, folder: str, adapters: Iterable[OfferedAdapter]) -> Launch:
        words = [f"{adapter.served}={adapter.folder}" for adapter in adapters]
        command = [sys.executable, "-S", str(SERVER), str(port), folder, *words]
        return Launch("test", command, f"http://127.0.0.1:{port}/", log=tmp_path / "log", start_timeout=20.0)

    def make(timeout: float = 20.0) -> RelaunchedEngine:
        adapters = OfferedAdapters({}, str(model))
        dialect = IdsDialect("m", adapters.served)
        built.append(
            RelaunchedEngine(launch, str(model), adapters, "", dialect, EngineFacts(), timeout=timeout)
        )
        return built[-1]

    yield make
    for engine in built:
        engine.close()
        engine.close()
        assert not engine.health().ready
    assert not list(temporary.iterdir())


def adapter(folder: Path, rank: int) -> Path:
    folder.mkdir()
    record = {"peft_type": "LORA", "r": rank}
    (folder / "adapter_config.json").write_text(json.dumps(record))
    save_file({"a": torch.zeros(1)}, folder / "adapter_model.safetensors")
    return folder


def weight(value: float, name: str = "w") -> Weights:
    return [(name, torch.tensor([value]))]


def answer(engine: RelaunchedEngine, name: str | None = None, count: int = 2) -> list[TokenDelta]:
    request = GenerationRequest(f"{name}-{count}", (1,), SamplingParams(count), adapter=name)
    return list(engine.generate([request]))


def tokens(deltas: Iterable[TokenDelta]) -> set[int]:
    return {token for delta in deltas for token in delta.token_ids}


def test_new_weights_are_served_and_survive_a_death(build: Build, model: Path) -> None:
    engine = build()
    assert tokens(answer(engine)) == {7}
    engine.update_weights(weight(9.0))
    engine.update_weights(weight(11.0))
    assert tokens(answer(engine)) == {11}
    folders = list(Path(tempfile.gettempdir()).glob("swift-model-*"))
    assert len(folders) == 1  # the one before is gone
    assert json.loads((folders[0] / INDEX).read_text())["weight_map"] == {"w": "model-00001.safetensors"}
    os.kill(min(descendants(engine.process.pid)), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while engine.health().ready:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    engine.restart()
    assert tokens(answer(engine)) == {11}
    assert (model / "model.safetensors").is_file()


def test_adapters_come_and_go_and_are_replaced(build: Build, tmp_path: Path) -> None:
    engine = build()
    engine.load_adapter("one", adapter(tmp_path / "a", 1))
    engine.load_adapter("two", adapter(tmp_path / "b", 2))
    assert engine.facts().adapters == ("one", "two") and engine.facts().loads_adapters
    assert [tokens(answer(engine, name)) for name in (None, "one", "two")] == [{7}, {8}, {9}]
    engine.load_adapter("one", adapter(tmp_path / "c", 3))
    engine.update_weights(weight(20.0))
    assert [tokens(answer(engine, name)) for name in (None, "one", "two")] == [{20}, {23}, {22}]
    engine.unload_adapter("one")
    assert engine.facts().adapters == ("two",)
    assert answer(engine, "one")[-1].finish_reason == "error" and tokens(answer(engine, "two")) == {22}
    with pytest.raises(EngineError, match="no adapter 'one'"):
        engine.unload_adapter("one")
    copies = list(Path(tempfile.gettempdir()).glob("swift-adapters-*/*"))
    assert len(copies) == 1


def test_a_change_that_does_not_start_changes_nothing(build: Build, tmp_path: Path) -> None:
    engine = build()
    engine.load_adapter("one", adapter(tmp_path / "a", 1))
    before = sorted(Path(tempfile.gettempdir()).glob("*/*"))
    with pytest.raises(EngineError, match=r"back as it was(.|\n)*a weight is negative: a clear reason"):
        engine.update_weights(weight(-1.0))
    with pytest.raises(EngineError, match=r"the adapter 'one', and is back(.|\n)*no room for rank 65"):
        engine.load_adapter("one", adapter(tmp_path / "b", 65))
    assert engine.health().ready and engine.facts().adapters == ("one",)
    assert [tokens(answer(engine, name)) for name in (None, "one")] == [{7}, {8}]
    assert sorted(Path(tempfile.gettempdir()).glob("*/*")) == before


def test_what_cannot_be_right_costs_no_restart(build: Build, tmp_path: Path) -> None:
    engine = build()
    process = engine.process
    wrong: list[tuple[Weights | None, str]] = [
        (weight(1.0, "x"), "no weight 'x'"),
        ([("w", torch.zeros(2))], r"shape \[2\]"),
        ([], "1 of the model's 1 weights were not sent"),
        (None, "shares no tensors"),
    ]
    for weights, why in wrong:
        with pytest.raises(EngineError, match=why):
            engine.update_weights(weights)
    for name, why in (("a b", "cannot be called 'a b'"), ("a", "adapter_config.json")):
        with pytest.raises(EngineError, match=why):
            engine.load_adapter(name, tmp_path)
    assert engine.process is process and tokens(answer(engine)) == {7}
    assert not list(Path(tempfile.gettempdir()).glob("swift-model-*"))


def test_running_requests_are_finished_and_new_ones_held(build: Build) -> None:
    """The one that runs keeps the old weights to its end; one that comes meanwhile gets the new ones."""
    engine = build()

    async def both() -> tuple[set[int], set[int]]:
        async def read(name: str, count: int) -> list[TokenDelta]:
            request = GenerationRequest(name, (1,), SamplingParams(count))
            return [delta async for delta in engine.stream(request)]

        old = asyncio.create_task(read("old", 40))
        await asyncio.sleep(0.2)
        change = asyncio.create_task(asyncio.to_thread(engine.update_weights, weight(9.0)))
        await asyncio.sleep(0.2)
        new, left = asyncio.create_task(read("new", 2)), asyncio.create_task(read("left", 2))
        await asyncio.sleep(0.1)
        assert not old.done() and not change.done()
        health = engine.health()
        assert health.ready and (health.running, health.waiting) == (1, 2)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        assert engine.health().waiting == 1
        await change
        return tokens(await old), tokens(await new)

    assert asyncio.run(both()) == ({7}, {9})
    assert engine.health().ready and engine.health().waiting == 0


def test_requests_that_do_not_end_stop_the_change_and_not_themselves(build: Build) -> None:
    engine = build(timeout=0.3)
    deltas = engine.generate([GenerationRequest("long", (1,), SamplingParams(60))])
    found = [next(deltas)]
    with pytest.raises(EngineError, match=r"1 requests still run after 0\.3 s"):
        engine.update_weights(weight(9.0))
    found += deltas
    assert found[-1].finish_reason == "length" and tokens(found) == tokens(answer(engine)) == {7}


def test_closing_while_it_is_started_anew_leaves_no_process(build: Build) -> None:
    engine = build()
    ended: list[BaseException | None] = []

    def change() -> None:
        try:
            engine.update_weights(weight(9.0))
            ended.append(None)
        except EngineError as error:
            ended.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    engine.close()
    thread.join(20)
    assert not thread.is_alive() and len(ended) == 1
    assert not engine.process.alive()
    with pytest.raises(EngineError, match="closed"):
        engine.load_adapter("a", Path("/nowhere"))
