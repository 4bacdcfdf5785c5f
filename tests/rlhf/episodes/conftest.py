"""A tokenizer of sixteen letters, a small model, and GRPO over roll-outs of several turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from swift.core.config.schema import ModelConfig
from swift.core.registry import engines, rollouts
from swift.core.train.context import ObjectiveContext
from swift.core.types import IGNORE_INDEX, Encoded, Message
from swift.plugin.live import LiveParts
from swift.rlhf.objectives.grpo.config import GRPOConfig
from swift.rlhf.objectives.grpo.objective import GRPOObjective
from swift.rlhf.rollout import Turn
from swift.rlhf.rollout.chat import ChatTokens

LETTERS = "0123456789?!"
SPECIAL = ("<u>", "<a>", "<e>", "<pad>")
IDS = {token: number for number, token in enumerate((*LETTERS, *SPECIAL))}
TEMPLATE = (
    "{% for message in messages %}{{ '<a>' if message.role == 'assistant' else '<u>' }}"
    "{{ message.content }}<e>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def letter_tokenizer() -> Any:
    """Sixteen tokens, each a letter or a mark."""
    backend = Tokenizer(models.WordLevel(IDS, unk_token="!"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<e>", pad_token="<pad>",
        additional_special_tokens=["<u>", "<a>"], chat_template=TEMPLATE,
    )  # fmt: skip


def length_reward(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@dataclass(frozen=True)
class Episodes:
    """What a test of roll-outs needs.

    Attributes:
        ids: of each token by its letter or mark.
    """

    tokenizer: Any
    ids: dict[str, int]

    def model(self, seed: int = 0, **sizes: Any) -> nn.Module:
        """One that has learned nothing."""
        torch.manual_seed(seed)
        settings = {
            "vocab_size": len(IDS), "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": IDS["<pad>"],
            "bos_token_id": None, "eos_token_id": IDS["<e>"],
        }  # fmt: skip
        model: nn.Module = LlamaForCausalLM(LlamaConfig(**{**settings, **sizes}))
        return model

    def user(self, content: str) -> Message:
        """A user's turn."""
        return {"role": "user", "content": content}

    def again(self, times: int) -> Callable[..., Turn]:
        """A roll-out that asks so many more times."""

        def schedule(messages: Any, completion: str, turn: int, columns: Any) -> Turn:
            return Turn(done=True) if turn == times else Turn([self.user(f"{turn}!")], reward=0.5)

        return schedule

    def prompts(self, contents: Sequence[str]) -> list[Encoded]:
        """Rows that ask these; the column "answer" is the question backwards."""
        encoded = []
        for content in contents:
            ids = ChatTokens(self.tokenizer).prompt([self.user(content)])
            columns = {"messages": [self.user(content)], "answer": content[::-1]}
            labels = np.full(len(ids), IGNORE_INDEX, np.int32)
            encoded.append(Encoded(np.asarray(ids, np.int32), labels, columns=columns))
        return encoded

    def build(self, parts: LiveParts | None = None, engine: str = "transformers", **settings: Any) -> Any:
        """GRPO that rewards length."""
        values = {"reward_funcs": ["mine"], "num_generations": 4, "max_completion_length": 24, **settings}
        context = ObjectiveContext(
            self.tokenizer,
            ModelConfig(),
            lambda: self.model(1),
            engine_name=engine,
            parts=parts or LiveParts(),
        )
        return GRPOObjective(GRPOConfig(**values), context, rewards={"mine": length_reward})

    def gather(self, objective: GRPOObjective, model: nn.Module, step: int = 0) -> dict[str, Any]:
        """The batch of four episodes of each of two prompts."""
        (ready,) = objective.prepare(model, [objective.collate(self.prompts(["12", "345"]))], step)
        return ready

    def means(self, objective: GRPOObjective, model: nn.Module, batch: dict[str, Any]) -> dict[str, float]:
        """The metrics of a batch."""
        metrics = objective.loss(model, batch, objective.count(batch)).metrics
        return {name: float(metric.total / metric.count) for name, metric in metrics.items()}


@pytest.fixture(scope="session")
def episodes() -> Episodes:
    return Episodes(letter_tokenizer(), IDS)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = {registry: registry.registered() for registry in (rollouts, engines)}
    yield
    for registry, components in before.items():
        registry.restore(components)
