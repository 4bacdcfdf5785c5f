"""Generative reranker training. Shapes: P pairs, T tokens, K kept columns, V vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from swift.core.errors import ConfigError
from swift.core.objectives.generative_rerank.config import GenerativeRerankerConfig
from swift.core.objectives.logits import accepts_logits_to_keep
from swift.core.objectives.padded import model_inputs
from swift.core.objectives.rerank.config import RerankerConfig
from swift.core.objectives.rerank.objective import RerankerObjective
from swift.core.types import Batch, Head, Task

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext


class GenerativeRerankerObjective(RerankerObjective):
    """score = logit(yes) - logit(no) of the token after the prompt; P(yes | yes or no) is its logistic.

    Raises:
        ConfigError: yes_token or no_token is not one token of the tokenizer, or both are the same.
    """

    task: ClassVar[Task] = "generative_reranker"

    @classmethod
    def head(cls, config: RerankerConfig) -> Head | None:
        """Next-token logits."""
        return None

    def __init__(self, config: GenerativeRerankerConfig, context: ObjectiveContext) -> None:
        super().__init__(config, context)
        self.yes = token_of(context.tokenizer, "yes_token", config.yes_token)
        self.no = token_of(context.tokenizer, "no_token", config.no_token)
        if self.yes == self.no:
            raise ConfigError(
                f"train.yes_token and train.no_token are both {config.no_token!r}",
                "choose two words, or the score of every document is 0",
            )

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """float32 [P]."""
        last_P = batch["attention_mask"].sum(1) - 1
        logits_PV = last_logits(model, model_inputs(batch), last_P).float()
        return logits_PV[:, self.yes] - logits_PV[:, self.no]


def token_of(tokenizer: Any, key: str, text: str) -> int:
    """The id of a text that is one token.

    Raises:
        ConfigError: it is none or several.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ConfigError(
            f"train.{key} is {text!r}, which is {len(ids)} tokens of this tokenizer: {ids}",
            "choose a word that is one token",
        )
    return ids[0]


def last_logits(model: nn.Module, inputs: dict[str, Any], last_P: Tensor) -> Tensor:
    """Logits [P, V] at one position of each row; the output layer runs on those columns alone if it can."""
    rows_P = torch.arange(len(last_P), device=last_P.device)
    if not accepts_logits_to_keep(model):
        all_logits: Tensor = model(**inputs, use_cache=False).logits
        return all_logits[rows_P, last_P]
    columns_K, place_P = torch.unique(last_P, return_inverse=True)
    kept: Tensor = model(**inputs, logits_to_keep=columns_K, use_cache=False).logits
    return kept[rows_P, place_P]
