"""Constructors that bind an objective, its settings and plain rows to the one trainer."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError
from torch import nn
from transformers import TrainingArguments

from swift.core.config.schema import ModelConfig
from swift.core.data.formats import to_conversation
from swift.core.errors import ConfigError, ModelError, did_you_mean
from swift.core.models.load import load_tokenizer
from swift.core.protocols import Reward
from swift.core.registry import objectives
from swift.core.template.chat import ChatTemplate
from swift.core.train.context import ObjectiveContext
from swift.core.train.trainer import Trainer
from swift.core.types import Conversation, Encoded
from swift.plugin.nouns import objective_task
from swift.trainers.reward import as_reward

Rows = Iterable[Mapping[str, Any] | Conversation | Encoded]


class BoundTrainer(Trainer):
    """A trainer whose objective is chosen by the class and set up by keyword arguments.

    Args:
        model: a transformers model, wrapped by peft or not.
        args: transformers.TrainingArguments.
        train_dataset, eval_dataset: rows in any format that swift.core.data knows.
        processing_class: tokenizer; default: the one the model was loaded with.
        ref_model: reference policy; default: a frozen copy of the model as it is now.
        max_length: longer rows are cut at the right.
        settings: keys of the objective's config (beta, num_generations, ...).

    Raises:
        ConfigError: a setting that the objective does not have.
        ModelError: no tokenizer was given and none can be found.
    """

    stage: ClassVar[str]

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        train_dataset: Rows,
        eval_dataset: Rows | None = None,
        processing_class: Any = None,
        ref_model: nn.Module | None = None,
        max_length: int = 2048,
        callbacks: Sequence[Any] = (),
        objective_options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        component = objectives.get(self.stage)
        tokenizer = processing_class or _tokenizer_of(model)
        config = _settings(self.stage, component.config, settings)
        args.remove_unused_columns = False
        context = ObjectiveContext(
            tokenizer=tokenizer,
            model_config=ModelConfig.model_validate({"model_id": _name_of(model)}),
            load_reference=_reference_loader(model, ref_model),
            device=args.device,
            seed=args.seed,
            rank=args.process_index,
            world_size=args.world_size,
            per_device_batch_size=args.per_device_train_batch_size,
        )
        template = ChatTemplate(
            tokenizer,
            max_length=max_length,
            truncation="right",
            loss_turns="all",
            task=objective_task(component),
            media=None,
        )
        super().__init__(
            model,
            component.load()(config, context, **(objective_options or {})),
            args,
            train_dataset=_encode(train_dataset, template),
            eval_dataset=_encode(eval_dataset, template) if eval_dataset is not None else None,
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )


class SFTTrainer(BoundTrainer):
    """Supervised fine-tuning on the assistant's turns."""

    stage = "sft"


class PretrainTrainer(BoundTrainer):
    """Next-token prediction on plain text."""

    stage = "pt"


class DPOTrainer(BoundTrainer):
    """Direct preference optimisation (arXiv 2305.18290); needs swift-rlhf."""

    stage = "dpo"


class GRPOTrainer(BoundTrainer):
    """Group relative policy optimisation (arXiv 2402.03300); needs swift-rlhf and an engine.

    Args:
        reward_model: a function (prompts, completions, **columns) -> floats, or a sequence classification
            model with one output, or a list of either; in addition to reward_funcs by name.
    """

    stage = "grpo"

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        train_dataset: Rows,
        reward_model: Reward | nn.Module | Sequence[Reward | nn.Module] | None = None,
        reward_funcs: Sequence[str] = (),
        **options: Any,
    ) -> None:
        given = reward_model if isinstance(reward_model, Sequence) else [reward_model]
        own = {f"reward_model_{i}": as_reward(item) for i, item in enumerate(given) if item is not None}
        names = [*reward_funcs, *own]
        super().__init__(
            model, args, train_dataset, reward_funcs=names, objective_options={"rewards": own}, **options
        )


def _settings(stage: str, config: type[BaseModel] | None, settings: Mapping[str, Any]) -> BaseModel:
    assert config is not None
    for key in settings:
        if key not in config.model_fields:
            raise ConfigError(f"{stage} has no setting {key!r}", did_you_mean(key, config.model_fields))
    try:
        return config(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or stage
        raise ConfigError(f"{name} is {first['input']!r}: {first['msg']}") from None


def _name_of(model: nn.Module) -> str:
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(name) or type(model).__name__


def _tokenizer_of(model: nn.Module) -> Any:
    try:
        return load_tokenizer(ModelConfig.model_validate({"model_id": _name_of(model)}))
    except ModelError as error:
        raise ModelError(
            f"no tokenizer was given, and the model's own is not found: {error.problem}",
            "give one as processing_class=tokenizer",
        ) from error


def _reference_loader(model: nn.Module, ref_model: nn.Module | None) -> Any:
    def load() -> nn.Module:
        reference = ref_model if ref_model is not None else copy.deepcopy(model)
        return reference.eval().requires_grad_(False)

    return load


def _encode(rows: Rows, template: ChatTemplate) -> list[Encoded]:
    """Rows to samples; those that are encoded already come first, as they are."""
    known = [_conversation(row, index) for index, row in enumerate(rows)]
    encoded = [row for row in known if isinstance(row, Encoded)]
    return [*encoded, *template.encode([row for row in known if isinstance(row, Conversation)])]


def _conversation(row: Mapping[str, Any] | Conversation | Encoded, index: int) -> Conversation | Encoded:
    if isinstance(row, Conversation | Encoded):
        return row
    return to_conversation(dict(row), f"row {index}")
