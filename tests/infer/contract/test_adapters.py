"""Several LoRA adapters beside one model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import SwiftError

pytestmark = pytest.mark.timeout(600)
MakeAdapter = Callable[[int], tuple[Path, Any]]


@pytest.fixture
def loading(subject: Any) -> Iterator[Any]:
    """A subject that loads adapters, without any afterwards."""
    if not subject.facts.loads_adapters:
        pytest.skip(f"{subject.name} loads no adapters")
    yield subject
    for name in subject.facts.adapters:
        subject.engine.unload_adapter(name)


def same(subject: Any, answer: Any, model: Any, ids: Any) -> None:
    """An answer has the log-probabilities of a model."""
    assert answer.logprobs == pytest.approx(subject.logprobs(ids, answer.tokens, model), abs=1e-3)


def test_adapters_mixed_in_one_batch_answer_as_alone(loading: Any, adapter: MakeAdapter) -> None:
    (first, one), (second, other) = adapter(1), adapter(2)
    loading.engine.load_adapter("first", first)
    loading.engine.load_adapter("second", second)
    assert set(loading.facts.adapters) == {"first", "second"}
    ids = loading.ids()
    models = {"first": one, "second": other, "": loading.model}
    requests = [
        loading.request(f"{name} {n}", ids, name or None, logprobs=0) for name in models for n in range(2)
    ]
    answers = loading.ask_all(requests)
    for request in requests:
        same(loading, answers[request.request_id], models[request.adapter or ""], ids)
    assert len({tuple(answer.tokens) for answer in answers.values()}) == 3


def test_another_adapter_under_the_same_name_replaces_it(loading: Any, adapter: MakeAdapter) -> None:
    ids = loading.ids("a prompt that is long enough to be kept in a cache of prompts " * 12)
    for seed in (1, 2):
        folder, model = adapter(seed)
        loading.engine.load_adapter("swapped", folder)
        same(loading, loading.ask(ids, "swapped", logprobs=0), model, ids)
    assert loading.facts.adapters == ("swapped",)


def test_an_adapter_of_another_model_is_refused_though_it_would_fit(
    loading: Any, adapter: MakeAdapter, tmp_path: Path
) -> None:
    alien = tmp_path / "alien"
    shutil.copytree(adapter(1)[0], alien)
    file = alien / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "tiny/llama"}))
    with pytest.raises(SwiftError, match="was trained on another model: 'tiny/llama'"):
        loading.engine.load_adapter("alien", alien)
    assert loading.facts.adapters == ()


def test_an_unloaded_adapter_is_unknown(loading: Any, adapter: MakeAdapter) -> None:
    loading.engine.load_adapter("short", adapter(1)[0])
    loading.engine.unload_adapter("short")
    assert loading.facts.adapters == ()
    assert loading.ask(adapter="short").reason == "error"
    with pytest.raises(SwiftError, match="short"):
        loading.engine.unload_adapter("short")


def test_a_folder_without_an_adapter_changes_nothing(
    loading: Any, adapter: MakeAdapter, tmp_path: Path
) -> None:
    folder, model = adapter(1)
    loading.engine.load_adapter("kept", folder)
    with pytest.raises(SwiftError, match=r"adapter"):
        loading.engine.load_adapter("kept", tmp_path)
    same(loading, loading.ask(adapter="kept", logprobs=0), model, loading.ids())
