"""Every kind's rehearsal: the packages' own parts pass, and broken parts are refused for what is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from swift.core.protocols import AnswerWatch, ContentFilter, Engine, Tuner
from swift.core.registry import REGISTRIES, Component
from swift.core.types import Conversation, Encoded, GenerationRequest, LossOutput, TokenDelta
from swift.plugin.contract import CONTRACTS, check_component

NEEDS: dict[tuple[str, str], dict[str, Any]] = {
    ("objective", "grpo"): {"reward_funcs": ["exact_match"]},
    ("objective", "generative_reranker"): {"yes_token": "1", "no_token": "0"},
    ("filter", "regex"): {"pattern": "never"},
    ("filter", "length"): {"min": 1},
    ("callback", "time_limit"): {"minutes": 1},
    ("content filter", "sensitive_words"): {"words": ["never"]},
    ("loss scale", "regex"): {"patterns": {"x": 0.5}},
    ("optimizer", "galore"): {"rank": 2},
    ("optimizer", "q-galore"): {"rank": 2},
    ("optimizer", "apollo"): {"rank": 2},
}
"""Arguments of parts that cannot be built without any."""

APPROXIMATE = {("tuner", "loftq"): {"saves and loads", "merges"}}
"""Its adapter belongs to a base in four bits, which the plain model here is not; it has tests of its own."""


def offered(kind: str) -> list[str]:
    """Names of a kind, without engines that read weights themselves: tests/infer/contract starts those."""
    parts = [REGISTRIES[kind].get(name) for name in REGISTRIES[kind].names()]
    return [part.name for part in parts if not dict(part.attributes).get("loads")]


OFFERED = [(kind, name) for kind in CONTRACTS for name in offered(kind)]


@pytest.mark.parametrize(("kind", "name"), OFFERED, ids=lambda word: word.replace(" ", "_"))
def test_parts_of_packages_keep_their_contracts(kind: str, name: str) -> None:
    checks = check_component(kind, REGISTRIES[kind].get(name), NEEDS.get((kind, name), {}))
    failed = [check for check in checks if check.status == "failed"]
    allowed = APPROXIMATE.get((kind, name), set())
    assert [f"{check.name}: {check.detail}" for check in failed if check.name not in allowed] == []
    assert len(checks) > 1


def failures(kind: str, target: Any, **config: Any) -> dict[str, str]:
    """Check name -> error of what fails."""
    component = Component("mine", target, place="/mine.py:7")
    found = check_component(kind, component, config)
    return {check.name: check.detail for check in found if check.status == "failed"}


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.1)


class Lazy(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        return None


class Bursting(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            parameter.div_(0.0)


class Noisy(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            parameter.add_(torch.rand_like(parameter))


def copied(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([each.detach().clone().requires_grad_() for each in params], lr=0.1)


def falling_below_zero(step: int) -> float:
    return 0.5 - step


class Forgetful(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer: Any) -> None:
        self.counter = [0]
        super().__init__(optimizer)

    def get_lr(self) -> Any:
        self.counter[0] += 1
        return [1.0 / self.counter[0]]

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last_epoch = state["last_epoch"]


class Crashing(TrainerCallback):  # type: ignore[misc]
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise RuntimeError("late")


class Talking(TrainerCallback):  # type: ignore[misc]
    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        return "hello"


def text_rows() -> Iterator[Any]:
    yield "a text"


def unknown_rows() -> Iterator[Any]:
    yield {"left": 1, "right": 2}


def no_rows() -> Iterator[Any]:
    yield from ()


DRAWS = iter(range(100))


def changing_rows() -> Iterator[Any]:
    yield {"text": f"row {next(DRAWS)}"}


class Shifted:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, rows: list[Conversation]) -> list[Encoded]:
        ids = np.arange(5, dtype=np.int32)
        return [Encoded(ids, ids + 1) for _ in rows]


class Unlearned(Shifted):
    def encode(self, rows: list[Conversation]) -> list[Encoded]:
        ids = np.arange(5, dtype=np.int32)
        return [Encoded(ids, np.full_like(ids, -100)) for _ in rows]


class Short(Shifted):
    def encode(self, rows: list[Conversation]) -> list[Encoded]:
        return []


class Headless(nn.Module):
    def __init__(self, config: Any, width: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(4096, width)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return self.embed(input_ids)


class Frozen(Headless):
    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return SimpleNamespace(logits=self.embed(input_ids).detach())


class Pooled(Headless):
    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return SimpleNamespace(logits=self.embed(input_ids).mean(1))


class Nothing(Tuner):
    def __init__(self, config: Any) -> None:
        self.config = config

    def apply(self, model: nn.Module) -> nn.Module:
        return model.requires_grad_(False)

    def save(self, model: nn.Module, directory: Path) -> None:
        return

    def load(self, model: nn.Module, directory: Path, *, trainable: bool = False) -> nn.Module:
        return model

    def merge(self, model: nn.Module) -> nn.Module:
        return model


class Losing(Nothing):
    def apply(self, model: nn.Module) -> nn.Module:
        return model.requires_grad_(True)

    def merge(self, model: nn.Module) -> nn.Module:
        with torch.no_grad():
            next(model.parameters()).mul_(3.0)
        return model


class Silent(Engine):
    def __init__(self, model: Any, tokenizer: Any, config: Any) -> None:
        self.drawn = 0

    def generate(self, requests: Any) -> Iterator[TokenDelta]:
        yield from ()

    def stream(self, request: GenerationRequest) -> Any:
        raise NotImplementedError

    def update_weights(self, weights: Any = None) -> None:
        return

    def health(self) -> Any:
        return None

    def close(self) -> None:
        return


class Random(Silent):
    def generate(self, requests: Any) -> Iterator[TokenDelta]:
        for request in requests:
            self.drawn += 1
            yield TokenDelta(
                request.request_id, (self.drawn,) * request.sampling.max_tokens, finish_reason="length"
            )


class Objective:
    def __init__(self, config: Any, context: Any) -> None:
        self.task = "causal_lm"

    def collate(self, examples: Any) -> Any:
        return {"input_ids": torch.tensor([[1, 2]])}

    def prepare(self, model: Any, batches: Any, step: int) -> Any:
        return batches

    def count(self, batch: Any) -> Any:
        return torch.tensor(2)

    def loss(self, model: Any, batch: Any, normalizer: Any) -> Any:
        return LossOutput(torch.tensor(1.0))

    def predict(self, model: Any, batch: Any) -> None:
        return

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        return

    def close(self) -> None:
        return


class Uncounted(Objective):
    def count(self, batch: Any) -> Any:
        return torch.tensor(0)


def silent_environment(messages: Any, completion: Any, turn: Any, columns: Any) -> Any:
    return SimpleNamespace(messages=[], done=False, reward=0.0)


def reply_of_words(messages: Any, completion: Any, turn: Any, columns: Any) -> Any:
    return "Try again."


class Mute:
    def system(self, tools: Any, system: str) -> str:
        return system

    def calls(self, calls: Any, content: str) -> str:
        return content

    def results(self, results: Any) -> Any:
        return {"role": "user", "content": ""}

    def parse(self, text: str, tools: Any = None) -> Any:
        return text, []


class Hasty(ContentFilter):
    def watch(self) -> AnswerWatch:
        return Capitals()


class Capitals(AnswerWatch):
    def push(self, text: str) -> str:
        return text.capitalize()  # of each piece


class Judging(ContentFilter):
    def check(self, text: str) -> Any:
        return True

    def watch(self) -> AnswerWatch:
        return Capitals()

    async def review(self, messages: Any, answer: str) -> Any:
        return "fine"


BROKEN: list[tuple[str, Any, str, str]] = [
    ("optimizer", Lazy, "changes parameters", "leaves a parameter of shape [3, 4] as it was"),
    ("optimizer", Bursting, "changes parameters", "makes parameters infinite or NaN"),
    ("optimizer", Noisy, "deterministic", "takes different steps from the same start"),
    ("optimizer", copied, "builds", "tensors that do not train"),
    ("optimizer", lambda params: None, "builds", "no step()"),
    ("scheduler", falling_below_zero, "learning rates", "returned -0.5 at step 1"),
    ("scheduler", Forgetful, "resumes", "after loading its state"),
    ("scheduler", lambda optimizer: 1.0, "builds", "not a torch LRScheduler"),
    ("metric", lambda predictions, references: "good", "finite", "returned a str"),
    ("metric", lambda predictions, references: {"a": float("nan")}, "finite", "returned nan as 'a'"),
    ("metric", lambda predictions, references: next(DRAWS), "deterministic", "for the same inputs"),
    ("reward", lambda prompts, completions, **columns: [1.0], "finite", "1 values for 3 completions"),
    ("reward", lambda prompts, completions, **columns: 1.0, "finite", "returned 1.0"),
    ("reward", lambda prompts, completions, **columns: [float("inf")] * 3, "finite", "returned inf for '42'"),
    ("filter", lambda row: "yes", "answers rows", "returned a str"),
    ("filter", lambda row: 1 / 0, "answers rows", "ZeroDivisionError"),
    ("callback", Crashing, "events", "fails in on_step_end(): RuntimeError: late"),
    ("callback", Talking, "events", "returned a str from on_log()"),
    ("dataset", text_rows, "rows", "yields a str"),
    ("dataset", unknown_rows, "rows", "no known format has the columns left, right"),
    ("dataset", no_rows, "rows", "yields no rows"),
    ("dataset", changing_rows, "deterministic", "yields other rows"),
    ("template", Shifted, "encodes", "labels that differ from the tokens"),
    ("template", Unlearned, "encodes", "learns no token"),
    ("template", Short, "encodes", "2 conversations to 0 results"),
    ("model", Headless, "logits", "returns a Tensor without logits"),
    ("model", Frozen, "differentiable", "logits without gradient"),
    ("model", Pooled, "logits", "returns logits [2, 3] for input_ids [2, 6]"),
    ("tuner", Nothing, "applies", "leaves nothing trainable"),
    ("tuner", Losing, "saves and loads", "loads another model than it saved"),
    ("tuner", Losing, "merges", "merges to another function"),
    ("engine", Silent, "generates", "finishes 0 of 2 requests"),
    ("engine", Random, "deterministic", "greedily"),
    ("objective", Objective, "loss", "has the loss 1.0"),
    ("objective", Uncounted, "loss", "counts 0 items"),
    ("rollout", silent_environment, "replies", "neither ended the episode nor replied"),
    ("rollout", reply_of_words, "replies", "replied with a str"),
    ("agent format", Mute, "there and back", "a text that names each tool"),
    ("content filter", Hasty, "watches an answer", "in pieces of 1"),
    ("content filter", Judging, "checks a prompt", "check() returned a bool"),
    ("content filter", Judging, "reviews an answer", "review() returned a str"),
    ("loss scale", lambda message, text: -1.0, "weights", "returned -1.0"),
    ("loss scale", lambda message, text: [("x", 1.0)], "weights", "are not the text"),
]


@pytest.mark.parametrize(("kind", "target", "check", "reason"), BROKEN)
def test_broken_parts(kind: str, target: Callable[..., Any], check: str, reason: str) -> None:
    found = failures(kind, target)
    assert check in found, found
    assert reason in found[check]
    assert "mine" in found[check]
    assert "\n  -> " in found[check], "there is a remedy"


@pytest.mark.parametrize(
    ("kind", "target", "reason"),
    [
        ("reward", lambda prompts, completions, *, mine, **columns: [], "columns mine of your data"),
        ("metric", lambda predictions, references, mine: 0.0, "columns mine of your data"),
        ("filter", lambda row: row["mine"], "columns of your own data: mine"),
    ],
)
def test_columns_that_are_not_known_are_no_failure(kind: str, target: Any, reason: str) -> None:
    checks = check_component(kind, Component("mine", target), {})
    assert [check.detail for check in checks if check.status == "not applicable"][-1].endswith(
        reason
    ) or reason in str(checks)
    assert not [check for check in checks if check.status == "failed"]


def test_arguments_are_given_and_refused() -> None:
    assert failures("filter", lambda row, least: True, least=3) == {}
    assert "has no argument 'most'" in failures("filter", lambda row, least=1: True, most=3)["builds"]


def test_a_kind_without_contract() -> None:
    (check,) = check_component("strategy", Component("mine", dict), {})
    assert check.status == "not applicable"
