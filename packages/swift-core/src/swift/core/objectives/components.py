"""The objectives of swift-core, declared without loading torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from swift.core.config.named import LossType, losses_of
from swift.core.config.schema import Config
from swift.core.objectives.classify.config import SeqClsConfig
from swift.core.objectives.embed.config import EmbeddingConfig
from swift.core.objectives.generative_rerank.config import GenerativeRerankerConfig
from swift.core.objectives.rerank.config import RerankerConfig
from swift.core.registry import Component


class CausalLMConfig(Config):
    """Next-token prediction on the learned tokens."""

    loss_type: LossType = Field(
        "cross_entropy", description="a registered loss, or several: [{name, weight, config}, ...]"
    )
    loss_config: dict[str, Any] = Field(default_factory=dict, description="arguments of the one loss")

    @model_validator(mode="after")
    def _arguments_have_one_owner(self) -> CausalLMConfig:
        losses_of(self.loss_type, self.loss_config)
        return self


SFT = Component(
    name="sft",
    target="swift.core.objectives.causal_lm:CausalLMObjective",
    config=CausalLMConfig,
    summary="learn the assistant's turns of conversations",
    attributes=(("task", "causal_lm"), ("predicts", ("tokens", "texts"))),
)

PT = Component(
    name="pt",
    target="swift.core.objectives.causal_lm:CausalLMObjective",
    config=CausalLMConfig,
    summary="learn every token of plain text",
    attributes=(("task", "text"), ("predicts", ("tokens",))),
)

SEQ_CLS = Component(
    name="seq_cls",
    target="swift.core.objectives.classify.objective:SeqClsObjective",
    config=SeqClsConfig,
    summary="predict the label of a text: one class, several, or a number",
    attributes=(("task", "seq_cls"), ("predicts", ("labels",))),
)

EMBEDDING = Component(
    name="embedding",
    target="swift.core.objectives.embed.objective:EmbeddingObjective",
    config=EmbeddingConfig,
    summary="vectors that are near to each other where their texts are related",
    attributes=(("task", "embedding"), ("predicts", ("scores",))),
)

RERANKER = Component(
    name="reranker",
    target="swift.core.objectives.rerank.objective:RerankerObjective",
    config=RerankerConfig,
    summary="a score for a query and a document, from a classification head",
    attributes=(("task", "reranker"), ("predicts", ("scores",))),
)

GENERATIVE_RERANKER = Component(
    name="generative_reranker",
    target="swift.core.objectives.generative_rerank.objective:GenerativeRerankerObjective",
    config=GenerativeRerankerConfig,
    summary="a score for a query and a document, from the answer yes or no",
    attributes=(("task", "generative_reranker"), ("predicts", ("scores",))),
)

CROSS_ENTROPY = Component(
    name="cross_entropy",
    target="swift.core.objectives.losses:cross_entropy",
    summary="-log of the target's probability",
    attributes=(("targets", "classes"),),
)

LABEL_SMOOTHING = Component(
    name="label_smoothing",
    target="swift.core.objectives.losses:LabelSmoothing",
    summary="cross-entropy with a share epsilon of the targets spread over all classes",
    attributes=(("targets", "classes"),),
)

BINARY_CROSS_ENTROPY = Component(
    name="binary_cross_entropy",
    target="swift.core.objectives.classify.losses:binary_cross_entropy",
    summary="several labels a text, each present or not",
    attributes=(("form", "pairs"),),
)

MSE = Component(
    name="mse",
    target="swift.core.objectives.classify.losses:mse",
    summary="squared error of numbers",
    attributes=(("form", "pairs"),),
)

INFONCE = Component(
    name="infonce",
    target="swift.core.objectives.embed.losses:infonce",
    summary="which candidate belongs to the anchor",
    attributes=(("form", "candidates"),),
)

COSINE = Component(
    name="cosine",
    target="swift.core.objectives.embed.losses:cosine",
    summary="the cosine of a pair equals its similarity",
    attributes=(("form", "pairs"),),
)

COSENT = Component(
    name="cosent",
    target="swift.core.objectives.embed.losses:cosent",
    summary="cosines in the order of the similarities",
    attributes=(("form", "pairs"),),
)

CONTRASTIVE = Component(
    name="contrastive",
    target="swift.core.objectives.embed.losses:contrastive",
    summary="related pairs together, others apart by a margin",
    attributes=(("form", "pairs"),),
)

ONLINE_CONTRASTIVE = Component(
    name="online_contrastive",
    target="swift.core.objectives.embed.losses:online_contrastive",
    summary="contrastive, over the hard pairs of a batch alone",
    attributes=(("form", "pairs"),),
)

POINTWISE = Component(
    name="pointwise",
    target="swift.core.objectives.classify.losses:binary_cross_entropy",
    summary="each document relevant or not, by itself",
    attributes=(("form", "pairs"),),
)

LISTWISE = Component(
    name="listwise",
    target="swift.core.objectives.rerank.losses:listwise",
    summary="the relevant documents of a query above its others (ListNet)",
    attributes=(("form", "lists"),),
)
