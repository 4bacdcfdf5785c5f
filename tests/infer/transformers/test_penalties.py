"""Penalties, biases, min-p and stop tokens against their formulas, written with numpy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.types import GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.infer.engines.transformers.penalties import penalties
from swift.infer.engines.transformers.sampler import Draw, sample

Logits = npt.NDArray[np.float64]
PROMPT = (20, 21, 22, 23, 21)


@pytest.fixture(scope="module")
def model(random_qwen3: Any) -> Any:
    return random_qwen3(eos_token_id=7)


@pytest.fixture(scope="module")
def engine(model: Any) -> TransformersEngine:
    return TransformersEngine(model, tiny_tokenizer())


def answers(engine: TransformersEngine, *asked: GenerationRequest) -> dict[str, list[TokenDelta]]:
    found: dict[str, list[TokenDelta]] = {one.request_id: [] for one in asked}
    for delta in engine.generate(asked):
        found[delta.request_id].append(delta)
    return found


def tokens(deltas: Sequence[TokenDelta]) -> list[int]:
    return [token for delta in deltas for token in delta.token_ids]


def shaped(logits: Logits, params: SamplingParams, prompt: Sequence[int], answer: Sequence[int]) -> Logits:
    x = logits.copy()
    for token, bias in params.logit_bias:
        x[token] += bias
    for token in {*prompt, *answer}:
        x[token] = (
            x[token] / params.repetition_penalty if x[token] > 0 else x[token] * params.repetition_penalty
        )
    for token, count in Counter(answer).items():
        x[token] -= params.frequency_penalty * count + params.presence_penalty
    return x


SHAPES = [
    SamplingParams(30, 0.0, repetition_penalty=1.7),
    SamplingParams(30, 0.0, repetition_penalty=0.8, frequency_penalty=0.3),
    SamplingParams(30, 0.0, frequency_penalty=0.9),
    SamplingParams(30, 0.0, presence_penalty=1.5),
    SamplingParams(30, 0.0, logit_bias=((40, 3.0), (41, -100.0))),
    SamplingParams(30, 0.0, logit_bias=((22, 2.0),), repetition_penalty=1.2, presence_penalty=-0.5),
]


def test_greedy_answers_follow_the_formulas_beside_plain_rows(model: Any, engine: TransformersEngine) -> None:
    plain = SamplingParams(30, 0.0, ignore_eos=True)
    kinds = [plain, *SHAPES, plain]
    asked = [GenerationRequest(str(number), PROMPT, params) for number, params in enumerate(kinds)]
    found = answers(engine, *asked)
    for number, params in enumerate(kinds):
        answer: list[int] = []
        while len(answer) < 30:
            with torch.no_grad():
                logits = model(torch.tensor([[*PROMPT, *answer]])).logits[0, -1]
            answer.append(int(shaped(logits.double().numpy(), params, PROMPT, answer).argmax()))
            if answer[-1] in (7, tiny_tokenizer().eos_token_id) and not params.ignore_eos:
                break
        assert tokens(found[str(number)]) == answer, params
    assert len({tuple(tokens(deltas)) for deltas in found.values()}) > 4  # the penalties did something


def test_logprobs_stay_those_of_the_model(model: Any, engine: TransformersEngine) -> None:
    params = SamplingParams(
        6, 0.7, top_p=0.5, min_p=0.2, seed=3, logprobs=2, repetition_penalty=1.5, logit_bias=((50, 30.0),)
    )
    deltas = answers(engine, GenerationRequest("a", PROMPT, params))["a"]
    answer = tokens(deltas)
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPT, *answer]])).logits[0, len(PROMPT) - 1 : -1]
    expected = logits.log_softmax(-1)
    assert len(answer) > 1
    for row, delta in enumerate(deltas):
        assert delta.logprobs is not None and delta.top_logprobs is not None
        assert math.isclose(delta.logprobs[0], expected[row, answer[row]], abs_tol=1e-4)
        assert list(delta.top_logprobs[0]) == expected[row].topk(2).indices.tolist()


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(min_p=0.3),
        SamplingParams(temperature=2.5, min_p=0.02),
        SamplingParams(min_p=0.05, top_k=4),
        SamplingParams(min_p=0.1, top_p=0.7),
        SamplingParams(temperature=4.0, min_p=0.001),  # more tokens are left than are looked at first
    ],
)
def test_min_p_leaves_the_distribution_of_its_definition(params: SamplingParams) -> None:
    logits = torch.randn(600, generator=torch.Generator().manual_seed(1)) * 2
    probabilities = (logits.double() / params.temperature).softmax(-1).numpy()
    order = np.argsort(-probabilities)
    order = order[: params.top_k or None]
    order = order[probabilities[order] >= params.min_p * probabilities.max()]
    mass = probabilities[order] / probabilities[order].sum()
    order = order[: int((mass.cumsum() - mass < params.top_p).sum())]
    wanted = np.zeros(600)
    wanted[order] = probabilities[order] / probabilities[order].sum()
    count = 4_000
    drawn = sample(logits.expand(count, -1), [Draw(params, 5, index) for index in range(count)])
    seen = np.bincount([one.token for one in drawn], minlength=600) / count
    assert seen[wanted == 0].sum() == 0
    assert np.abs(seen - wanted).sum() < 3.0 * np.sqrt(wanted / count).sum()


def test_a_request_without_penalties_carries_none() -> None:
    assert penalties(SamplingParams(), PROMPT) is None
    assert not Draw(SamplingParams(), 0, 0).shaped


def test_stop_tokens_end_the_answer_and_are_not_its_text(engine: TransformersEngine) -> None:
    free = answers(engine, GenerationRequest("a", PROMPT, SamplingParams(12, 0.0, ignore_eos=True)))["a"]
    stop = next(token for token in tokens(free)[3:] if token not in tokens(free)[:3])
    at = tokens(free).index(stop)
    params = SamplingParams(12, 0.0, ignore_eos=True, stop_token_ids=(stop,))
    ended = answers(engine, GenerationRequest("b", PROMPT, params))["b"]
    assert tokens(ended) == tokens(free)[: at + 1]
    assert ended[-1].finish_reason == "stop"
    text = "".join(delta.text for delta in ended)
    assert text == tiny_tokenizer().decode(tokens(free)[:at], skip_special_tokens=True).rstrip("\ufffd")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"min_p": 1.5}, "min_p is 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"frequency_penalty": math.inf}, "finite"),
        ({"logit_bias": ((320, 1.0),)}, "logit_bias for 320"),
        ({"logit_bias": ((5, math.nan),)}, "finite"),
        ({"stop_token_ids": (-1,)}, "stop_token_ids: id -1"),
    ],
)
def test_values_that_no_formula_takes_are_refused(
    engine: TransformersEngine, wrong: dict[str, Any], named: str
) -> None:
    fine = GenerationRequest("fine", PROMPT, SamplingParams(3, 0.0))
    found = answers(engine, GenerationRequest("bad", PROMPT, SamplingParams(**wrong)), fine)
    assert found["bad"][-1].finish_reason == "error"
    assert named in (found["bad"][-1].error or "")
    assert len(tokens(found["fine"])) == 3
