"""New weights for a running engine: log-probabilities afterwards are those of a fresh model with them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from swift.core.errors import EngineError

pytestmark = pytest.mark.timeout(600)
LONG = "a prompt that is long enough to be kept in a cache of prompts " * 12


@pytest.fixture
def updating(subject: Any) -> Iterator[Any]:
    """A subject that takes weights, with its own ones again afterwards."""
    if subject.name == "remote":
        pytest.skip(f"{subject.name} takes no weights")
    yield subject
    subject.engine.update_weights(subject.model.named_parameters())


@pytest.fixture(scope="module")
def changed(reference: Any) -> Any:
    """The reference with all of its weights moved, the tied embeddings too."""
    torch.manual_seed(5)
    model = copy.deepcopy(reference)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    return model


def test_new_weights_answer_as_a_fresh_model(updating: Any, changed: Any) -> None:
    ids = updating.ids(LONG)
    before = updating.ask(ids, logprobs=0)
    assert before.logprobs == pytest.approx(updating.logprobs(ids, before.tokens), abs=1e-3)
    updating.engine.update_weights(changed.named_parameters())
    after = updating.ask(ids, logprobs=0)
    expected = updating.logprobs(ids, after.tokens, changed)
    assert after.logprobs == pytest.approx(expected, abs=1e-3)
    old = updating.logprobs(ids, after.tokens)
    assert max(abs(one - other) for one, other in zip(expected, old, strict=True)) > 0.3


def test_weights_that_do_not_fit_change_nothing(updating: Any, changed: Any) -> None:
    before = updating.ask(logprobs=0)
    weights = dict(changed.named_parameters())
    name = "model.layers.0.mlp.up_proj.weight"
    for wrong in ({**weights, "model.strange": weights[name]}, {**weights, name: weights[name][:3]}):
        with pytest.raises(EngineError, match=r"strange|up_proj"):
            updating.engine.update_weights(wrong.items())
    after = updating.ask(logprobs=0)
    assert after.tokens == before.tokens
    assert after.logprobs == pytest.approx(before.logprobs, abs=1e-5)
