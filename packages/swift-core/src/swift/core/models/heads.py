"""Outputs that a model is given anew: which weights they are, and whether a folder's own one fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swift.core.errors import ModelError
from swift.core.types import Head

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

CLASSIFIER = "ForSequenceClassification"


def config_values(head: Head | None) -> dict[str, Any]:
    """What a head says in config.json."""
    if head is None or head.kind != "classification":
        return {}
    values: dict[str, Any] = {"num_labels": head.num_labels}
    return values | ({"problem_type": head.problem_type} if head.problem_type else {})


def has_classifier(architecture: PreTrainedConfig) -> bool:
    """Whether the folder holds the weights of a classification head."""
    return any(name.endswith(CLASSIFIER) for name in architecture.architectures or ())


def check_head(architecture: PreTrainedConfig, head: Head | None, model_id: str) -> None:
    """The classification head of a folder has as many labels as are asked for.

    Raises:
        ModelError: it has not; or a model that ends in one is to write text.
    """
    if head is None and has_classifier(architecture):
        raise ModelError(
            f"model {model_id!r} is a classifier ({', '.join(architecture.architectures or ())}): "
            "it writes no text",
            "load it with transformers.AutoModelForSequenceClassification, or train it on with "
            "data.task_type=seq_cls",
        )
    if head is None or head.kind != "classification" or not has_classifier(architecture):
        return
    if architecture.num_labels != head.num_labels:
        raise ModelError(
            f"model {model_id!r} has a classification head of {architecture.num_labels} labels, "
            f"and {head.num_labels} are asked for",
            f"set train.num_labels={architecture.num_labels}, or start from the model without a head",
        )


def head_weights(
    model: PreTrainedModel, architecture: PreTrainedConfig, head: Head | None
) -> tuple[str, ...]:
    """Beginnings of the names of weights that a folder need not have, because they are drawn anew.

    BERT-like models have a pooler that embeddings do not use.
    """
    if head is None or (head.kind == "classification" and has_classifier(architecture)):
        return ()
    if head.kind == "embedding":
        return ("pooler.",)
    return tuple([name + "." for name in classifier_layers(model)])


def classifier_layers(model: nn.Module) -> list[str]:
    """Names of the layers with weights that a classification model has on top of its trunk."""
    if CLASSIFIER not in type(model).__name__:
        return []
    trunk = getattr(model, "base_model_prefix", "")
    return [
        name
        for name, layer in model.named_children()
        if name != trunk and next(layer.parameters(), None) is not None
    ]


def set_padding(model: PreTrainedModel, pad_id: int | None) -> None:
    """Classification heads of causal models find a row's last token by the padding token's id."""
    model.config.get_text_config().pad_token_id = pad_id
