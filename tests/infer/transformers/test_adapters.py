"""Rows of several LoRA adapters in one batch against peft with each adapter alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import EngineError
from swift.core.types import GenerationRequest, SamplingParams
from swift.infer.engines.transformers.engine import TransformersEngine


@pytest.fixture
def engine(adapters: Any) -> Any:
    return adapters.engine()


@pytest.mark.parametrize("config", [{}, {"max_running": 3, "max_batch_tokens": 16}])
def test_each_row_answers_as_its_adapter_alone(adapters: Any, config: dict[str, int]) -> None:
    engine = adapters.engine(**config)
    assert engine.facts().adapters == tuple(adapters.folders)
    kinds = [None, *adapters.folders]
    asked = [
        adapters.ask(name, adapters.prompt[skip:], f"{name}/{skip}") for name in kinds for skip in (0, 5)
    ]
    found = adapters.answers(engine, asked)
    for request in asked:
        expected = adapters.alone(adapters.folders.get(request.adapter), request.prompt_ids)
        assert found[request.request_id] == expected, request.request_id
    assert len({tuple(found[f"{name}/0"]) for name in kinds}) == len(kinds)  # they do differ


def test_a_long_prompt_read_before_is_not_taken_for_another_adapter(
    adapters: Any, engine: TransformersEngine
) -> None:
    long = tuple(range(200, 280))
    for name in (None, "two", "all", None):
        expected = adapters.alone(adapters.folders.get(name), long)
        assert adapters.answers(engine, [adapters.ask(name, long)])[str(name)] == expected


def test_replacing_an_adapter_changes_later_requests_only(
    adapters: Any, engine: TransformersEngine, tmp_path: Path
) -> None:
    running = engine.generate([adapters.ask("two", key="early")])
    early = list(next(running).token_ids)
    newer = adapters.another("two", tmp_path / "newer")
    engine.load_adapter("two", newer)
    late = adapters.answer(engine, "two")
    early += [token for delta in running for token in delta.token_ids]
    assert early == adapters.alone(adapters.folders["two"])
    assert late == adapters.alone(newer) != early
    engine.unload_adapter("all")
    assert engine.facts().adapters == ("two", "patterns")
    assert adapters.answer(engine, "patterns") == adapters.alone(adapters.folders["patterns"])


def test_unloading_lets_running_requests_finish_and_refuses_new_ones(
    adapters: Any, engine: TransformersEngine
) -> None:
    running = engine.generate([adapters.ask("all")])
    tokens = list(next(running).token_ids)
    engine.unload_adapter("all")
    tokens += [token for delta in running for token in delta.token_ids]
    assert tokens == adapters.alone(adapters.folders["all"])
    refused = list(engine.generate([adapters.ask("all", key="late"), adapters.ask("tow", key="typo")]))
    assert {delta.finish_reason for delta in refused} == {"error"}
    assert any("did you mean 'two'" in (delta.error or "") for delta in refused)
    with pytest.raises(EngineError, match="no adapter 'all' is loaded"):
        engine.unload_adapter("all")


def test_adapters_come_while_another_thread_generates(adapters: Any) -> None:
    engine = adapters.engine(names=())
    long = SamplingParams(300, 0.0, ignore_eos=True)
    plain: list[int] = []

    def work() -> None:
        for delta in engine.generate([GenerationRequest("plain", adapters.prompt, long)]):
            plain.extend(delta.token_ids)

    thread = threading.Thread(target=work)
    thread.start()
    engine.load_adapter("two", adapters.folders["two"])
    found = adapters.answer(engine, "two")
    thread.join()
    assert found == adapters.alone(adapters.folders["two"])
    assert plain == adapters.alone(None, count=300)
